"""What is mended in how the emulator holds DuckDB."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import duckdb
import sqlglot
from bqemulator.catalog import ddl_sync
from bqemulator.catalog.models import TimePartitioning
from bqemulator.domain.events import TableDataChanged
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.versioning.snapshots import SnapshotManager
from sqlglot import exp
from sqlglot.generators.duckdb import DuckDBGenerator


def mend() -> None:
    """Needs no network, takes appends beside queries, keeps no copy of every table for every write."""
    here = threading.local()

    def one_cursor_a_thread(engine: Any) -> Any:
        """One connection for all threads hangs, or fails with ResourceInUse, when an append meets a query."""
        if not hasattr(here, "cursor"):
            here.cursor = engine._connection.cursor()
            here.cursor.execute("SET TimeZone = 'UTC'")
            here.cursor.execute("SET threads = 1")  # the rows of a test are few, and other tests run beside it
        return here.cursor

    def only_say_that_it_changed(snapshots: Any, project: str, dataset: str, table: str) -> None:
        """Time travel would copy the whole table at every append: gigabytes after some hundred thousand rows."""
        snapshots._events.publish(TableDataChanged(project, dataset, table))

    DuckDBEngine.connection = property(one_cursor_a_thread)
    DuckDBEngine._load_spatial = lambda _: None  # it would be downloaded, and GEOGRAPHY is not used here
    SnapshotManager.record_change = only_say_that_it_changed
    ddl_sync._extract_ddl_metadata = partly(ddl_sync._extract_ddl_metadata)
    DuckDBGenerator.TRANSFORMS[exp.TimestampDiff] = whole_units
    DuckDBGenerator.RESERVED_KEYWORDS |= reserved_words()


def partly(described: Callable[[str], Any]) -> Callable[[str], Any]:
    """PARTITION BY was understood of a bare column only, and not of TIMESTAMP_TRUNC(column, HOUR) or DATE(column)."""

    def with_partitions(sql: str) -> Any:
        table = described(sql)
        clause = sqlglot.parse_one(sql, read="bigquery").find(exp.PartitionedByProperty)
        columns = [column.name for column in clause.find_all(exp.Identifier)] if clause else []
        if not columns or columns[0].upper().startswith("_PARTITION"):
            return table
        truncated = clause.find(exp.TimestampTrunc) if clause else None
        kind = truncated.args["unit"].name if truncated else "DAY"
        known = table.time_partitioning or TimePartitioning()
        return replace(table, time_partitioning=known.model_copy(update={"field": columns[0], "type": kind}))

    return with_partitions


def whole_units(generator: Any, node: exp.TimestampDiff) -> str:
    """TIMESTAMP_DIFF in whole units, as BigQuery has it; DuckDB's DATE_DIFF counts the boundaries between."""
    unit = exp.Literal.string(node.args["unit"].name)
    return str(generator.func("DATE_SUB", unit, node.expression, node.this))


def reserved_words() -> set[str]:
    """The words that DuckDB keeps to itself and BigQuery does not, like `at`: they are quoted."""
    words = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')"
    return {word for (word,) in duckdb.connect().execute(words).fetchall()}
