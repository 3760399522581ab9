"""What is asked of the figures and of single devices: one or two queries each, over a bounded part of the tables."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np

from heatfleet.domain.slots import DAY_MS, HOUR_MS, SLOT_MS, SLOTS_PER_DAY, SLOTS_PER_HOUR, slot_of
from heatfleet.errors import StoreUnavailable
from heatfleet.storage.base import DeviceFilter, DevicePage, DeviceState, Figures, Patience
from heatfleet.storage.bigquery.head import Head
from heatfleet.storage.bigquery.queries import DEVICE, QUESTION, SHORT, Null, Queries, Row
from heatfleet.storage.bigquery.statements import statement, together

LAST_SLOT = (1 << 62) // SLOT_MS
BACK_MS = (32 * DAY_MS, 400 * DAY_MS)
"""How long before what is asked for the values are looked for that held then; beyond, in all that is kept."""
PRODUCTS_MAX = 100_000
PRODUCTS_FRESH_S = 600.0
AWAY_S = 5.0
"""For so long after BigQuery did not tell nobody asks: orders would wait for it, one behind the other."""

_DEVICE_FIGURES = {"point": "device_point", "bound": "no_bound", "piece": "piece", "change": "change"}


def figures(
    queries: Queries, slots: tuple[int | None, int | None], product_id: str | None, patience: Patience | None
) -> Figures:
    """Figures of the fleet or of one product; see ``Store.figures``."""
    first_slot, end_slot = (slots[0] or 0, LAST_SLOT if slots[1] is None else slots[1])
    asked = {"first_slot": first_slot, "end_slot": end_slot}
    rows = queries.run(statement("figures"), QUESTION, patience, product_id=product_id or "", **asked)
    [(_, as_of_ms), *packed] = rows or [(-1, "0")]
    return _unpacked(packed, int(as_of_ms))


def device_figures(
    queries: Queries,
    head: Head,
    hold_ms: int,
    device_id: str,
    slots: tuple[int | None, int | None],
    product_id: str | None,
    patience: Patience | None,
) -> Figures:
    """Figures of one device, from its own readings only; see ``Store.device_figures``."""
    found = queries.run(statement("device"), QUESTION, patience, device_id=device_id)
    if not found:
        return _unpacked([], head.as_of_ms)
    first_ms = found[0][7]
    earliest_ms = max(first_ms, head.kept_from_ms + DAY_MS if head.kept_from_ms else 0)
    first_slot = max(slots[0] or 0, slot_of(earliest_ms))
    end_of_hour = (head.as_of_ms // HOUR_MS + 1) * SLOTS_PER_HOUR
    end_slot = min(end_of_hour, LAST_SLOT if slots[1] is None else slots[1])
    since_ms = max(first_ms, head.kept_from_ms, (first_slot - SLOTS_PER_DAY) * SLOT_MS - hold_ms)
    until_ms = min(head.as_of_ms, end_slot * SLOT_MS)
    if end_slot <= first_slot or until_ms <= since_ms:
        return _unpacked([], head.as_of_ms)
    all_kept = 0 < since_ms <= head.kept_from_ms
    values = (None, None) if all_kept else _values_before(queries, found[0], since_ms, head.kept_from_ms, patience)
    power_w, temperature_c = (Null("FLOAT64") if value is None else float(value) for value in values)
    packed = queries.run(
        together("device_figures", **_DEVICE_FIGURES),
        DEVICE,
        patience,
        device_id=device_id,
        product_id=product_id or "",
        since_ms=since_ms,
        until_ms=until_ms,
        all_kept=all_kept,
        hold_ms=hold_ms,
        first_slot=first_slot,
        end_slot=end_slot,
        power_w=power_w,
        temperature_c=temperature_c,
    )
    return _unpacked(packed, head.as_of_ms)


def _values_before(
    queries: Queries, device: Row, since_ms: int, kept_from_ms: int, patience: Patience | None
) -> tuple[float | None, float | None]:
    """The power and the temperature that held at an instant, however old they were."""
    _, _, power_w, power_ms, temperature_c, temperature_ms, _, first_ms, first_power_ms, first_temperature_ms = device
    newest = {0: (power_w, power_ms, first_power_ms), 1: (temperature_c, temperature_ms, first_temperature_ms)}
    values = {code: value for code, (value, time_ms, _) in newest.items() if time_ms is not None and time_ms < since_ms}
    missing = {code for code, (_, _, first) in newest.items() if first is not None and first < since_ms} - set(values)
    until_ms = since_ms
    for back_ms in (*BACK_MS, since_ms):
        from_ms = max(since_ms - back_ms, first_ms, kept_from_ms)
        if missing and from_ms < until_ms:
            asked = {"since_ms": from_ms, "until_ms": until_ms}
            rows = queries.run(statement("device_values"), DEVICE, patience, device_id=device[0], **asked)
            values |= {code: value for code, value in rows if code in missing}
            missing -= set(values)
            until_ms = from_ms
    return values.get(0), values.get(1)


def device(queries: Queries, device_id: str) -> DeviceState | None:
    """One device's state; see ``Store.device``."""
    rows = queries.run(statement("device"), QUESTION, device_id=device_id)
    return DeviceState(*rows[0][:7]) if rows else None


def devices(queries: Queries, wanted: DeviceFilter, *, known_after_ms: int, position: int, limit: int) -> DevicePage:
    """Some devices that fit a filter; see ``Store.devices``."""
    rows = queries.run(
        statement("devices"),
        QUESTION,
        position=position,
        limit=limit + 1,
        product_id=Null("STRING") if wanted.product_id is None else wanted.product_id,
        known=Null("BOOL") if wanted.known is None else wanted.known,
        known_after_ms=known_after_ms,
        is_on=Null("BOOL") if wanted.on is None else wanted.on,
        device_prefix=wanted.bounds.device_prefix,
        product_prefix=wanted.bounds.product_prefix,
    )
    page = rows[:limit]
    return DevicePage([DeviceState(*row[1:]) for row in page], page[-1][0] if len(rows) > limit else None)


class Products:
    """What devices were last heard as, of those asked for of late from memory. Any thread may ask."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._away_until_s = 0.0

    def of(self, device_ids: Sequence[str]) -> Mapping[str, str]:
        """See ``Store.products``; a device BigQuery does not tell of in time is left out: an order must not wait."""
        fresh_s = time.monotonic() - PRODUCTS_FRESH_S
        with self._lock:
            known = {one: self._known[one] for one in device_ids if one in self._known}
        found = {one: product for one, (product, at_s) in known.items() if at_s > fresh_s}
        if asked := sorted(set(device_ids) - set(found)):
            old = {one: product for one, (product, _) in known.items()}  # better an old word than none
            if time.monotonic() < self._away_until_s:
                return old
            try:
                rows = self._queries.run(statement("products"), SHORT, device_ids=asked)
            except StoreUnavailable:
                self._away_until_s = time.monotonic() + AWAY_S
                return old
            found |= dict(rows)
            with self._lock:
                self._known |= {one: (product, time.monotonic()) for one, product in rows}
                while len(self._known) > PRODUCTS_MAX:
                    self._known.popitem(last=False)
        return found


def _unpacked(packed: Sequence[Row], as_of_ms: int) -> Figures:
    """Figures out of texts that hold eight numbers for each slot."""
    numbers = np.fromstring(" ".join(text for _, text in packed), np.int64, sep=" ")
    return Figures.of_table(numbers.reshape(-1, 8).T.copy(), as_of_ms)
