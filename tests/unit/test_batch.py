"""A batch is read as its messages are, one by one, whatever else is in it and however it is cut."""

import gc
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.api import batch as module
from heatfleet.api.batch import decode_batch
from heatfleet.api.decode import Batch, decode_message
from heatfleet.domain.messages import Reading
from heatfleet.errors import BadMessage
from heatfleet.storage.block import Block
from tests.blocks import readings_in
from tests.serving import message, ndjson
from tests.unit.any_message import NOW_MS, OLDEST_MS, messages, nearly_good


def readings_of(batch: Batch) -> list[Reading]:
    """What the batch holds, in its order."""
    if not isinstance(batch.readings, Block):
        return [Reading(*reading) for reading in batch.readings]
    return readings_in([batch.readings])


def told(batch: Batch) -> tuple[Any, ...]:
    """All that a batch tells, in a form that can be compared."""
    rejected = [(index, error.kind, error.detail, error.pointer) for index, error in batch.rejected]
    return readings_of(batch), batch.messages, batch.dropped, rejected


def one_by_one(bodies: list[bytes]) -> tuple[Any, ...]:
    """The same, with each message decoded alone."""
    readings: list[Reading] = []
    rejected = []
    dropped = 0
    for index, body in enumerate(bodies):
        try:
            alone = decode_message(body, NOW_MS, OLDEST_MS)
        except BadMessage as error:
            rejected.append((index, error.kind, error.detail, error.pointer))
        else:
            readings += readings_of(alone)
            dropped += alone.dropped
    return readings, len(bodies) - len(rejected), dropped, rejected


good = st.builds(
    lambda number, value: message(f"d{number}", {"code": "instant_power", "time": NOW_MS - number, "value": value}),
    st.integers(0, 99),
    st.integers(0, 100_000) | st.floats(0, 100_000),
)


@pytest.mark.parametrize("piece", [1, 300, 65_536])
@given(st.lists(good | nearly_good() | messages, min_size=1, max_size=12))
def test_a_batch_is_its_messages(piece: int, batch: list[dict[str, Any]]) -> None:
    """Good, odd and bad messages in any mixture: as lines and as an array, they give what each gives alone."""
    bodies = [json.dumps(one).encode() for one in batch]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_PIECE_BYTES", piece)
        patched.setattr(module, "_PIECE_ITEMS", 1 + piece // 100)
        lines = decode_batch(b"\n".join(bodies), NOW_MS, OLDEST_MS, ndjson=True)
        array = decode_batch(b"[" + b", ".join(bodies) + b"]", NOW_MS, OLDEST_MS, ndjson=False)

    assert one_by_one(bodies) == told(lines) == told(array)


@given(st.data())
def test_line_ends_anywhere_are_judged_line_by_line(data: st.DataObject) -> None:
    """White space put in anywhere, within messages or between them, never makes a line mean something else."""
    body = bytearray(ndjson(*[message(f"d{number}", ts=NOW_MS) for number in range(4)]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body)))
        body[place:place] = data.draw(st.sampled_from([b"\n", b" ", b"\r\n", b"\n\n", b"}\n{"]))
    lines = [line.rstrip(b"\r") for line in bytes(body).split(b"\n") if line.strip()]

    assert one_by_one(lines) == told(decode_batch(bytes(body), NOW_MS, OLDEST_MS, ndjson=True))


def test_a_plain_batch_takes_the_fast_way() -> None:
    """Messages as heaters send them are not read one by one."""
    lines = [json.dumps(message(f"d{number}", ts=NOW_MS)).encode() for number in range(100)]
    for body, ndjson_ in ((b"\n".join(lines), True), (b"[" + b",".join(lines) + b"]", False)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, "decode_message", None)

            assert 100 == len(decode_batch(body, NOW_MS, ndjson=ndjson_).readings)


