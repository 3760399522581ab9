"""All our BigQuery SQL keeps the rules, as far as they can be asked without BigQuery; and each rule is seen to bite."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from tests.bigquery_rules import columns_of, problems

ROOT = Path(__file__).parents[1] / "src" / "heatfleet" / "storage" / "bigquery"
WORK = "work_"
"""A table of this prefix holds what the statement of that name gives."""
PARAMETERS_BY_TYPE = {  # Every parameter of our SQL.
    "ARRAY<STRING>": "device_ids",
    "BOOL": "all_kept is_on known",
    "FLOAT64": "power_w temperature_c",
    "INT64": """
        as_of_ms before_ms end_slot first_slot from_ms hold_ms kept_from_ms kept_slot known_after_ms
        last_slot lease_s limit position retention_days since_ms to_ms until_ms
    """,
    "STRING": "device_id device_prefix me product_id product_prefix",
    "TIMESTAMP": "after since taken_until until",
}
PARAMETERS = {name: kind for kind, names in PARAMETERS_BY_TYPE.items() for name in names.split()}
TABLE = """
CREATE TABLE t (at_ms INT64 NOT NULL, name STRING, seen TIMESTAMP NOT NULL)
PARTITION BY TIMESTAMP_TRUNC(seen, DAY) OPTIONS (require_partition_filter = TRUE)
"""
SEEN = "seen > @since"
FROM_ONE = f"USING (SELECT 1 AS one) AS s ON {SEEN}"


def texts(root: Path) -> Iterator[tuple[str, str]]:
    """Each file, or each part of one that begins with `-- name: ...`, by its name; {names} stand for themselves."""
    for path in sorted(root.rglob("*.sql")):
        name, *parts = re.split(r"^-- name: *(\w+).*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        filled = [re.sub(r"\{(\w+)\}", r"\1", text) for text in (name, *parts[1::2])]
        yield from zip((f"{path.parent.name}/{path.stem}", *parts[::2]), filled, strict=True)


def tables_of(*ddl: str) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The tables with their columns, and the column on which each asks for a filter, if it does."""
    tables, filters = {}, {}
    for made in (one for text in ddl for one in sqlglot.parse(text, read="bigquery") if isinstance(one, exp.Create)):
        name = made.this.this.name
        tables[name] = {column.name: column.kind.sql("bigquery") for column in made.this.find_all(exp.ColumnDef)}
        asked = "require_partition_filter" in {one.name.lower() for one in made.find_all(exp.Property)}
        partition = made.find(exp.PartitionedByProperty)
        if asked and partition:
            filters[name] = next(partition.find_all(exp.Identifier)).name
    return tables, filters


@cache
def ours() -> tuple[dict[str, str], dict[str, dict[str, str]], dict[str, str]]:
    """Our SQL by name, the tables with their columns, work tables among them, and the columns that want a filter."""
    sql = dict(texts(ROOT))
    tables, filters = tables_of(*(text for name, text in sql.items() if name.startswith("schema/")))

    def work(name: str) -> None:
        made = sqlglot.parse_one(sql[f"sql/{name}"], read="bigquery")
        for table in made.find_all(exp.Table):
            if table.name.startswith(WORK) and table.name not in tables:
                work(table.name.removeprefix(WORK))
        tables[WORK + name] = columns_of(made, tables, PARAMETERS)

    for name in sorted(set(re.findall(rf"\b{WORK}(\w+)", "".join(sql.values())))):
        if f"sql/{name}" in sql:
            work(name)
    return sql, tables, filters


def test_our_sql_keeps_the_rules() -> None:
    """No file has what BigQuery would refuse, or what would read more than it must."""
    sql, tables, filters = ours()
    broken = {f"{name}: {why}" for name, text in sql.items() for why in problems(text, tables, filters, PARAMETERS)}
    assert not broken, "\n" + "\n".join(sorted(broken))


