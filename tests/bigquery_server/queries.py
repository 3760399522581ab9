"""What is mended in how the emulator runs and refuses queries."""

import re
from typing import Any

import duckdb
from bqemulator.api.routes import jobs
from bqemulator.catalog import ddl_sync
from bqemulator.domain.errors import AlreadyExistsError, DomainError, InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.jobs.error_mapper import translate_runtime_error
from bqemulator.scripting import interpreter
from bqemulator.sql.parameters import bind_parameters
from bqemulator.sql.rewriter.default_dataset import qualify_unqualified_tables

from tests.bigquery_server import parameters
from tests.bigquery_server.remembered import ASKED, translated

BEFORE = r"(\s|--[^\n]*\n)*"
PLAIN = re.compile(
    rf"""{BEFORE}
    ((?P<gives>SELECT|WITH)|(?P<makes>CREATE\s+(OR\s+REPLACE\s+)?TABLE|DROP\s+TABLE)|INSERT|UPDATE|DELETE|MERGE|TRUNCATE)\b""",
    re.IGNORECASE | re.VERBOSE,
)
AS_QUERY = re.compile(r"\bAS\s+(SELECT|WITH|\().*", re.DOTALL | re.IGNORECASE)
ASSERT = re.compile(r"ASSERT\b\s*(?P<condition>.*?)(\s+AS\s+(?P<words>'[^']*'|\"[^\"]*\"))?", re.DOTALL | re.IGNORECASE)


def mend() -> None:
    """An error is an error, a script takes parameters, and what BigQuery refuses is refused."""
    tell_errors_of_jobs_query()
    write_where_a_job_says()
    run_by_what_is_remembered()
    spare_what_nobody_uses()
    let_transactions_be_duckdbs()


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


def run_by_what_is_remembered() -> None:
    """Each statement was parsed some twenty-five times.

    Scripts had no parameters, jobs.query had no default dataset, and blocks of scripts neither. What breaks is a 400:
    clients repeat a 500 for ten minutes.
    """
    execute, validate = jobs.execute_query_job, jobs._validate_session_id
    script = interpreter.ScriptInterpreter
    state, query = script._exec_sql, script._run_query

    def validated(config: dict[str, Any]) -> None:
        ASKED.set(config)
        validate(config)

    async def executed(project: str, job: str, sql: str, query_params: Any, ctx: Any, **words: Any) -> Any:
        try:
            text = sql if is_query(sql) or parameters.is_script(sql) else in_default_dataset(sql, project)
            return await execute(project, job, text, query_params, ctx, **words)
        except DomainError:
            raise
        except Exception as error:
            raise InvalidQueryError(f"{type(error).__name__}: {error}") from error

    async def stated(self: Any, sql: str) -> None:
        if not await is_done(self, sql):
            await state(self, written_out(sql, self._project_id))

    async def queried(self: Any, sql: str) -> Any:
        return await query(self, written_out(sql, self._project_id))

    jobs._validate_session_id, jobs.execute_query_job, executor._run_single_sql = validated, executed, result
    jobs._apply_default_dataset = lambda sql, *_, **__: sql
    script._exec_sql, script._run_query = stated, queried


async def is_done(script: Any, sql: str) -> bool:
    """Do a statement of a script, if it is an ASSERT, which the emulator does not know, or one without variables."""
    if asserted := ASSERT.fullmatch(sql.strip()):
        if not await script._eval_expr_scalar(asserted["condition"]):
            raise InvalidQueryError(f"Assertion failed: {asserted['words']}")
        return True
    plain = PLAIN.match(sql)
    if not plain or script._frames.all_visible():
        return False
    project, ctx = script._project_id, script._ctx
    rows = await result(project, sql, ASKED.get().get("queryParameters"), ctx, caller=script._caller)
    script._final_table = rows if plain["gives"] else None
    if plain["makes"]:
        told = in_default_dataset(AS_QUERY.sub(" AS SELECT 1", sql), project)
        ddl_sync.sync_created_table(told, project, ctx)
        ddl_sync.sync_dropped_object(told, project, ctx)
    return True


def is_query(sql: str) -> bool:
    """Whether it is one query, or a script that begins with one."""
    plain = PLAIN.match(sql)
    return bool(plain and plain["gives"])


async def result(project: str, sql: str, values: Any, ctx: Any, *, caller: Any) -> Any:
    """What a statement gives, as an Arrow table."""
    text = await translated(sql, project_id=project, ctx=ctx, caller=caller, translator=executor._translator)
    try:
        bound, given = bind_parameters(text, values)
        return ctx.engine.fetch_arrow(bound, given or None)
    except duckdb.Error as error:
        raise translate_runtime_error(error, duckdb_sql=text) from error


def written_out(sql: str, project: str) -> str:
    """A statement beside variables of a script: with the values of its parameters, and its tables in full."""
    return in_default_dataset(parameters.as_literals(sql, ASKED.get().get("queryParameters") or []), project)


def in_default_dataset(sql: str, project: str) -> str:
    """A statement in which bare tables are those of the dataset that came with the request."""
    given = ASKED.get().get("defaultDataset")
    if given is None:
        return sql
    named = qualify_unqualified_tables(
        sql, default_project=given.get("projectId", project), default_dataset=given["datasetId"]
    )
    return str(named)


def spare_what_nobody_uses() -> None:
    """Each statement was parsed to see whether it makes or drops a table, a view, a schema or a routine."""

    async def nothing(*_: Any) -> None:
        pass

    def asked_of(word: str, detect: Any, otherwise: Any = None) -> Any:
        begins = re.compile(rf"{BEFORE}{word}\b", re.IGNORECASE).match
        return lambda sql, *more: detect(sql, *more) if begins(sql) else otherwise

    ddl_sync._detect_plain_create_table = asked_of("CREATE", ddl_sync._detect_plain_create_table)
    ddl_sync._detect_plain_create_view = asked_of("CREATE", ddl_sync._detect_plain_create_view, (None, None))
    ddl_sync._detect_create_schema = asked_of("CREATE", ddl_sync._detect_create_schema)
    ddl_sync._detect_catalog_drop = asked_of("DROP", ddl_sync._detect_catalog_drop)
    executor.detect_drop_routine = asked_of("DROP", executor.detect_drop_routine)
    classify = executor.classify_statement_type
    executor.classify_statement_type = lambda sql: "SELECT" if is_query(sql) else classify(sql)
    executor._capture_dml_snapshots = nothing
    executor._reject_dml_on_immutable = lambda *_: None
    executor.parse_script = interpreter.parse_script = parameters.parse_once


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
