"""What may be asked of ``GET /report``: one table of parameters, for the documentation and for the check."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from heatfleet.domain.local_time import find_zone, slot_at
from heatfleet.domain.messages import ID_PATTERN, ID_RULE, is_id
from heatfleet.errors import BadQuery
from heatfleet.reports import Interval, Question

Metric = Literal["energy", "temperature"]
Format = Literal["json", "csv"]

_FALSE_TRUE = ("false", "true")
_INSTANT = (
    "a date (local midnight in `tz`), or an RFC 3339 date-time on a quarter of an hour in UTC. A date-time without "
    "offset is local: of an hour that the clock shows twice the first is meant, one that it leaps over is refused"
)
_INSTANT_FORMATS = [{"format": "date"}, {"format": "date-time"}]


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """A question and how its answer is to look; ``format`` is ``None`` where the ``Accept`` header decides."""

    question: Question
    metric: Metric
    detail: bool
    format: Format | None


def _parameter(name: str, description: str, example: str | None = None, **schema: Any) -> dict[str, Any]:
    shown = {} if example is None else {"example": example}
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"} | schema} | shown


PARAMETERS = [
    _parameter(
        "from",
        f"Start of the range, included: {_INSTANT}. Default: the first reading.",
        "2024-11-26",
        anyOf=_INSTANT_FORMATS,
    ),
    _parameter(
        "to",
        "End of the range, excluded; written like `from`. Default: now.",
        "2024-11-27T00:00:00Z",
        anyOf=_INSTANT_FORMATS,
    ),
    _parameter("tz", "IANA time zone of days and hours. Default: `HEATFLEET_TZ`, else UTC.", "Europe/Paris"),
    _parameter("device_id", "One device only.", "bfadafebb608a154206aqu", pattern=f"^{ID_PATTERN}$"),
    _parameter("product_id", "Devices of one product only.", "ixhko1cls7lzpwsf", pattern=f"^{ID_PATTERN}$"),
    _parameter(
        "metric",
        "`energy` in Wh, or the time-weighted mean `temperature` in °C; only cells where it is known are given.",
        enum=get_args(Metric),
        default="energy",
    ),
    _parameter("interval", "Length of a cell.", enum=get_args(Interval), default="hour"),
    _parameter("detail", "Give each cell as an object, with its coverage.", enum=_FALSE_TRUE, default="false"),
    _parameter("format", "Overrides the `Accept` header.", enum=get_args(Format), default="json"),
]
"""As OpenAPI parameter objects."""
_NAMES = [parameter["name"] for parameter in PARAMETERS]


def read_query(sent: Iterable[tuple[str, str]], *, tz: str, metric: Metric | None = None) -> ReportQuery:
    """The query in the parameters sent, ``tz`` being the default zone; ``BadQuery`` names the first bad one.

    ``metric`` is set on the paths that have one in their name; the parameter may then only repeat it.
    """
    given = _named_once(sent)
    zone = _zone(given.get("tz", tz))
    first_slot, end_slot = _slot(given, "from", zone), _slot(given, "to", zone)
    if first_slot is not None and end_slot is not None and first_slot >= end_slot:
        raise BadQuery("to", "to must be later than from")
    metrics = get_args(Metric) if metric is None else (metric,)
    interval = _choice(given, "interval", get_args(Interval), "hour")
    return ReportQuery(
        Question(zone, interval, first_slot, end_slot, _id(given, "device_id"), _id(given, "product_id")),
        metric=_choice(given, "metric", metrics, metrics[0]),
        detail=_choice(given, "detail", _FALSE_TRUE, "false") == "true",
        format=_choice(given, "format", get_args(Format), None),
    )


def _named_once(sent: Iterable[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in sent:
        if name not in _NAMES:
            near = get_close_matches(name[:64], _NAMES, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            # A name that could be anything is not repeated: an answer never carries what was sent.
            harmless = name if name.isascii() and name.isidentifier() and len(name) <= 32 else ""
            raise BadQuery(harmless, f"there is no such parameter; {hint}there are {', '.join(_NAMES)}")
        if name in given:
            raise BadQuery(name, f"{name} may be given once only")
        given[name] = value
    return given


def _zone(name: str) -> ZoneInfo:
    try:
        return find_zone(name)
    except ValueError as error:
        raise BadQuery("tz", f"tz {error}") from None


def _slot(given: Mapping[str, str], name: str, zone: ZoneInfo) -> int | None:
    if name not in given:
        return None
    try:
        return slot_at(given[name], zone)
    except ValueError as error:
        raise BadQuery(name, f"{name} {error}") from None


def _id(given: Mapping[str, str], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not is_id(value):
        raise BadQuery(name, f"{name} must be {ID_RULE}")
    return value


def _choice(given: Mapping[str, str], name: str, choices: tuple[Any, ...], default: Any) -> Any:
    if name not in given:
        return default
    if given[name] not in choices:
        raise BadQuery(name, f"{name} must be {' or '.join(choices)}")
    return given[name]
