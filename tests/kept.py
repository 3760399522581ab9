"""What a store holds, as anybody with a SQL prompt finds it."""

from pathlib import Path

import apsw

from heatfleet.domain.messages import CODE_NAMES, Reading


def kept_readings(store_path: Path) -> set[Reading]:
    """Every reading in the day files, after a rollup has put all there; each is there once."""
    main = apsw.Connection(str(store_path), flags=apsw.SQLITE_OPEN_READONLY)
    names = dict(main.execute("SELECT id, name FROM device"))
    products = dict(main.execute("SELECT id, name FROM product"))
    codes = {name: code for code, name in CODE_NAMES.items()}
    main.close()
    found = []
    for path in store_path.with_name(f"{store_path.name}.d").glob("readings-*.db"):
        day = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        rows = day.execute("SELECT device, product, code, time_ms, value FROM reading")
        found += [Reading(names[one], products[p], codes[c], t, float(v)) for one, p, c, t, v in rows]
        day.close()

    assert len(found) == len(set(found))
    return set(found)


def damage_in(store_path: Path) -> list[str]:
    """What SQLite's own check finds wrong in any file of the store."""
    found = []
    for path in (store_path, *store_path.with_name(f"{store_path.name}.d").glob("*.db")):
        connection = apsw.Connection(str(path))
        answer = connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
        found += [f"{path.name}: {line}" for (line,) in answer if line != "ok"]
    return found
