"""The rules of our BigQuery SQL, asked of the text and of its tree: what a parser takes and BigQuery would refuse."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError
from sqlglot.generators.bigquery import BigQueryGenerator
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from tests.bigquery_server.refused import refusals

Parameters = Mapping[str, str]
"""Of each parameter its type."""
Tables = Mapping[str, Mapping[str, str]]
"""Of each table its columns, and of each column its type."""

FUNCTIONS = """
    ARRAY_AGG ARRAY_LENGTH AVG CAST COALESCE CONCAT COUNT COUNTIF CURRENT_TIMESTAMP DATE DIV ERROR EXTRACT
    FARM_FINGERPRINT FLOOR FORMAT_TIMESTAMP GENERATE_ARRAY GENERATE_TIMESTAMP_ARRAY GREATEST IF IFNULL LAG LAST_VALUE
    LEAD LEAST LENGTH MAX MIN MOD NULLIF RANGE_BUCKET ROUND ROW_NUMBER SAFE_CAST SAFE_DIVIDE STARTS_WITH STRING_AGG
    STRUCT SUM TIMESTAMP_ADD TIMESTAMP_DIFF TIMESTAMP_MICROS TIMESTAMP_MILLIS TIMESTAMP_SUB TIMESTAMP_TRUNC
    TO_JSON_STRING UNIX_MICROS UNIX_MILLIS UNNEST
