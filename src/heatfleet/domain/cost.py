"""What a fleet costs on Google Cloud: how much of what a day, and what that is at a price per unit.

Sizes are those by which Google counts: 8 bytes a number or time, 2 and its UTF-8 bytes a text (BigQuery's "data size
calculation"), and what Pub/Sub counts of a message. Free shares, servers, PostgreSQL and networks are not in it.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

GIB, TIB = 2.0**30, 2.0**40
DAY_S, HOUR_S, MONTH_DAYS = 86_400, 3600, 30
VALUE_BYTES = 8
SCAN_BYTES_MIN = 10 * 2**20
"""BigQuery bills no less for each table that a query reads."""
REQUEST_BYTES_MIN = 1000
"""Pub/Sub bills no less for a request."""
LONG_TERM_DAYS = 90
"""A partition that was not changed for so long is billed at the lower price of storage."""
LOOK_BACK_S = HOUR_S
"""A rollup looks at all appends from so long before the newest it has taken: some become visible late."""
SLOTS_A_DAY = 96
TEXT_COLUMNS = {"arrival": 2, "reading": 2, "device": 2, "figure": 1, "tail": 1}
"""Columns of text of each table: device and product, or the product alone."""
VALUE_COLUMNS = {"arrival": 5, "reading": 3, "device": 11, "figure": 8, "tail": 8}
"""All its other columns: numbers and times."""
STAMP_BYTES = 2 * VALUE_BYTES
"""When a row was received and its batch: all that is read of arrivals to see what is new."""
WORK_BYTES = 100
"""A row of a rollup's work tables, at most: a reading or a device with what follows from it."""
READS = {"stamps": 2, "arrival": 1, "news": 6, "device": 8, "work": 20, "small": 20}
"""How often the statements of a rollup read: the stamps of arrivals, arrivals whole, what is new of them, all devices,
work tables with a row for each device that spoke, and tables that do not come to the least that is billed."""
LATE_DAYS = 1.5
"""Late words are reckoned with what their devices said around them: all of the day before, and of today so far."""
ORDER_BYTES = 220
"""One order: its JSON, three attributes with their names, the device as ordering key, id and time of the message."""
MESSAGE_BYTES = 260
"""One message of a device with one reading, as JSON without spaces, with what Pub/Sub adds."""