def test_an_array_and_lines_are_read_alike() -> None:
    """The same messages give the same readings and verdicts in both forms, bad ones named by index."""
    batch = [message("d1"), message("d 2"), message("d3"), {"bizCode": "other"}, message("d5")]
    array = decode_batch(json.dumps(batch).encode(), NOW_MS, ndjson=False)
    lines = decode_batch(ndjson(*batch), NOW_MS, ndjson=True)

    assert ["d1", "d3", "d5"] == [reading.device_id for reading in readings_of(array)]
    assert [(1, "bad-id"), (3, "foreign-biz-code")] == [(index, error.kind) for index, error in array.rejected]
    assert readings_of(array) == readings_of(lines)
    assert [(1, "bad-id"), (3, "foreign-biz-code")] == [(index, error.kind) for index, error in lines.rejected]
    assert (3, 3) == (array.messages, lines.messages)


def test_blank_lines_do_not_count() -> None:
    """An index counts lines that hold something; line ends may be CRLF, the last one may be missing."""
    body = b"\r\n".join([b"", json.dumps(message("d1")).encode(), b"  ", b"{", json.dumps(message("d2")).encode()])
    batch = decode_batch(body, NOW_MS, ndjson=True)

    assert ["d1", "d2"] == [reading.device_id for reading in readings_of(batch)]
    assert [(1, "broken-json")] == [(index, error.kind) for index, error in batch.rejected]


def test_a_line_holds_one_message() -> None:
    """Two messages on one line, or one on two, are broken lines: an index must mean one thing."""
    one = json.dumps(message()).encode()
    batch = decode_batch(one + b" " + one + b"\n" + one[:20] + b"\n" + one[20:] + b"\n" + one, NOW_MS, ndjson=True)

    assert [(0, "broken-json"), (1, "broken-json"), (2, "broken-json")] == [
        (index, error.kind) for index, error in batch.rejected
    ]
    assert 1 == batch.messages


@pytest.mark.parametrize("body", [b"[", b"[1,]", b"[{}", b"[] x", b"[1 2]", b"[" * 100_000])
def test_a_broken_array_is_refused_whole(body: bytes) -> None:
    """When the array itself is no JSON, there are no items to name."""
    with pytest.raises(BadMessage) as caught:
        decode_batch(body, NOW_MS, ndjson=False)

    assert "broken-json" == caught.value.kind


def test_a_batch_has_ten_thousand_messages_at_most() -> None:
    """The message too many refuses the whole batch, good or bad."""
    assert 10_000 == len(decode_batch(b"1\n" * 10_000, NOW_MS, ndjson=True).rejected)
    assert 10_000 == len(decode_batch(b"[" + b"1," * 9_999 + b"1]", NOW_MS, ndjson=False).rejected)
    for body, lines in ((b"1\n" * 10_001, True), (b"[" + b"1," * 10_000 + b"1]", False)):
        with pytest.raises(BadMessage) as caught:
            decode_batch(body, NOW_MS, ndjson=lines)

        assert "too-large" == caught.value.kind


def test_a_message_in_a_batch_is_no_larger_than_one_alone() -> None:
    """A message above 256 KiB is rejected by index; the others are taken."""
    large = message("d1", note="x" * 256 * 1024)
    many = message("d3", *[{"code": "instant_power", "time": NOW_MS - number, "value": 1} for number in range(6000)])
    for batch in (
        decode_batch(json.dumps([large, message("d2"), many]).encode(), NOW_MS, ndjson=False),
        decode_batch(ndjson(large, message("d2"), many), NOW_MS, ndjson=True),
    ):
        assert [(0, "too-large"), (2, "too-large")] == [(index, error.kind) for index, error in batch.rejected]
        assert 1 == len(batch.readings)


def test_a_verdict_holds_nothing_of_the_body() -> None:
    """A decoder collects no garbage: what it read must go when the answer is given, whatever was wrong with it."""
    bad = [b"{", b"[" * 100, json.dumps(message("d 1")).encode(), json.dumps({"bizCode": "other"}).encode()]
    for body, lines in ((b"\n".join(bad), True), (b"[1]", False), (b"[1,", False), (b"1\n" * 10_001, True)):
        gc.collect()
        gc.disable()
        try:
            with suppress(BadMessage):
                decode_batch(body, NOW_MS, ndjson=lines)

            assert 0 == gc.collect()
        finally:
            gc.enable()
