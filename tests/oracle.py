"""The definition of ``domain.energy`` summed over a fleet, in the form of a store's answer: all are held to it."""

from collections import defaultdict
from collections.abc import Iterable

from heatfleet.domain.energy import tally
from heatfleet.domain.messages import Reading
from heatfleet.storage.base import Figures

HOLD_MS = 3_600_000

Row = tuple[int, int, int, int, int, int, int, int]


def defined(readings: Iterable[Reading], now_ms: int, *, product_id: str | None = None) -> list[Row]:
    """The figures of a fleet by the definition, one row a slot; slots where nothing is known are left out."""
    by_device: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        if reading.time_ms <= now_ms:
            by_device[reading.device_id].append(reading)
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    known: dict[int, set[str]] = defaultdict(set)
    for device, said in by_device.items():
        for (product, slot), cell in tally(said, hold_ms=HOLD_MS, now_ms=now_ms).items():
            if product_id in (None, product):
                parts = (cell.energy_mj, cell.known_ms, cell.temperature_mc_ms, cell.temperature_known_ms)
                sums[slot] = [a + b for a, b in zip(sums[slot], parts, strict=True)]
                if cell.known_ms:
                    known[slot].add(device)

    def distinct(slot: int, width: int) -> int:
        return len(set().union(*(known.get(slot - back, set()) for back in range(width))))

    return [
        (slot, *cells, distinct(slot, 1), distinct(slot, 4), distinct(slot, 96))  # type: ignore[misc]
        for slot, cells in sorted(sums.items())
        if any(cells)
    ]


def told(figures: Figures) -> list[Row]:
    """A store's figures as rows, without the slots where nothing is known."""
    columns = (
        figures.slot, figures.energy_mj, figures.known_ms, figures.temperature_mc_ms, figures.temperature_known_ms,
        figures.devices, figures.devices_hour, figures.devices_day,
    )  # fmt: skip
    rows: list[Row] = list(zip(*(column.tolist() for column in columns), strict=True))
    return [row for row in rows if row[2] or row[4]]
