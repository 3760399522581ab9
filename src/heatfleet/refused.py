"""A file of messages that can never be taken, for a subscription without dead letters: a line of JSON for each."""

import asyncio
import base64
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from heatfleet.domain.commands import rfc3339
from heatfleet.errors import BadMessage, SetupError, StoreUnavailable
from heatfleet.messaging.base import Received


class Problem(msgspec.Struct):
    """What is wrong with a message of those that were published together; ``index`` is -1 for all of them."""

    index: int
    problem: str
    detail: str
    pointer: str


class Line(msgspec.Struct):
    """A published message, with its data in base64."""

    message_id: str
    published_at: str
    problems: list[Problem]
    data: str


class RefusedFile:
    """Adds to the file, which is made when there is none; ``SetupError`` if that is not possible."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._append(b"")
        except OSError as error:
            raise SetupError(f"--refused-to: {path} cannot be written: {error.strerror}") from error

    async def keep(self, bad: Sequence[tuple[Received, Sequence[tuple[int, BadMessage]]]]) -> None:
        """Write these down; they are on disk when it returns. Raises ``StoreUnavailable``."""
        text = b"".join(msgspec.json.encode(_line(one, errors)) + b"\n" for one, errors in bad)
        try:
            await asyncio.to_thread(self._append, text)
        except OSError as error:
            raise StoreUnavailable(f"{self._path} cannot be written: {error.strerror}") from error

    def _append(self, text: bytes) -> None:
        """Add whole lines or nothing: a piece that a full disk took would spoil the line that is written after it."""
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # consumers may share the file
            size = os.fstat(file).st_size
            if text and size and os.pread(file, 1, size - 1) != b"\n":
                text = b"\n" + text  # after a crash in the midst of a line
            try:
                while text:
                    text = text[os.write(file, text) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)


def _line(one: Received, errors: Sequence[tuple[int, BadMessage]]) -> Line:
    problems = [Problem(index, error.kind, error.detail, error.pointer) for index, error in errors]
    return Line(one.message_id, rfc3339(one.published_ms), problems, base64.b64encode(one.data).decode())
