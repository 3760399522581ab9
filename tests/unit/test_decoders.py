"""Processes that decode large bodies: the same verdicts as here and now, whatever befalls the process."""

import asyncio
import errno
import gzip
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from heatfleet.api import decoders as module
from heatfleet.api.decode import Batch
from heatfleet.api.decoder import ANSWER, batch_of, request_head
from heatfleet.api.decoders import Decoders
from heatfleet.api.form import BodyForm, decode
from heatfleet.errors import BadMessage, Overloaded
from heatfleet.storage.block import Block
from tests.serving import SEED_MESSAGE, message, ndjson
from tests.unit.any_message import NOW_MS

OLDEST_MS = 1_732_000_000_000

LINES = BodyForm(ndjson=True, encoding="")
JSON = BodyForm(ndjson=False, encoding="")
GOOD = ndjson(*[message(f"d{number}") for number in range(5000)])


@asynccontextmanager
async def decoding() -> AsyncIterator[Decoders]:
    """Decoders, ended afterwards."""
    decoders = Decoders()
    try:
        yield decoders
    finally:
        await decoders.close()


def processes(decoders: Decoders) -> list[int]:
    """The process ids of those that live."""
    return [decoder._process.pid for decoder in (*decoders._idle, *decoders._busy)]


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (GOOD, LINES),
        (GOOD + ndjson(message("d 1"), {"bizCode": "other"}) + b"{\n", LINES),
        (b"1\n" * 9000, LINES),
        (b"[" + GOOD.strip().replace(b"\n", b",") + b"]", JSON),
        (SEED_MESSAGE, JSON),
        (SEED_MESSAGE.replace(b"2500", b"[2500]"), JSON),
        (b"[]", JSON),
        (b"", JSON),
        (b"1\n" * 10_001, LINES),
        (gzip.compress(GOOD), BodyForm(ndjson=True, encoding="gzip")),
        (GOOD, BodyForm(ndjson=True, encoding="zstd")),
    ],
)
async def test_a_decoder_says_what_is_said_here(body: bytes, form: BodyForm) -> None:
    """The same readings, counts and refusals come back as without another process."""

    def whole(batch: object) -> object:
        assert isinstance(batch, Batch)
        packed = batch.readings if isinstance(batch.readings, Block) else Block.of(batch.readings)
        rejected = [(index, error.kind, error.detail, error.pointer) for index, error in batch.rejected]
        return packed, batch.messages, batch.dropped, rejected

    async with decoding() as decoders:
        try:
            here: object = whole(decode(body, form, NOW_MS, OLDEST_MS))
        except BadMessage as error:
            here = (error.kind, error.detail, error.pointer)
        try:
            there: object = whole(await decoders.decode(body, form, NOW_MS, OLDEST_MS))
        except BadMessage as error:
            there = (error.kind, error.detail, error.pointer)

    assert here == there


async def test_more_bodies_than_decoders_wait_for_their_turn() -> None:
    """All are decoded, each for its own caller, and by no more processes than there may be."""
    async with decoding() as decoders:
        decoders._processes_max = 2
        bodies = [ndjson(*[message(f"d{size}")] * size) for size in range(1, 30)]
        batches = await asyncio.gather(*(decoders.decode(body, LINES, NOW_MS, OLDEST_MS) for body in bodies))

        assert list(range(1, 30)) == [batch.messages for batch in batches]
        assert len(processes(decoders)) == 2


async def test_a_killed_decoder_costs_nobody_anything() -> None:
    """The body it had, and those that wait, are decoded by the next one."""
    async with decoding() as decoders:
        decoders._processes_max = 1
        await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)
        (first,) = processes(decoders)
        os.kill(first, signal.SIGSTOP)
        waits = [asyncio.ensure_future(decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)) for _ in range(2)]
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)

        assert [5000, 5000] == [batch.messages for batch in await asyncio.gather(*waits)]
        assert [first] != processes(decoders)


async def test_a_body_that_ends_decoders_ends_two_at_most() -> None:
    """It is refused for now when the second decoder ended over it, and others are decoded."""
    async with decoding() as decoders:
        decoders._processes_max = 1
        await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)
        ended: list[int] = []
        deadly = asyncio.ensure_future(decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS))
        while not deadly.done():
            # Only one that has the body: the end of one at rest is nobody's fault.
            for process in [decoder._process.pid for decoder in decoders._busy]:
                if process not in ended:
                    os.kill(process, signal.SIGKILL)
                    ended.append(process)
            await asyncio.sleep(0)

        with pytest.raises(Overloaded):
            await deadly
        assert 2 == len(ended)
        assert 5000 == (await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)).messages