def test_every_parameter_is_used() -> None:
    """The list of parameters has none that no statement takes."""
    sql, *_ = ours()
    assert set() == set(PARAMETERS) - set(re.findall(r"@(\w+)", "".join(sql.values())))


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (f"SELEC name FROM t WHERE {SEEN}", "cannot be read"),
        (f"EXPLAIN SELECT name FROM t WHERE {SEEN}", "not understood"),
        ("UPDATE t SET name = 'a'", "UPDATE must have a WHERE"),
        ("DELETE FROM t", "DELETE must have a WHERE"),
        ("DELETE FROM t WHERE name = 'a'", "without a filter over column(s) 'seen'"),
        ("SELECT name FROM t", "without a filter over column(s) 'seen'"),
        (f"SELECT name FROM t WHERE {SEEN} OR name = 'a'", "without a filter"),
        ("SELECT name FROM t WHERE UNIX_MILLIS(seen) > at_ms", "without a filter"),
        ("SELECT name FROM t WHERE seen IS NOT NULL", "without a filter"),
        (f"SELECT name FROM t WHERE {SEEN} AND name IN (SELECT u.name FROM t AS u)", "without a filter"),
        ("MERGE INTO t USING (SELECT 1 AS one) ON at_ms = one WHEN MATCHED THEN DELETE", "without a filter"),
        (f"SELECT * FROM t WHERE {SEEN}", "* reads columns"),
        (f"SELECT t.* FROM t WHERE {SEEN}", "* reads columns"),
        (f"SELECT EPOCH(seen) FROM t WHERE {SEEN}", "EPOCH is no function"),
        (f"SELECT CARDINALITY([name]) FROM t WHERE {SEEN}", "CARDINALITY is no function"),
        (f"SELECT name::INT64 FROM t WHERE {SEEN}", ":: is no cast"),
        (f"SELECT TIMESTAMP_TRUNC('hour', seen) FROM t WHERE {SEEN}", "no unit"),
        (f"SELECT TIMESTAMP_TRUNC(seen, FORTNIGHT) FROM t WHERE {SEEN}", "no unit"),
        (f"SELECT TIMESTAMP_DIFF(seen, seen) FROM t WHERE {SEEN}", "no unit"),
        (f"SELECT TIMESTAMP_ADD(seen, INTERVAL 1 MONTH) FROM t WHERE {SEEN}", "no unit"),
        (f"SELECT TIMESTAMP_ADD(seen, 5) FROM t WHERE {SEEN}", "cannot be read"),
        (f"SELECT missing FROM t WHERE {SEEN}", "missing"),
        (f"WITH a AS (SELECT name FROM t WHERE {SEEN}) SELECT a.seen FROM a", "seen"),
        (f"SELECT name FROM tt WHERE {SEEN}", "there is no table tt"),
        (f"UPDATE t SET missing = 'a' WHERE {SEEN}", "missing"),
        (f"DELETE FROM t WHERE {SEEN} AND missing = 'a'", "missing"),
        ("INSERT INTO t (name, missing) SELECT 'a', 'b'", "missing"),
        ("INSERT INTO t (name, seen) SELECT 'a'", "INSERT names 2 columns and gives 1"),
        ("INSERT INTO t (name, seen) VALUES ('a', CURRENT_TIMESTAMP(), 1)", "INSERT names 2 columns and gives 3"),
        ("SELECT 1 AS one UNION ALL SELECT 1, 2", "not as many columns"),
        (f"MERGE INTO t {FROM_ONE} WHEN MATCHED THEN UPDATE SET missing = 'a'", "missing"),
        (f"MERGE INTO t {FROM_ONE} WHEN MATCHED THEN UPDATE SET name = s.two", "two"),
        (f"MERGE INTO t {FROM_ONE} WHEN NOT MATCHED THEN INSERT (missing) VALUES (s.one)", "missing"),
        (f"SELECT name AS at FROM t WHERE {SEEN}", "at is a reserved word"),
        (f"WITH following AS (SELECT name FROM t WHERE {SEEN}) SELECT name FROM following", "reserved word"),
        (f"SELECT name FROM t WHERE {SEEN} AND name = @missing", "@missing is no parameter"),
    ],
)
def test_each_rule_bites(sql: str, why: str) -> None:
    """A bad statement is told of, and why."""
    found = list(problems(sql, *tables_of(TABLE), {"since": "TIMESTAMP"}))
    assert any(why in one for one in found), found


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT COUNT(*) AS n, DIV(at_ms, 4) AS part FROM t WHERE {SEEN} GROUP BY part ORDER BY part",
        "SELECT name FROM t AS x WHERE x.seen >= TIMESTAMP_SUB(@since, INTERVAL 1 DAY) AND x.name = 'a'",
        f"SELECT x FROM t, UNNEST(GENERATE_ARRAY(0, t.at_ms)) AS x WHERE {SEEN}",
        f"SELECT LAST_VALUE(name IGNORE NULLS) OVER w AS name FROM t WHERE {SEEN} WINDOW w AS (ORDER BY seen)",
        f"SELECT TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), seen, MILLISECOND) AS late_ms FROM t WHERE {SEEN}",
        f"UPDATE t SET name = (SELECT MAX(u.name) FROM t AS u WHERE u.seen > @since) WHERE {SEEN}",
        f"BEGIN TRANSACTION; DELETE FROM t WHERE {SEEN}; INSERT INTO t (name, seen) SELECT 'a', @since; COMMIT",
        """
        MERGE INTO t USING (SELECT 'a' AS name) AS s ON t.name = s.name AND t.seen > @since
        WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (name, seen) VALUES (s.name, @since)
        """,
        TABLE,
    ],
)
def test_good_statements_pass(sql: str) -> None:
    """What BigQuery takes is not told of."""
    assert [] == list(problems(sql, *tables_of(TABLE), {"since": "TIMESTAMP"}))


def test_both_ways_of_keeping_sql_are_read(tmp_path: Path) -> None:
    """A file is one statement, or has several, each under its name."""
    (tmp_path / "one.sql").write_text("-- Says one.\nSELECT 1 AS one FROM {dataset}.t")
    (tmp_path / "two.sql").write_text("-- Both.\n-- name: first\nSELECT 1\n-- name: second\nSELECT 2\n")
    found = {name.split("/")[-1]: text.strip() for name, text in texts(tmp_path)}
    assert {
        "one": "-- Says one.\nSELECT 1 AS one FROM dataset.t",
        "two": "-- Both.",
        "first": "SELECT 1",
        "second": "SELECT 2",
    } == found
