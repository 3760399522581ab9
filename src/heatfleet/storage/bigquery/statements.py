"""The SQL of the store: one statement in each file of the folder ``sql``, named for what it does or gives.

A table whose name begins with ``work_`` holds the rows of the SELECT of that name for as long as a rollup lasts; or it
is no table at all, and the SELECT stands in front of the statement that reads it.
"""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("sql")


@cache
def statement(name: str) -> str:
    """The statement of this name."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8").strip()


def script(*statements: str) -> str:
    """Statements, one after the other."""
    return "".join(f"{one};\n" for one in statements)


def transaction(*statements: str) -> str:
    """Statements all or none of which happen."""
    return script("BEGIN TRANSACTION", *statements, "COMMIT TRANSACTION")


def made(name: str, select: str | None = None) -> str:
    """What puts the rows of a SELECT, that of the same name unless given, into a work table."""
    return (
        f"CREATE OR REPLACE TABLE work_{name}\n"
        "OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)) AS\n"
        f"{select or statement(name)}"
    )


def together(last: str, **sources: str) -> str:
    """A statement with the SELECTs it reads in front of it, in order, each by the name of its work table."""
    tables = ",\n".join(f"work_{name} AS (\n{statement(of)}\n)" for name, of in sources.items())
    before, select, after = statement(last).partition("\nSELECT\n") if "INSERT" in statement(last) else ("", "", "")
    if not select:
        return f"WITH {tables}\n(\n{statement(last)}\n)"
    return f"{before}\nWITH {tables}{select}{after}"
