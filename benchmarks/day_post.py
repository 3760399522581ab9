"""Posts the messages of a simulated day in batches: in order of time, a few under way at once, none lost unnoticed."""

import http.client
import json
import queue
import threading
import time
from contextlib import closing
from types import TracebackType
from typing import Self

from benchmarks.day_fleet import Messages, Writer
from benchmarks.fleet import MadeUpFleet
from benchmarks.results import Unmeasurable

CONNECTIONS = 3
TRIES = 60
ANSWER_WAIT_S = 60


class Senders:
    """So many connections, each with a thread of its own; leaving the block waits for the last answer."""

    def __init__(self, port: int, fleet: MadeUpFleet) -> None:
        self._port = port
        self._waiting: queue.Queue[Messages | None] = queue.Queue(CONNECTIONS)
        self._errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._run, args=(Writer(fleet),)) for _ in range(CONNECTIONS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def send(self, messages: Messages) -> None:
        """Hand over a batch; waits while all connections are busy."""
        self._waiting.put(messages)
        self._raise_errors()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        if error is None:
            self._raise_errors()

    def _raise_errors(self) -> None:
        if self._errors:
            raise Unmeasurable(f"a batch could not be posted: {self._errors[0]!r}")

    def _run(self, writer: Writer) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_WAIT_S)) as connection:
            while (messages := self._waiting.get()) is not None:
                if not self._errors:  # after one, the rest is only taken from the queue
                    try:
                        _post(connection, writer.write(messages).data.cast("B"), messages.device.size)
                    except Exception as error:  # noqa: BLE001  # told by the thread that waits
                        self._errors.append(error)


def _post(connection: http.client.HTTPConnection, body: memoryview, messages: int) -> None:
    for _ in range(TRIES):
        connection.request("POST", "/message", body, {"Content-Type": "application/x-ndjson"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != http.client.SERVICE_UNAVAILABLE:
            break
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    if answer.status != http.client.OK or json.loads(text).get("inserted") != messages:
        raise Unmeasurable(f"{messages} messages were answered with {answer.status}: {text[:300]!r}")
