"""The rollup as people and servers run it: once by hand, or again and again in a process of its own.

Its own process, because reckoning millions of readings would otherwise take turns with answering requests.
"""

import gc
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Self

from heatfleet.config import Settings, environment, load_settings
from heatfleet.errors import AnotherRollup, SetupError, StoreUnavailable
from heatfleet.logs import configure_logging
from heatfleet.storage import open_store
from heatfleet.storage.base import Rollup, Store

STOP_WAIT_S = 10
RESTART_AFTER_S = 1.0
_PAUSE_S = 0.02
"""Between two pieces of making room, so that a rollup of another process finds its turn."""
_LOOK_S = 0.1
"""How often somebody who waits looks whether it was told to stop."""
GIVE_WAY = 10
"""By how much the rollup beside a server is nicer: who posts waits for an answer, figures may be a little later."""

_log = logging.getLogger(__name__)


def rollup_once(settings: Settings, *, rebuild: bool = False) -> Rollup:
    """One rollup now; with ``rebuild`` all figures are thrown away and made again from the readings."""
    with closing(_open(settings)) as store:
        done = store.rebuild(_now_ms()) if rebuild else store.rollup(_now_ms())
        _make_room(store, math.inf, _never)
        return done


def run_every(settings: Settings, every_s: float, *, parent: int | None = None) -> None:
    """A rollup every so many seconds until SIGTERM or SIGINT, or until the process ``parent`` is no longer ours.

    A store that is not available now is tried again the next time; settings that do not fit end it.
    """
    stopped = _Signals().came_within
    # Messages overtake each other by a few seconds. What is that fresh waits for the next rollup, where it comes in
    # order; the rollups are as much closer together, so a figure is never older than asked for.
    lag_s = every_s / 12
    pause_s = every_s - lag_s
    # Millions of short-lived tuples and no cycles: looking for some takes a fifth of the time.
    gc.disable()
    next_s = time.monotonic()
    with ExitStack() as opened:
        store: Store | None = None
        while not stopped(min(1.0, max(0.0, next_s - time.monotonic()))):
            if parent is not None and os.getppid() != parent:
                _log.warning("the server is gone, so the rollup ends too")
                return
            if time.monotonic() >= next_s:
                next_s = max(next_s + pause_s, time.monotonic())
                try:
                    store = store or opened.enter_context(closing(_open(settings)))
                    if _is_fresh(store, pause_s):
                        continue
                    done = store.rollup(_now_ms() - int(lag_s * 1000))
                except AnotherRollup as error:
                    _log.debug("no rollup this time: %s", error)
                except StoreUnavailable as error:
                    _log.warning("no rollup this time: %s", error)
                else:
                    _log.debug("rollup: %d readings, %d late, %.3f s", done.readings, done.late, done.duration_s)
                    _make_room(store, next_s, stopped)


def _is_fresh(store: Store, pause_s: float) -> bool:
    """Whether somebody else has made the figures just now: of many servers one rolls up, and any can step in."""
    age_ms = _now_ms() - store.as_of_ms()
    return 0 <= age_ms < pause_s * 900


class _Signals:
    """SIGTERM and SIGINT, noted: a handler runs in the midst of anything, so it must take no lock."""

    def __init__(self) -> None:
        self._came = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self._came = True

    def came_within(self, seconds: float) -> bool:
        """Wait so long for one of them, if none has come yet."""
        until_s = time.monotonic() + seconds
        while not self._came and (rest_s := until_s - time.monotonic()) > 0:
            time.sleep(min(rest_s, _LOOK_S))
        return self._came


def _never(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _make_room(store: Store, until_s: float, stopped: Callable[[float], bool]) -> None:
    """Archive and remove what is old enough, a piece at least, as long as there is time; figures do not hang on it."""
    try:
        while store.make_room() and time.monotonic() < until_s and not stopped(_PAUSE_S):
            pass
    except StoreUnavailable as error:
        _log.warning("no room is made this time: %s", error)


def _open(settings: Settings) -> Store:
    return open_store(settings.store, hold_ms=settings.max_hold_s * 1000, writable=False)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class RollupProcess:
    """The rollup beside a server: started with it, started again if it dies, stopped with it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = threading.Thread(target=self._watch, name="rollup-watcher", daemon=True)

    def __enter__(self) -> Self:
        """Start the process."""
        self._start()
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it: a rollup under way is finished or undone, nothing is lost either way."""
        self._stop.set()
        self._watcher.join()
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # a rollup may be cut off anywhere
            process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "heatfleet.rollup", str(os.getpid())],
            env=environment(self._settings, leave_out=("db",)),  # which has a password, perhaps
            stdin=subprocess.DEVNULL,
        )

    def _watch(self) -> None:
        while not self._stop.wait(RESTART_AFTER_S):
            if self._process is not None and self._process.poll() is not None:
                _log.error("the rollup process ended with code %s; starting it again", self._process.returncode)
                self._start()


if __name__ == "__main__":
    _settings = load_settings()
    configure_logging(_settings)
    os.nice(GIVE_WAY)
    try:
        run_every(_settings, _settings.rollup_every_s, parent=int(sys.argv[1]))
    except SetupError as error:
        _log.error("%s", error)
        sys.exit(78)
