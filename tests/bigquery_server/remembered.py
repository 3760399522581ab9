"""What statements become is remembered: to translate one takes longer than to run it on the few rows of a test."""

import re
from contextvars import ContextVar
from typing import Any, NamedTuple

import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from bqemulator.sql.inner_query import rewrite_and_translate_statement
from bqemulator.sql.rewriter.default_dataset import qualify_unqualified_tables
from bqemulator.sql.table_rewriter import rewrite_table_refs
from sqlglot import exp

from tests.bigquery_server.refused import refusals

ASKED: ContextVar[dict[str, Any]] = ContextVar("asked", default={})  # noqa: B039 - never changed
"""The configuration of the job, with the default dataset and the parameters; it is not handed on to what executes."""
DATASET = "the_default_dataset"
KEPT_MAX = 2_000
HEX = re.compile(r"[0-9a-f]{16}")
DEPENDS_ON_MORE = re.compile(r"INFORMATION_SCHEMA|SYSTEM_TIME", re.IGNORECASE)


class Remembered(NamedTuple):
    """A statement for DuckDB, and what to ask before it is run."""

    sql: str
    tree: Any
    verdicts: dict[tuple[str | None, ...], list[str]]


_memory: dict[tuple[str, str, bool], Remembered] = {}


async def translated(sql: str, *, project_id: str, ctx: Any, **words: Any) -> str:
    """As DuckDB runs it. Raises ``InvalidQueryError`` for what BigQuery would refuse.

    Statements are the same but for the dataset and for names made at random, which stand in hexadecimal digits.
    """
    given = ASKED.get().get("defaultDataset")
    is_lasting = not DEPENDS_ON_MORE.search(sql)
    names = stand_ins(sql, given) if is_lasting else {}
    text = replaced(sql, names)
    key = (text, project_id, bool(given))
    found = _memory.get(key)
    if found is None:
        named = text
        if given:
            dataset = names.get(given["datasetId"], given["datasetId"])
            named = qualify_unqualified_tables(text, default_project=project_id, default_dataset=dataset)
        duckdb_sql = await rewrite_and_translate_statement(named, project_id=project_id, ctx=ctx, **words)
        tree = next(iter(sqlglot.parse(named, read="bigquery")), None)
        found = Remembered(rewrite_table_refs(duckdb_sql, project_id), tree, {})
        if len(_memory) >= KEPT_MAX:
            _memory.clear()
        if is_lasting:
            _memory[key] = found
    back = {stand_in: name for name, stand_in in names.items()}
    refuse_what_bigquery_refuses(found, back, project_id, ctx)
    return replaced(found.sql, back)


def stand_ins(sql: str, given: dict[str, str] | None) -> dict[str, str]:
    """By what each name that differs from run to run is remembered."""
    dataset = {given["datasetId"]: DATASET} if given else {}
    return dataset | {name: f"{'x' * 15}{at}" for at, name in enumerate(dict.fromkeys(HEX.findall(sql)))}


def replaced(text: str, names: dict[str, str]) -> str:
    """The text with each name as it is called here."""
    for name, here in names.items():
        text = re.sub(rf"(?<![0-9a-zA-Z]){name}(?![0-9a-zA-Z])", here, text)
    return text


def refuse_what_bigquery_refuses(statement: Remembered, names: dict[str, str], project_id: str, ctx: Any) -> None:
    """Raise ``InvalidQueryError`` for changes without WHERE, and for tables read without the filter they ask for."""
    if statement.tree is None:
        return

    def filter_column(table: exp.Table) -> str | None:
        dataset, name = replaced(table.db, names), replaced(table.name, names)
        known = ctx.catalog.get_table(table.catalog or project_id, dataset, name)
        asked = known and known.time_partitioning
        return asked.field if asked and asked.require_partition_filter else None

    wanted = tuple(filter_column(table) for table in statement.tree.find_all(exp.Table))
    if wanted not in statement.verdicts:
        statement.verdicts[wanted] = list(refusals(statement.tree, filter_column))
    for why in statement.verdicts[wanted]:
        raise InvalidQueryError(why)
