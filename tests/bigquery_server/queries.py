"""What is mended in how the emulator runs and refuses queries."""

from contextvars import ContextVar
from typing import Any

import sqlglot
from bqemulator.api.routes import jobs
from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.scripting import interpreter
from sqlglot import exp

from tests.bigquery_server import parameters
from tests.bigquery_server.refused import refusals


def mend() -> None:
    """An error is an error, a script takes parameters, and what BigQuery refuses is refused."""
    tell_errors_of_jobs_query()
    give_parameters_to_scripts()
    refuse_what_bigquery_refuses()


def tell_errors_of_jobs_query() -> None:
    """jobs.query answered 200 and no rows, whatever went wrong; jobs.insert tells of it in the job, as it should."""
    failing, told_in_the_job = jobs._execute_query_or_failed_meta, jobs._SQL_EXECUTION_DOMAIN_ERRORS

    async def failed(**words: Any) -> Any:
        try:
            return await failing(**words)
        except told_in_the_job as error:
            told = jobs._domain_error_to_error_result(error)
            now = words["ctx"].clock.now()
            return jobs._failed_job_meta(words["project_id"], words["job_id"], "QUERY", words["config"], told, now)

    jobs._execute_query_or_failed_meta = failed
    jobs._SQL_EXECUTION_DOMAIN_ERRORS = ()


def give_parameters_to_scripts() -> None:
    """Parameters were bound in single statements only, and jobs.query knew no default dataset.

    What breaks inside is a 400, since clients repeat a 500 for ten minutes.
    """
    execute, validate = jobs.execute_query_job, jobs._validate_session_id
    asked: ContextVar[dict[str, Any]] = ContextVar("asked")  # it is not handed on to what executes

    def validated(config: dict[str, Any]) -> None:
        asked.set(config)
        validate(config)

    async def executed(project: str, job: str, sql: str, values: Any, ctx: Any, **words: Any) -> Any:
        try:
            sql = jobs._apply_default_dataset(sql, asked.get(), request_project_id=project)
            if values and parameters.is_script(sql):
                sql, values = parameters.as_literals(sql, values), None
            return await execute(project, job, sql, values, ctx, **words)
        except DomainError:
            raise
        except Exception as error:
            raise InvalidQueryError(f"{type(error).__name__}: {error}") from error

    jobs._validate_session_id = validated
    jobs.execute_query_job = executed


def refuse_what_bigquery_refuses() -> None:
    """Changes without WHERE were made, and partitions were not asked for."""
    translate = executor.rewrite_and_translate_statement

    async def translated(sql: str, *, project_id: str, ctx: Any, **words: Any) -> Any:
        def filter_column(table: exp.Table) -> str | None:
            known = ctx.catalog.get_table(table.catalog or project_id, table.db, table.name)
            asked = known and known.time_partitioning
            return asked.field if asked and asked.require_partition_filter else None

        for statement in filter(None, parsed(sql)):
            for why in refusals(statement, filter_column):
                raise InvalidQueryError(why)
        return await translate(sql, project_id=project_id, ctx=ctx, **words)

    executor.rewrite_and_translate_statement = interpreter.rewrite_and_translate_statement = translated


def parsed(sql: str) -> list[Any]:
    """The statements, or none: what cannot be parsed is told of by those who come after."""
    try:
        return sqlglot.parse(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return []
