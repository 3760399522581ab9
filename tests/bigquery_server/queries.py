"""What is mended in how the emulator runs and refuses queries."""

import re
from contextvars import ContextVar
from typing import Any

import sqlglot
from bqemulator.api.routes import jobs
from bqemulator.domain.errors import AlreadyExistsError, DomainError, InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.scripting import interpreter
from bqemulator.sql.rewriter.default_dataset import qualify_unqualified_tables
from sqlglot import exp

from tests.bigquery_server import parameters
from tests.bigquery_server.refused import refusals

ASSERT = re.compile(r"ASSERT\b\s*(?P<condition>.*?)(\s+AS\s+(?P<words>'[^']*'|\"[^\"]*\"))?", re.DOTALL | re.IGNORECASE)

ASKED: ContextVar[dict[str, Any]] = ContextVar("asked")  # the job's configuration: it is not handed on to what executes


def mend() -> None:
    """An error is an error, a script takes parameters, and what BigQuery refuses is refused."""
    tell_errors_of_jobs_query()
    write_where_a_job_says()
    give_parameters_to_scripts()
    keep_the_default_dataset()
    let_transactions_be_duckdbs()
    refuse_what_bigquery_refuses()


def tell_errors_of_jobs_query() -> None:
    """jobs.query answered 200 and no rows, whatever went wrong; jobs.insert tells of it in the job, as it should."""
    told_in_the_job = jobs._SQL_EXECUTION_DOMAIN_ERRORS
    failing = jobs._execute_query_or_failed_meta

    async def failed(**words: Any) -> Any:
        try:
            return await failing(**words)
        except told_in_the_job as error:
            told = jobs._domain_error_to_error_result(error)
            now = words["ctx"].clock.now()
            return jobs._failed_job_meta(words["project_id"], words["job_id"], "QUERY", words["config"], told, now)

    jobs._execute_query_or_failed_meta = failed
    jobs._SQL_EXECUTION_DOMAIN_ERRORS = ()


def write_where_a_job_says() -> None:
    """A job with a destination answered with the rows, and wrote none."""

    async def written(*, job_meta: Any, job_id: str, query_config: dict[str, Any], ctx: Any, **words: Any) -> Any:
        if to := query_config.get("destinationTable"):
            known = ctx.catalog.get_table(to["projectId"], to["datasetId"], to["tableId"])
            how = query_config.get("writeDisposition", "WRITE_EMPTY")
            if how == "WRITE_EMPTY" and known and known.num_rows:
                raise AlreadyExistsError(f"Already Exists: Table {to['projectId']}:{to['datasetId']}.{to['tableId']}")
            name = f"`{to['projectId']}.{to['datasetId']}.{to['tableId']}`"
            columns = ", ".join(jobs.JOB_RESULTS[job_id].schema.names)
            into = (
                f"INSERT INTO {name} ({columns})"
                if known and how != "WRITE_TRUNCATE"
                else f"CREATE OR REPLACE TABLE {name} AS"
            )
            project, caller = words["request_project_id"], words["caller"]
            sql, values = f"{into}\n{query_config['query'].rstrip().rstrip(';')}", query_config.get("queryParameters")
            await jobs.execute_query_job(project, f"{job_id}_written", sql, values, ctx, caller=caller)
        return job_meta

    jobs._apply_write_append = written


def give_parameters_to_scripts() -> None:
    """They were bound in single statements only. What breaks is a 400: clients repeat a 500 for ten minutes."""
    execute = jobs.execute_query_job

    async def executed(project: str, job: str, sql: str, query_params: Any, ctx: Any, **words: Any) -> Any:
        try:
            if not parameters.is_script(sql):
                sql = in_default_dataset(sql, project)
            elif query_params:
                sql, query_params = parameters.as_literals(sql, query_params), None
            return await execute(project, job, sql, query_params, ctx, **words)
        except DomainError:
            raise
        except Exception as error:
            raise InvalidQueryError(f"{type(error).__name__}: {error}") from error

    jobs.execute_query_job = executed


def keep_the_default_dataset() -> None:
    """jobs.query did not know it, and jobs.insert wrote scripts anew for its sake, without what is in blocks."""
    validate, script = jobs._validate_session_id, interpreter.ScriptInterpreter
    state, query = script._exec_sql, script._run_query

    def validated(config: dict[str, Any]) -> None:
        ASKED.set(config)
        validate(config)

    async def stated(self: Any, sql: str) -> None:
        if asserted := ASSERT.fullmatch(sql.strip()):
            if not await self._eval_expr_scalar(asserted["condition"]):
                raise InvalidQueryError(f"Assertion failed: {asserted['words']}")
        else:
            await state(self, in_default_dataset(sql, self._project_id))

    async def queried(self: Any, sql: str) -> Any:
        return await query(self, in_default_dataset(sql, self._project_id))

    jobs._validate_session_id, script._exec_sql, script._run_query = validated, stated, queried
    jobs._apply_default_dataset = lambda sql, *_, **__: sql


def in_default_dataset(sql: str, project: str) -> str:
    """A statement in which bare tables are those of the dataset that came with the request."""
    given = ASKED.get().get("defaultDataset")
    if given is None:
        return sql
    named = qualify_unqualified_tables(
        sql, default_project=given.get("projectId", project), default_dataset=given["datasetId"]
    )
    return str(named)


def let_transactions_be_duckdbs() -> None:
    """They were seen half done by others, copied their tables first, and were committed by the end of the script."""
    script = interpreter.ScriptInterpreter

    async def handled(self: Any, statement: str) -> None:
        """All statements of a script run on one thread, and nothing else on it meanwhile."""
        self._ctx.engine.execute(f"{statement} TRANSACTION" if statement == "BEGIN" else statement)
        self._active_txn = {} if statement == "BEGIN" else None

    async def undone(self: Any) -> None:
        await handled(self, "ROLLBACK")

    async def nothing(_: Any, __: str) -> None:
        pass

    script._handle_txn_statement, script._snapshot_dml_targets = handled, nothing
    script._drop_txn_snapshots = script._restore_txn_snapshots = undone


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