async def test_a_decoder_that_dies_at_rest_is_replaced() -> None:
    """Nobody is hurt by the end of one that had nothing to do."""
    async with decoding() as decoders:
        await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)
        (first,) = processes(decoders)
        os.kill(first, signal.SIGKILL)
        while processes(decoders):  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)

        assert 5000 == (await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)).messages


async def test_a_decoder_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body is not waited for without end."""
    async with decoding() as decoders:
        await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)
        (first,) = processes(decoders)
        monkeypatch.setattr(module, "DECODE_S", 0.05)
        os.kill(first, signal.SIGSTOP)

        with pytest.raises(Overloaded):
            await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)


def test_a_body_that_comes_while_its_decoder_was_stopped_is_read_whole() -> None:
    """A process that is stopped and goes on, as under a debugger, is given a part of what it waits for."""
    ours, theirs = socket.socketpair()
    head = request_head(len(GOOD), LINES, NOW_MS, OLDEST_MS)
    with (
        ours,
        theirs,
        subprocess.Popen([sys.executable, "-m", "heatfleet.api.decoder"], stdin=theirs.fileno()) as process,
    ):
        ours.settimeout(60)
        for piece in (head[:5], head[5:] + GOOD[:1000], GOOD[1000:400_000], GOOD[400_000:]):
            ours.sendall(piece)
            time.sleep(0.3)  # until it waits for more
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.05)
            os.kill(process.pid, signal.SIGCONT)
        verdict, block = ANSWER.unpack(ours.recv(ANSWER.size, socket.MSG_WAITALL))
        text = ours.recv(verdict, socket.MSG_WAITALL)
        found = batch_of(text, ours.recv(block, socket.MSG_WAITALL))
        ours.shutdown(socket.SHUT_WR)

        assert 0 == process.wait(60)
    assert decode(GOOD, LINES, NOW_MS, OLDEST_MS) == found


@pytest.mark.parametrize(
    "rest",
    [b"", b"half a head", request_head(10, LINES, NOW_MS, OLDEST_MS) + b"half"],
    ids=["at rest", "in a head", "in a body"],
)
def test_a_decoder_whose_server_is_gone_says_nothing_and_ends(rest: bytes) -> None:
    """Wherever the end comes; half a body is no body."""
    ours, theirs = socket.socketpair()
    with ours:
        with (
            theirs,
            subprocess.Popen([sys.executable, "-m", "heatfleet.api.decoder"], stdin=theirs.fileno()) as process,
        ):
            ours.sendall(rest)
            ours.shutdown(socket.SHUT_WR)
            assert 0 == process.wait(60)
        assert b"" == ours.recv(1)


def no_files(*_: object) -> None:
    raise OSError(errno.EMFILE, "too many open files")


@pytest.mark.parametrize(("what", "instead"), [("sys.executable", "/nowhere/python"), ("socket.socketpair", no_files)])
async def test_when_none_can_be_started_bodies_are_refused(
    what: str, instead: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process or no file to be had means refused for now, and tried again with the next body."""
    async with decoding() as decoders:
        with monkeypatch.context() as broken:
            broken.setattr(what, instead)

            with pytest.raises(Overloaded):
                await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)

        assert 5000 == (await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)).messages


async def test_when_no_more_can_be_started_bodies_wait_for_those_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting another is not tried again and again meanwhile."""
    async with decoding() as decoders:
        decoders._processes_max = 2
        await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)
        (first,) = processes(decoders)
        os.kill(first, signal.SIGSTOP)
        tried: list[object] = []

        def tried_in_vain(*_: object) -> None:
            tried.append(1)
            no_files()

        monkeypatch.setattr("socket.socketpair", tried_in_vain)
        waits = [asyncio.ensure_future(decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)) for _ in range(2)]
        await asyncio.sleep(0.2)
        tried_meanwhile = len(tried)
        os.kill(first, signal.SIGCONT)

        assert [5000, 5000] == [batch.messages for batch in await asyncio.gather(*waits)]
        assert 1 == tried_meanwhile


async def test_closing_refuses_who_waits_and_leaves_no_process() -> None:
    """At the end nobody waits for ever, and every decoder has left."""
    async with decoding() as decoders:
        decoders._processes_max = 1
        await decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)
        (first,) = processes(decoders)
        os.kill(first, signal.SIGSTOP)
        waits = [asyncio.ensure_future(decoders.decode(GOOD, LINES, NOW_MS, OLDEST_MS)) for _ in range(3)]
        await asyncio.sleep(0)

    assert all(isinstance(wait, Overloaded) for wait in await asyncio.gather(*waits, return_exceptions=True))
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
