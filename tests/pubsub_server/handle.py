"""The server as a test has it in its hands."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
END_WAIT_S = 10


@dataclass(frozen=True, slots=True)
class Published:
    """One message that the server has taken."""

    message_id: str
    data: bytes
    attributes: dict[str, str]
    ordering_key: str
    time_ms: int


class PubSubServer:
    """A server process, listening on ``address`` (``127.0.0.1:PORT``) as long as the ``with`` block lasts.

    What is kept outlives ``shut`` and ``open``. Methods may be called from any thread.
    """

    def __init__(self) -> None:
        paths = [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.pubsub_server"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()
        self.address = f"127.0.0.1:{self._ask('open')}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.thaw()
        self.process.stdin.close()
        try:
            self.process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def fault(
        self,
        code: str | None = None,
        *,
        method: str = "Publish",
        done: bool = False,
        delay_s: float | None = None,
        times: int | None = None,
        key: str | None = None,
    ) -> None:
        """From now on calls of the method end with this status; without one they hang, or take ``delay_s`` longer.

        With ``done`` the work is done and only the answer suffers: ``fault("UNAVAILABLE", done=True)`` is a reply that
        was lost. ``times`` bounds how many calls it hits, ``key`` confines it to one ordering key. Of several faults
        that fit a call the first strikes.
        """
        self._ask("fault", method=method, code=code, done=done, delay_s=delay_s, times=times, key=key)

    def clear(self) -> None:
        """No faults any more; calls that hang end with UNAVAILABLE."""
        self._ask("clear")

    def shut(self) -> None:
        """Listen no more: connections are broken off and refused. What was not acknowledged will be delivered again."""
        self._ask("shut")

    def open(self) -> None:
        """Listen again, on the same port, with all that was kept; does nothing while it listens."""
        self._ask("open")

    def reset(self) -> None:
        """Break off every connection, once."""
        self._ask("reset")

    def mend(self) -> None:
        """All as it should be, whatever was done to it; what is kept stays."""
        self.thaw()
        self.clear()
        self.deny()
        self.open()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Say nothing at all for a while, neither on open connections nor to new ones."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.thaw()

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def deny(self, *permissions: str) -> None:
        """These are not among what ``test_iam_permissions`` grants."""
        self._ask("deny", permissions=permissions)

    def calls(self, method: str = "Publish") -> int:
        """Calls of this method so far, those that failed too."""
        count: int = self._ask("calls").get(method, 0)
        return count

    def published(self, topic: str, after: int = 0) -> list[Published]:
        """All that was published on the topic (``projects/P/topics/T``), but for the first ``after``."""
        return [
            Published(one["id"], base64.b64decode(one["data"]), one["attributes"], one["key"], one["time_ms"])
            for one in self._ask("published", topic=topic, after=after)
        ]

    def taken(self) -> int:
        """How many messages it has taken so far."""
        count: int = self._ask("taken")
        return count

    def keep_nothing(self) -> None:
        """From now on ``published`` stays as it is: for what would not fit into memory."""
        self._ask("keep_nothing")

    def unacknowledged(self, subscription: str) -> int:
        """What the subscription (``projects/P/subscriptions/S``) still has to deliver, or did and was not told of."""
        count: int = self._ask("unacknowledged", subscription=subscription)
        return count

    def attempts(self, subscription: str) -> int:
        """How often a message that is not acknowledged was delivered, at most; 0 without a dead-letter policy."""
        count: int = self._ask("attempts", subscription=subscription)
        return count

    def expire(self, subscription: str) -> None:
        """What was delivered and not acknowledged comes again, now."""
        self._ask("expire", subscription=subscription)

    def _ask(self, wish: str, **fields: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self._turn:
            self.process.stdin.write(f"{json.dumps([wish, fields])}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        assert answer, "the Pub/Sub server has died"
        return json.loads(answer)
