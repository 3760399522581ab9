"""Parameters of scripts: the emulator binds those of single statements only."""

import itertools
from functools import lru_cache
from typing import Any

import sqlglot
from bqemulator.scripting.ast import SqlStmt
from bqemulator.scripting.parser import parse_script
from sqlglot import TokenType, exp

parse_once = lru_cache(8)(parse_script)


def is_script(sql: str) -> bool:
    """Whether the emulator's interpreter runs it."""
    statements = parse_once(sql).statements
    return len(statements) != 1 or not isinstance(statements[0], SqlStmt)


def as_literals(sql: str, parameters: list[dict[str, Any]]) -> str:
    """The same script with each @name written out."""
    literals = {one["name"]: literal(one["parameterType"], one.get("parameterValue", {})) for one in parameters}
    tokens = sqlglot.tokenize(sql, read="bigquery")
    pairs = [(at, name) for at, name in itertools.pairwise(tokens) if at.token_type is TokenType.PARAMETER]
    for at, name in reversed(pairs):
        if name.text in literals:
            sql = sql[: at.start] + literals[name.text] + sql[name.end + 1 :]
    return sql


def literal(kind: dict[str, Any], value: dict[str, Any]) -> str:
    """A value as the REST API has it, as BigQuery SQL."""
    name = kind["type"]
    if name == "ARRAY":
        element = kind["arrayType"]
        elements = ", ".join(literal(element, one) for one in value.get("arrayValues") or ())
        return f"ARRAY<{element_type(element)}>[{elements}]"
    if name == "STRUCT":
        fields = (
            f"{literal(one['type'], value['structValues'][one['name']])} AS {one['name']}"
            for one in kind["structTypes"]
        )
        return f"STRUCT({', '.join(fields)})"
    if value.get("value") is None:
        return f"CAST(NULL AS {name})"
    text = exp.Literal.string(value["value"]).sql(dialect="bigquery")
    return text if name == "STRING" else f"CAST({text} AS {name})"


def element_type(kind: dict[str, Any]) -> str:
    """The type of an array's elements, written out."""
    if kind["type"] != "STRUCT":
        return str(kind["type"])
    return f"STRUCT<{', '.join(one['name'] + ' ' + element_type(one['type']) for one in kind['structTypes'])}>"
