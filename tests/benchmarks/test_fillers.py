"""What the benchmarks make up is what Heatfleet would have been sent, and what they hold for true is the definition."""

from pathlib import Path

import numpy as np
import pytest

from heatfleet.api.batch import decode_batch
from heatfleet.domain.energy import tally
from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import HOUR_MS, SLOTS_PER_HOUR
from heatfleet.storage.block import Block

pytest.importorskip("benchmarks", reason="the source distribution has no benchmarks")

from benchmarks.day_fleet import DayFleet, Messages, Truth, Writer
from benchmarks.fleet import PRODUCTS, Columns, MadeUpFleet
from benchmarks.kept_rollup import kept_rollup
from benchmarks.store_files import fill_journal, packed
from tests.blocks import readings_in

MIDNIGHT_MS = 1_700_006_400_000


def readings_of(fleet: MadeUpFleet, columns: Columns) -> list[Reading]:
    products = [str(name.tobytes(), "ascii") for name in fleet.product_names]
    return [
        Reading(fleet.name(device), products[device % PRODUCTS], code, time_ms, value)
        for device, code, time_ms, value in zip(*(column.tolist() for column in columns), strict=True)
    ]


def said_as_columns(said: Messages) -> Columns:
    return Columns(
        said.device,
        np.where(said.is_power, POWER, TEMPERATURE).astype(np.uint8),
        said.time_ms,
        np.where(said.is_power, said.value, said.value / 10),
    )


def test_filled_rows_are_those_a_server_writes() -> None:
    """Rows packed all at once have the same bytes as rows packed one by one."""
    fleet = MadeUpFleet(7)
    columns = fleet.some(23, MIDNIGHT_MS, MIDNIGHT_MS + HOUR_MS)
    readings = readings_of(fleet, columns)

    rows = [row for lot in packed(fleet, columns, 5) for row in lot]

    assert [(5, Block.of(readings[first : first + 5]).body) for first in (0, 5, 10, 15)] + [
        (3, Block.of(readings[20:]).body)
    ] == [(size, bytes(body)) for size, body in rows]


def test_a_filled_journal_is_rolled_up(tmp_path: Path) -> None:
    """Two fillings, one after the other, are all there for the rollup."""
    fleet = MadeUpFleet(50)
    end_ms = MIDNIGHT_MS + HOUR_MS
    first = fill_journal(tmp_path, fleet, fleet.by_minute(MIDNIGHT_MS, end_ms), a_commit=50)
    second = fill_journal(tmp_path, fleet, [fleet.everyone(end_ms, end_ms + 1000)], a_commit=1)

    with kept_rollup(tmp_path) as rollup:
        done = rollup.up_to(end_ms + HOUR_MS)

    assert 50 == second
    assert first + second == done["readings"]


def test_a_days_messages_say_what_was_drawn() -> None:
    """The bytes decode, without a refusal, to the devices, times and values that the truth counts."""
    day = DayFleet(40, MIDNIGHT_MS)
    said = next(day.hour(0))

    batch = decode_batch(bytes(Writer(day.fleet).write(said)), MIDNIGHT_MS + 24 * HOUR_MS, ndjson=True)

    assert [] == list(batch.rejected)
    assert isinstance(batch.readings, Block)
    assert readings_of(day.fleet, said_as_columns(said)) == readings_in([batch.readings])


def test_the_truth_of_a_day_is_the_definition() -> None:
    """Hour by hour, for the fleet and for one device that falls silent for longer than it is believed."""
    day = DayFleet(40, MIDNIGHT_MS)
    truth = Truth(40, MIDNIGHT_MS, np.array([0]))
    readings: dict[int, list[Reading]] = {device: [] for device in range(40)}
    for hour in range(24):
        for said in day.hour(hour):
            truth.hear(said)
            for device, reading in zip(
                said.device.tolist(), readings_of(day.fleet, said_as_columns(said)), strict=True
            ):
                readings[device].append(reading)
        truth.end_hour(MIDNIGHT_MS + (hour + 1) * HOUR_MS)
    now_ms = MIDNIGHT_MS + 24 * HOUR_MS
    defined: list[dict[int, int]] = [{} for _ in readings]
    for device, of_device in readings.items():
        for (_, slot), sums in tally(of_device, hold_ms=HOUR_MS, now_ms=now_ms).items():
            if sums.known_ms:
                hour = slot // SLOTS_PER_HOUR - MIDNIGHT_MS // HOUR_MS
                defined[device][hour] = defined[device].get(hour, 0) + sums.energy_mj

    assert [sum(one.get(hour, 0) for one in defined) for hour in range(24)] == truth.fleet_mj
    assert [defined[0].get(hour) for hour in range(24)] == [of_hour[0] for of_hour in truth.watched_mj]
    assert 15 not in defined[0]
