"""What is known of devices: questions to the main file, whose view ``device`` the rollup keeps."""

import json
from collections.abc import Sequence

import apsw

from heatfleet.storage.base import DeviceFilter, DevicePage, DeviceState
from heatfleet.storage.sqlite.connect import select

STATE = "d.name, p.name, power_w, power_ms, temperature_c, temperature_ms, last_ms"
ONE = f"SELECT {STATE} FROM device d JOIN product p ON p.id = product WHERE d.name = ?"  # noqa: S608 - a constant
SOME = f"""SELECT d.id, {STATE} FROM device d JOIN product p ON p.id = product
WHERE d.id > ?1 AND (?2 IS NULL OR product = (SELECT id FROM product WHERE name = ?2))
  AND ifnull((last_ms > ?3) = ?4, 1) AND ifnull((ifnull(power_w, 0) > 0) = ?5, 1)
  AND substr(d.name, 1, length(?7)) = ?7 AND substr(p.name, 1, length(?8)) = ?8
ORDER BY d.id LIMIT ?6"""  # noqa: S608 - a constant
PRODUCTS = """SELECT d.name, p.name FROM json_each(?) AS wanted
JOIN device d ON d.name = wanted.value JOIN product p ON p.id = product"""


def device(connection: apsw.Connection, device_id: str) -> DeviceState | None:
    """One device's state; see ``Store.device``."""
    rows = select(connection, ONE, device_id)
    return DeviceState(*rows[0]) if rows else None


def devices(
    connection: apsw.Connection, wanted: DeviceFilter, *, known_after_ms: int, position: int, limit: int
) -> DevicePage:
    """Some devices that fit a filter; see ``Store.devices``."""
    asked = (wanted.product_id, known_after_ms, wanted.known, wanted.on)
    rows = select(connection, SOME, position, *asked, limit + 1, *wanted.bounds)
    page = rows[:limit]
    return DevicePage([DeviceState(*row[1:]) for row in page], page[-1][0] if len(rows) > limit else None)


def products(connection: apsw.Connection, device_ids: Sequence[str]) -> dict[str, str]:
    """What these devices were last heard as; see ``Store.products``."""
    return dict(select(connection, PRODUCTS, json.dumps(list(device_ids))))
