"""What goes wrong on purpose, and for how long."""

import asyncio
from dataclasses import dataclass, field

import grpc


@dataclass
class Fault:
    """One thing that goes wrong with calls of a method.

    ``code`` is the status that such a call ends with; without one it hangs until the fault is cleared, the client gives
    up, or ``delay_s`` is over and it goes on as if nothing were. With ``done`` the work is done first, and only the
    answer suffers. ``times`` bounds how many calls it hits, ``key`` confines it to publishing for one ordering key.
    """

    method: str
    code: str | None = None
    done: bool = False
    delay_s: float | None = None
    times: int | None = None
    key: str | None = None
    cleared: asyncio.Event = field(default_factory=asyncio.Event)

    async def strike(self, context: grpc.aio.ServicerContext) -> None:
        """Let it happen to one call; returns if the call may go on."""
        if self.code is not None:
            await context.abort(grpc.StatusCode[self.code], f"a fault of the test: {self.code}")
        elif self.delay_s is not None:
            await asyncio.sleep(self.delay_s)
        else:
            await self.cleared.wait()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a fault of the test: it hung")


class Faults:
    """Those that are in force."""

    def __init__(self) -> None:
        self._active: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._active.append(fault)

    def clear(self) -> None:
        """All goes well again; what hangs is told to try again."""
        for fault in self._active:
            fault.cleared.set()
        self._active.clear()

    def hit(self, method: str, key: str | None = None) -> Fault | None:
        """The fault that this call meets, if any; counts it."""
        for fault in self._active:
            if fault.method == method and fault.key in (None, key) and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None
