"""What BigQuery refuses and a parser takes: changes without WHERE, and reading all of a table that asks for a filter.

The local server asks it of every statement, and the check of our SQL files of every file.
"""

from collections.abc import Callable, Iterator

from sqlglot import exp

COMPARISONS = exp.EQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Between | exp.In | exp.Is
Column = str | None


def refusals(statement: exp.Expr, filter_column: Callable[[exp.Table], Column]) -> Iterator[str]:
    """Why BigQuery would not run this statement; `filter_column` names what a table asks a filter on, if it does."""
    for change in statement.find_all(exp.Update, exp.Delete):
        if not change.args.get("where") and not isinstance(change.parent, exp.When):
            yield f"{change.key.upper()} must have a WHERE clause"
    for table in statement.find_all(exp.Table):
        column = None if is_written_only(table) else filter_column(table)
        if column and not any(filters(part, table, column) for part in conditions(table)):
            yield f"Cannot query over table '{table.name}' without a filter over column(s) '{column}'"


def is_written_only(table: exp.Table) -> bool:
    """Whether the table is where rows go, or what a CREATE, ALTER, DROP or TRUNCATE speaks of."""
    holder = table.parent.parent if isinstance(table.parent, exp.Schema) else table.parent
    if isinstance(holder, exp.Insert | exp.Create | exp.Alter):
        return holder.this in {table, table.parent}
    return isinstance(holder, exp.Drop | exp.TruncateTable)


def conditions(table: exp.Table) -> Iterator[exp.Expr]:
    """Everything that must hold of each row that the statement around the table uses, piece by piece."""
    holder = table.find_ancestor(exp.Select, exp.Update, exp.Delete, exp.Merge)
    if holder is None:
        return
    where = holder.args.get("where")
    wholes = [where.this if where else None, holder.args.get("on")]
    wholes += [join.args.get("on") for join in holder.args.get("joins") or ()]
    for whole in filter(None, wholes):
        yield from whole.flatten() if isinstance(whole, exp.And) else (whole,)


def filters(part: exp.Expr, table: exp.Table, column: str) -> bool:
    """Whether this condition compares the column with what is known before a row is read."""
    if not isinstance(part, COMPARISONS) or part.find(exp.Query):
        return False
    named = list(part.find_all(exp.Column))
    return bool(named) and all(one.name == column and one.table in {"", table.alias_or_name} for one in named)
