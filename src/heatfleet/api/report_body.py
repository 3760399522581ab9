"""How cells look on the wire: JSON by local day and hour, or CSV by instant."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from heatfleet import __version__
from heatfleet.api.report_query import Metric
from heatfleet.domain.slots import SLOT_S, SLOTS_PER_DAY
from heatfleet.reports import Cells, Interval
from heatfleet.storage.base import Column

_DAY_S = 86_400
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_QUARTERS = [f"{quarter // 4:02}:{quarter % 4 * 15:02}" for quarter in range(SLOTS_PER_DAY)]


class DetailedCell(msgspec.Struct, frozen=True):
    """What is known of one quarter, hour or day."""

    energy_wh: Annotated[int | None, Meta(description="null where no power is known.")]
    temperature_c: Annotated[float | None, Meta(description="Time-weighted mean; null where none is known.")]
    known_s: Annotated[float, Meta(ge=0, description="Device-seconds of known power.")]
    coverage: Annotated[
        float,
        Meta(ge=0, le=1, description="known_s as a part of what all devices of the last 24 h would have given."),
    ]
    devices: Annotated[int, Meta(ge=0, description="Devices whose power was known.")]
    final: Annotated[bool, Meta(description="Whether the cell is over; only late readings change it then.")]


CSV_COLUMNS = ("start_utc", "start_local", "utc_offset", "duration_s", *DetailedCell.__struct_fields__)


def etag(cells: Cells, *shape: object) -> str:
    """A strong validator: equal for equal cells in an equal shape, from one version of the program."""
    digest = blake2b(repr((__version__, *shape)).encode(), digest_size=16)
    for column in fields(cells):
        digest.update(getattr(cells, column.name).tobytes())
    return f'"{digest.hexdigest()}"'


def json_body(cells: Cells, interval: Interval, metric: Metric, *, detail: bool) -> bytes:
    """Cells in which the metric is known, by local day and time; by local day alone where a cell is a day."""
    cells = cells.where(cells.power_known if metric == "energy" else cells.temperature_known)
    values: Sequence[Any]
    if detail:
        values = list(map(DetailedCell, *_measured(cells)))
    elif metric == "energy":
        values = cells.energy_wh.tolist()
    else:
        values = (cells.temperature_cc / 100).tolist()
    if interval == "day":
        return msgspec.json.encode(dict(zip(_days(cells.local_s), values, strict=True)))
    times = _times(cells)
    # Day by day, not cell by cell; where a clock goes back over midnight, a day comes twice.
    starts = np.flatnonzero(np.diff(cells.local_s // _DAY_S, prepend=-1))
    ends = [*starts[1:].tolist(), len(times)]
    body: dict[str, dict[str, Any]] = {}
    for day, start, end in zip(_days(cells.local_s[starts]), starts.tolist(), ends, strict=False):
        body.setdefault(day, {}).update(zip(times[start:end], values[start:end], strict=True))
    return msgspec.json.encode(body)


def csv_body(cells: Cells) -> bytes:
    """A line of column names and one for each cell; a field is empty where its value is unknown."""
    columns = (
        _instants(cells.first_slot * SLOT_S, "Z"),
        _instants(cells.first_slot * SLOT_S + cells.offset_s, ""),
        _offsets(cells.offset_s),
        ((cells.end_slot - cells.first_slot) * SLOT_S).tolist(),
        *_measured(cells),
    )
    # No field has anything to be quoted for, so lines are arrays of JSON without its signs; csv.writer takes four times
    # as long.
    lines = msgspec.json.encode(list(zip(*columns, strict=True)))[2:-2]
    plain = lines.replace(b"],[", b"\r\n").replace(b"null", b"").replace(b'"', b"")
    return b"".join(line + b"\r\n" for line in (",".join(CSV_COLUMNS).encode(), plain) if line)


def _measured(cells: Cells) -> tuple[list[Any], ...]:
    """The fields of ``DetailedCell``, each as the list of its values."""
    energy_wh, temperature_c = cells.energy_wh.tolist(), (cells.temperature_cc / 100).tolist()
    return (
        [wh if known else None for wh, known in zip(energy_wh, cells.power_known.tolist(), strict=True)],
        [c if known else None for c, known in zip(temperature_c, cells.temperature_known.tolist(), strict=True)],
        (cells.known_ms / 1000).tolist(),
        (cells.coverage_e4 / 10_000).tolist(),
        cells.devices.tolist(),
        cells.final.tolist(),
    )


def _days(local_s: Column) -> list[str]:
    """The date that a clock shows at each of its seconds since 1970."""
    days, place = np.unique(local_s // _DAY_S, return_inverse=True)
    names = [date.fromordinal(_EPOCH_ORDINAL + day).isoformat() for day in days.tolist()]
    return [names[index] for index in place.tolist()]


def _times(cells: Cells) -> list[str]:
    """The local time of each cell, with its offset where the clock shows the hour twice."""
    times = [_QUARTERS[quarter] for quarter in (cells.local_s // SLOT_S % SLOTS_PER_DAY).tolist()]
    repeated = np.flatnonzero(cells.repeated)
    for index, offset in zip(repeated.tolist(), _offsets(cells.offset_s[repeated]), strict=True):
        times[index] += offset
    return times


def _instants(seconds: Column, end: Literal["", "Z"]) -> list[str]:
    """ISO 8601 to the second."""
    quarters = (seconds // SLOT_S % SLOTS_PER_DAY).tolist()
    return [f"{day}T{_QUARTERS[quarter]}:00{end}" for day, quarter in zip(_days(seconds), quarters, strict=True)]


def _offsets(offset_s: Column) -> list[str]:
    offsets, place = np.unique(offset_s, return_inverse=True)
    names = [
        f"{'-' if seconds < 0 else '+'}{abs(seconds) // 3600:02}:{abs(seconds) % 3600 // 60:02}"
        for seconds in offsets.tolist()
    ]
    return [names[index] for index in place.tolist()]