Way = Literal["http", "pull", "push"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a fleet does. Rates are a day, ``messages`` and ``orders`` of one device, ``reports`` of all who ask.

    ``late_rollups`` is the share of the rollups that find late words: in a large fleet hardly one does not. ``way`` is
    how messages come: to the servers over HTTP, or through Pub/Sub, pulled or pushed.
    """

    devices: int
    messages: float
    readings_per_message: float = 1.0
    orders: float = 4.0
    reports: float = 1000.0
    rollup_every_s: float = 900.0
    late_rollups: float = 1.0
    kept_days: int = 365
    products: int = 20
    device_id_bytes: int = 22
    product_id_bytes: int = 16
    way: Way = "http"


@dataclass(frozen=True, slots=True)
class Prices:
    """For one unit, in US dollars as the list prices are. ``docs/howto/google-cloud.md`` tells where they are from."""

    append_gib: float = 0.025
    store_gib_month: float = 0.02
    long_term_gib_month: float = 0.01
    scan_tib: float = 6.25
    pubsub_tib: float = 40.0


class Line(NamedTuple):
    """One thing that is paid for: so much of it a day, and its price."""

    what: str
    amount: float
    unit: str
    price: float = 0.0

    @property
    def cost(self) -> float:
        """A day's."""
        return self.amount * self.price


def row_bytes(table: str, *, device_id_bytes: int, product_id_bytes: int) -> int:
    """The size of a row as BigQuery counts it."""
    texts = (product_id_bytes, device_id_bytes)[: TEXT_COLUMNS[table]]
    return VALUE_COLUMNS[table] * VALUE_BYTES + sum(2 + text for text in texts)


def reckon(usage: Usage, prices: Prices) -> list[Line]:
    """Each thing that is paid for, in the order of the way of a reading; an amount without a price costs nothing."""
    messages = usage.devices * usage.messages
    readings = messages * usage.readings_per_message
    size = {
        table: row_bytes(table, device_id_bytes=usage.device_id_bytes, product_id_bytes=usage.product_id_bytes)
        for table in VALUE_COLUMNS
    }
    day_gib = readings * size["reading"] / GIB
    recent_days = min(usage.kept_days, LONG_TERM_DAYS)
    return [
        Line("messages of devices", messages, "messages"),
        *_by_pubsub(usage, messages, prices),
        Line("appended to BigQuery", readings * size["arrival"] / GIB, "GiB", prices.append_gib),
        Line("scanned by rollups", _rollups_bytes(usage, readings, size) / TIB, "TiB", prices.scan_tib),
        Line("scanned for late words", _late_bytes(usage, day_gib * GIB) / TIB, "TiB", prices.scan_tib),
        Line("scanned by reports", usage.reports * _report_bytes(usage, size) / TIB, "TiB", prices.scan_tib),
        Line(
            f"kept, newest {recent_days} days",
            recent_days * day_gib,
            "GiB-days",
            prices.store_gib_month / MONTH_DAYS,
        ),
        Line(
            f"kept, {usage.kept_days - recent_days} days before",
            (usage.kept_days - recent_days) * day_gib,
            "GiB-days",
            prices.long_term_gib_month / MONTH_DAYS,
        ),
        Line("orders by Pub/Sub", _orders_bytes(usage) / TIB, "TiB", prices.pubsub_tib),
    ]


def _by_pubsub(usage: Usage, messages: float, prices: Prices) -> list[Line]:
    if usage.way == "http":
        return []
    size = MESSAGE_BYTES + VALUE_BYTES  # a gateway publishes many in a request, and a pull brings many
    handed_out = max(size, REQUEST_BYTES_MIN) if usage.way == "push" else size
    return [
        Line("messages by Pub/Sub", messages * (size + handed_out) / TIB, "TiB", prices.pubsub_tib),
    ]


def _rollups_bytes(usage: Usage, readings: float, size: dict[str, int]) -> float:
    """What all rollups of a day read, at most.

    Arrivals lie in hours, and an hour is read whole: the one under way, half of it on average, and those that the look
    back and the time since the last rollup reach into.
    """
    reach_s = LOOK_BACK_S + usage.rollup_every_s + HOUR_S / 2
    arrivals, new = (readings / DAY_S * seconds for seconds in (reach_s, usage.rollup_every_s))
    rows = {
        "stamps": arrivals * STAMP_BYTES,
        "arrival": arrivals * size["arrival"],
        "news": new * WORK_BYTES,
        "device": usage.devices * size["device"],
        "work": min(new, usage.devices) * WORK_BYTES,
        "small": 0.0,
    }
    once = sum(times * max(rows[table], SCAN_BYTES_MIN) for table, times in READS.items())
    return DAY_S / usage.rollup_every_s * once


def _late_bytes(usage: Usage, day_bytes: float) -> float:
    """What rollups read of ``reading`` in a day: the whole of its days, however few words are late."""
    return DAY_S / usage.rollup_every_s * usage.late_rollups * max(LATE_DAYS * day_bytes, SCAN_BYTES_MIN)


def _report_bytes(usage: Usage, size: dict[str, int]) -> float:
    """What a report of a week for the fleet reads: figures of a month lie together, then the tail and the head."""
    rows = 30 * SLOTS_A_DAY * (usage.products + 1)
    return max(rows * size["figure"], SCAN_BYTES_MIN) + 2 * SCAN_BYTES_MIN


def _orders_bytes(usage: Usage) -> float:
    """Pub/Sub takes orders of one device in a request, which is one as a rule, and hands out many at a time."""
    return usage.devices * usage.orders * (max(ORDER_BYTES, REQUEST_BYTES_MIN) + ORDER_BYTES)
