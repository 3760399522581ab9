"""A heater in plain Python: it reports what it does, listens for orders and obeys them.

    python examples/heater.py http://127.0.0.1:8000 my-heater

It needs no library, so it also shows what a device has to do. Ctrl-C ends it.
"""

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime

RATED_W = 1500
SAY_SOMETHING_EVERY_S = 300
"""Well within the hold: whoever is silent for an hour is no longer believed."""


class Heater:
    """One heater, switched on to begin with."""

    def __init__(self, server: str, device_id: str) -> None:
        self._server = server.rstrip("/")
        self._device_id = device_id
        self._power_w = RATED_W
        self._news = threading.Event()
        self._last_event_id = "0"

    def live(self) -> None:
        """Report at once, at every change, and now and then."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            self._news.clear()
            self._report(self._power_w)
            self._news.wait(SAY_SOMETHING_EVERY_S)

    def _report(self, power_w: int) -> None:
        """Post the power until the server has it on disk: a reading counts once, however often it comes."""
        properties = [{"code": "instant_power", "time": time.time_ns() // 1_000_000, "value": power_w}]
        data = {"devId": self._device_id, "productId": "example-heater", "properties": properties}
        body = json.dumps({"bizCode": "devicePropertyMessage", "bizData": data}).encode()
        request = urllib.request.Request(f"{self._server}/message", body, {"Content-Type": "application/json"})
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30):
                    print(f"reported {power_w} W", flush=True)
                    return
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(int(error.headers.get("Retry-After", "1")))
            except OSError:
                time.sleep(1)

    def _listen(self) -> None:
        """Follow the orders for this heater; after a broken connection, go on where it broke."""
        while True:
            address = f"{self._server}/commands/stream?device_id={self._device_id}"
            request = urllib.request.Request(address, headers={"Last-Event-ID": self._last_event_id})
            # A comment comes every 15 s; when none does, the connection is dead.
            with suppress(OSError), urllib.request.urlopen(request, timeout=60) as lines:
                for line in lines:
                    self._hear(line.decode().rstrip("\n"))
            time.sleep(1)

    def _hear(self, line: str) -> None:
        field, _, value = line.partition(": ")
        if field == "id":
            self._last_event_id = value
        elif field == "data":
            order = json.loads(value)
            if datetime.fromisoformat(order["expires_at"]) > datetime.now(UTC):
                self._power_w = RATED_W if order["switch"] else 0
                self._news.set()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/heater.py http://127.0.0.1:8000 my-heater")
    with suppress(KeyboardInterrupt):
        Heater(*sys.argv[1:3]).live()
