"""A device that never gives up: what is refused, or gets no answer, it says again until it is taken."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from heatfleet.domain.messages import POWER, Reading
from tests.serving import RunningServer, message

AGAIN_S = 0.05
"""Devices wait as long as they are asked to; these are in a hurry."""


@dataclass
class Talker:
    """Speaks for one device as fast as it is answered, or with pauses; its own time goes on by a step each time."""

    device_id: str
    start_ms: int
    hangs_s: float
    """An answer that takes so long never comes."""
    pause_s: float = 0.0
    step_ms: int = 1000
    sent: list[Reading] = field(default_factory=list)
    refused: int = 0
    cut_off: int = 0
    longest_s: float = 0.0

    def talk(self, base_url: str, end: threading.Event) -> None:
        """Until told to end; then what was said last is taken too."""
        with httpx2.Client(base_url=base_url, timeout=self.hangs_s, trust_env=False) as client:
            while not end.is_set():
                place = len(self.sent)
                self.sent.append(
                    Reading(self.device_id, "p1", POWER, self.start_ms + place * self.step_ms, float(place % 1500))
                )
                while not self._is_taken(client, self.sent[-1]):
                    time.sleep(AGAIN_S)
                end.wait(self.pause_s)

    def _is_taken(self, client: httpx2.Client, said: Reading) -> bool:
        began_s = time.monotonic()
        value = {"code": "instant_power", "time": said.time_ms, "value": said.value}
        try:
            answer = client.post("/message", json=message(said.device_id, value))
        except httpx2.TimeoutException:
            raise
        except httpx2.TransportError:
            self.cut_off += 1
            return False
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)
        if answer.is_success:
            return True
        self.refused += 1
        assert answer.status_code == 503
        assert answer.json()["type"] in ("/problems/store-unavailable", "/problems/overloaded")
        assert int(answer.headers["Retry-After"]) >= 1
        return False


@contextmanager
def talking(server: RunningServer, talkers: Sequence[Talker]) -> Iterator[None]:
    """All talk within; at the end each has been answered for all it said, or the test fails."""
    end = threading.Event()
    with ThreadPoolExecutor(len(talkers)) as pool:
        talks = [pool.submit(one.talk, server.base_url, end) for one in talkers]
        try:
            while not all(one.sent for one in talkers):
                time.sleep(0.01)
            yield
        finally:
            end.set()
    for talk in talks:
        talk.result()


def taken(talkers: Sequence[Talker]) -> list[Reading]:
    """All that they said."""
    return [reading for one in talkers for reading in one.sent]