"""
"""Each is in BigQuery's reference, under this name."""
SYNTAX = """
    ALL AND AS BETWEEN BY DISTINCT ELSE EXISTS FROM HAVING IN INSERT JOIN NOT ON OPTIONS OR OVER QUALIFY SELECT SET THEN
    USING VALUES WHEN WHERE
"""
"""Words before a bracket that are no functions."""
NAMED_NEXT = {"EXISTS", "INTO", "TABLE"}
UNITS = {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY"}
TRUNCATED_TO = UNITS | {"WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR"}
RESERVED = {word.upper() for word in BigQueryGenerator.RESERVED_KEYWORDS}
TAKES_A_UNIT = (
    exp.TimestampTrunc | exp.DateTrunc | exp.TimestampDiff | exp.DateDiff | exp.TimestampAdd | exp.TimestampSub
)
TRUNCATES = exp.TimestampTrunc | exp.DateTrunc


def problems(text: str, tables: Tables, filters: Mapping[str, str], parameters: Parameters) -> Iterator[str]:
    """What is wrong with a statement, or some; ``filters`` tells on what column each table asks for a filter."""
    try:
        statements = [one for one in sqlglot.parse(text, read="bigquery") if one is not None]
    except SqlglotError as error:
        yield f"it cannot be read: {error}"
        return
    yield from wrong_words(sqlglot.tokenize(text, read="bigquery"), parameters)
    for statement in statements:
        yield from refusals(statement, lambda table: filters.get(table.name))
        yield from wrong_nodes(statement)
        yield from wrong_columns(statement, tables, parameters)


def wrong_words(tokens: list[Token], parameters: Parameters) -> Iterator[str]:
    """Casts of other databases, functions and parameters that nobody knows."""
    known = {*FUNCTIONS.split(), *SYNTAX.split()}
    for before, at, after in zip([None, *tokens], tokens, tokens[1:], strict=False):
        name = at.text.upper()
        if at.token_type is TokenType.DCOLON:
            yield ":: is no cast in BigQuery; write CAST(... AS ...)"
        if at.token_type is TokenType.PARAMETER and after.text not in parameters:
            yield f"@{after.text} is no parameter that is known; is it in PARAMETERS?"
        if after.token_type is TokenType.L_PAREN and re.fullmatch("[A-Z_0-9]+", name):
            named = before is not None and before.text.upper() in NAMED_NEXT
            if not named and name not in known:
                yield f"{name} is no function of the list; if BigQuery has it, put it there"


def wrong_nodes(statement: exp.Expr) -> Iterator[str]:
    """Stars, commands that were not understood, reserved words as names, and units that are none."""
    for node in statement.walk():
        if isinstance(node, exp.Command):
            yield f"{node.this} is not understood"
        elif isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
            yield "* reads columns that nobody asked for, and pays for them; name them"
        elif isinstance(node, exp.Identifier) and not node.args.get("quoted") and node.name.upper() in RESERVED:
            yield f"{node.name} is a reserved word; name it otherwise"
        elif isinstance(node, TAKES_A_UNIT):
            unit = node.args.get("unit")
            known = TRUNCATED_TO if isinstance(node, TRUNCATES) else UNITS
            if unit is None or not isinstance(unit, exp.Var) or unit.name.upper() not in known:
                yield f"{node.sql('bigquery')} has no unit that BigQuery knows, or has it in another place"


def wrong_columns(statement: exp.Expr, tables: Tables, parameters: Parameters) -> Iterator[str]:
    """Tables and columns that are not there, and rows that do not fit where they go."""
    own = {cte.alias for cte in statement.find_all(exp.CTE)}
    made = isinstance(statement, exp.Create | exp.Drop)
    if unknown := {table.name for table in statement.find_all(exp.Table)} - own - set(tables):
        if not made:
            yield f"there is no table {', '.join(sorted(unknown))}"
        return
    try:
        for query in queries_of(statement):
            yield from uneven(query)
            columns_of(query, tables, parameters)
    except SqlglotError as error:
        yield str(error)
    for insert in statement.find_all(exp.Insert):
        named = insert.this.expressions if isinstance(insert.this, exp.Schema | exp.Tuple) else []
        given = insert.expression
        rows = given.expressions if isinstance(given, exp.Values) else [given]
        for count in {len(row.selects if isinstance(row, exp.Query) else row.expressions) for row in rows}:
            if len(named) != count:
                yield f"INSERT names {len(named)} columns and gives {count} values"


def queries_of(statement: exp.Expr) -> Iterator[exp.Query]:
    """The statement as queries, in which all its columns are read of the tables that they may be of."""
    statement = statement.copy()  # what is put together here takes its parts
    where = statement.args.get("where")
    condition = where.this if where else exp.true()
    if isinstance(statement, exp.Query):
        yield statement
    elif isinstance(statement, exp.Insert) and isinstance(statement.expression, exp.Query):
        yield statement.expression
        yield exp.select(*(column.name for column in statement.this.expressions)).from_(statement.this.this)
    elif isinstance(statement, exp.Update):
        set_to = [part for change in statement.expressions for part in (change.this, change.expression)]
        yield exp.select(*set_to).from_(statement.this).where(condition)
    elif isinstance(statement, exp.Delete):
        yield exp.select("1").from_(statement.this).where(condition)
    elif isinstance(statement, exp.Merge):
        both = exp.select("1").from_(statement.this).join(statement.args["using"], on=statement.args["on"])
        yield both
        for then in (when.args["then"] for when in statement.find_all(exp.When)):
            if isinstance(then, exp.Update):
                targets, values = zip(*((change.this, change.expression) for change in then.expressions), strict=True)
            elif isinstance(then, exp.Insert):
                targets, values = then.this.expressions, then.expression.expressions
            else:
                continue
            yield both.select(*values, *(in_target(statement, column) for column in targets))


def in_target(merge: exp.Merge, column: exp.Expr) -> exp.Column:
    """A column of the table that is merged into, where the name alone says so."""
    return exp.column(column.name, table=merge.this.alias_or_name)


def uneven(query: exp.Query) -> Iterator[str]:
    """Parts of a UNION that have not as many columns each."""
    for union in query.find_all(exp.SetOperation):
        if len(union.left.selects) != len(union.right.selects):
            yield "the parts of a UNION have not as many columns each"


def columns_of(query: exp.Expr, tables: Tables, parameters: Parameters) -> dict[str, str]:
    """The columns that a query gives, with their types; raises ``SqlglotError`` if it reads any that are not there."""
    schema: dict[str, object] = {name: dict(columns) for name, columns in tables.items()}
    tree = qualify(query.copy(), schema=schema, dialect="bigquery", quote_identifiers=False)
    for parameter in list(tree.find_all(exp.Parameter)):
        parameter.replace(exp.cast(exp.null(), parameters.get(parameter.name, "INT64"), dialect="bigquery"))
    typed: Any = annotate_types(tree, schema=schema, dialect="bigquery")
    return {one.alias_or_name: one.type.sql("bigquery") if one.type else "INT64" for one in typed.selects}
