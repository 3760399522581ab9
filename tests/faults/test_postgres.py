"""PostgreSQL that is away, refuses, hangs or cuts off: said in words, nothing half written, and healed afterwards."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage import check_postgresql, open_key_ring, open_ledger
from heatfleet.storage.base import Ledger
from heatfleet.storage.postgresql import connect
from heatfleet.storage.postgresql.connect import Database
from tests.contract.conftest import added
from tests.contract.ledgers import BY, NOW_MS, accept, order, publish
from tests.postgres import DATABASE, GUARDED, PASSWORD, ROLE, PostgresServer, shared_postgres

WAIT_S = 60
ORDERS = 100


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server that these tests may stop; it syncs, as one in production does."""
    server = PostgresServer(durable=True)
    yield server
    server.close()


@pytest.fixture
def url() -> str:
    """An empty place in the server that all tests share."""
    return shared_postgres().fresh_url()


def healed(ledger: Ledger) -> None:
    """An order is accepted again, in a while."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            publish(ledger, order("healed"))
        except StoreUnavailable:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        else:
            return


def test_a_server_that_is_away_is_refused_at_once(postgres: PostgresServer) -> None:
    """Each call says where it looked and what it found; once PostgreSQL is back the same ledger goes on."""
    with closing(open_ledger(postgres.fresh_url())) as ledger:
        before = publish(ledger, order())
        postgres.stop()
        for _ in range(50):
            with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{postgres.port}, database {DATABASE}"):
                publish(ledger, order())
        with pytest.raises(StoreUnavailable, match="Connection refused"):
            ledger.command(before.command.command_id, NOW_MS)
        postgres.start()
        healed(ledger)
        assert before == ledger.command(before.command.command_id, NOW_MS)


def test_what_was_answered_for_survives_a_crash(postgres: PostgresServer) -> None:
    """Orders, keys and lines are there after PostgreSQL was killed, to the last one; the ledger goes on by itself."""
    with closing(open_ledger(postgres.fresh_url())) as ledger:
        sent = [publish(ledger, order(f"d{number}")) for number in range(20)]
        left = accept(ledger, order("d99"), by=BY, idempotency_key="k")
        postgres.stop(signal.SIGKILL)
        postgres.start()
        healed(ledger)

        assert [*sent, left] == [ledger.command(it.command.command_id, NOW_MS) for it in (*sent, left)]
        assert [*("published",) * 20, "accepted", "published"] == [it.result for _, it in ledger.audit(NOW_MS)]
        assert left == accept(ledger, order("d99"), by=BY, idempotency_key="k")


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still with all its connections open: the call ends all the same, and what it asked for is undone."""
    monkeypatch.setattr(connect, "ANSWER_S", 1.0)
    monkeypatch.setitem(connect._DEFAULTS, "connect_timeout", 2)
    url = postgres.fresh_url()
    with closing(open_ledger(url)) as ledger:
        publish(ledger, order())
        postgres.pause()
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match=r"no answer|cannot be reached"):
                    publish(ledger, order())
        finally:
            postgres.go_on()
        healed(ledger)
    with closing(open_ledger(url)) as ledger:
        assert 0 == ledger.fail_unsettled(NOW_MS)


def test_a_server_that_syncs_is_sound(postgres: PostgresServer) -> None:
    """Nothing is wrong with one as it comes; it is told which version it is and how many servers there are."""
    url = postgres.fresh_url()
    with closing(open_ledger(url)) as ledger:
        publish(ledger, order())
        one = check_postgresql(url)

    assert (True, "") == (one.sound, one.fix)
    assert re.match(r"PostgreSQL \d+\.\d+, tables of version 1, open in 1 servers", one.found)


def test_connections_that_are_cut_off_leave_nothing_half_done(url: str) -> None:
    """However often all are ended in the midst, an order and its line are one, and a key leads to its order."""
    postgres, stop = shared_postgres(), Event()

    def cut() -> None:
        with psycopg.connect(postgres.url(role="postgres"), autocommit=True) as connection:
            while not stop.wait(0.05):
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [ROLE])

    cutting = Thread(target=cut)
    failed = 0
    with closing(open_ledger(url)) as ledger:
        cutting.start()
        try:
            for number in range(ORDERS):
                try:
                    record = accept(ledger, order(f"d{number}"), by=BY, idempotency_key=f"k{number}")
                    ledger.settle_many([(record.command.command_id, "published")], NOW_MS)
                except StoreUnavailable:
                    failed += 1
        finally:
            stop.set()
            cutting.join()
        assert failed
        ids = [_insisted(lambda key=key: key_leads_to(ledger, key)) for key in range(ORDERS)]  # type: ignore[misc]
        assert ORDERS == len(set(ids))
        assert 0 == ledger.fail_unsettled(NOW_MS)
    commands = postgres.execute("SELECT command_id FROM command ORDER BY 1", url)
    noted = postgres.execute("SELECT command_id FROM audit WHERE result = 'accepted' ORDER BY 1", url)
    assert commands == noted
    assert [(0,)] == postgres.execute("SELECT count(*) FROM command WHERE state = 'accepted'", url)
    assert [(ORDERS,)] == postgres.execute("SELECT count(*) FROM idempotency_key", url)


def key_leads_to(ledger: Ledger, number: int) -> str:
    """The order that a key stands for, published if it was not yet."""
    record = accept(ledger, order(f"d{number}"), by=BY, idempotency_key=f"k{number}")
    [record] = ledger.settle_many([(record.command.command_id, "published")], NOW_MS)
    assert record.state in ("published", "superseded")
    return record.command.command_id


def _insisted(call: Callable[[], str]) -> str:
    for _ in range(20):
        try:
            return call()
        except StoreUnavailable:
            time.sleep(0.05)
    return call()


@pytest.mark.parametrize(
    ("role", "password", "database", "words"),
    [
        (GUARDED, "wr0ng", DATABASE, "password authentication failed"),
        (GUARDED, "", DATABASE, "no password supplied"),
        (GUARDED, PASSWORD, "nowhere", 'database "nowhere" does not exist'),
        ("stranger", "", DATABASE, 'role "stranger" does not exist'),
    ],
)
def test_who_is_not_let_in_is_told_why(role: str, password: str, database: str, words: str) -> None:
    """In PostgreSQL's own words, with the place, and without the password."""
    address = shared_postgres().url(role=role, password=password, database=database)
    for opened in (open_ledger, open_key_ring):
        with pytest.raises(StoreUnavailable) as raised:
            opened(address)
        said = str(raised.value)
        assert words in said
        assert f"127.0.0.1:{shared_postgres().port}, database {database}" in said
        assert not password or password not in said
        assert raised.value.__cause__ is None


def test_a_password_opens(url: str) -> None:
    """It may stand in the address, %-encoded."""
    shared_postgres().as_admin(f"GRANT ALL ON DATABASE {DATABASE} TO {GUARDED}")
    database = Database(shared_postgres().url(role=GUARDED, password=PASSWORD), writable=False)
    with closing(database), database.connection() as connection:
        assert [(GUARDED,)] == connection.execute("SELECT current_user").fetchall()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://",
        "postgresql://u:s3cret@h",
        "postgresql://u:s3cret@h/",
        "postgresql://u:s3cret@h/d?s3cret=1",
        "postgresql://u:s3cret%@h/d",
        "postgresql:s3cret",
    ],
)
def test_an_address_that_is_none(address: str) -> None:
    """It is said what one looks like, and never what was given."""
    for opened in (open_ledger, open_key_ring):
        with pytest.raises(SetupError, match="postgresql://user@host") as raised:
            opened(address)
        assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("ALTER TABLE {schema}.command RENAME TO gone", "a table is missing"),
        ("REVOKE INSERT ON {schema}.command FROM heatfleet", "this user may not do that"),
        ("ALTER TABLE {schema}.audit ADD CHECK (entry < 0) NOT VALID", "violates check constraint"),
    ],
)
def test_a_database_that_refuses_is_told_in_words(url: str, trouble: str, words: str) -> None:
    """Nothing was written then: neither the order, nor its line, nor its key."""
    schema = re.findall(r"test_\d+", url)[0]
    with closing(open_ledger(url)) as ledger:
        shared_postgres().as_admin(trouble.format(schema=schema))
        with pytest.raises(StoreUnavailable, match=words):
            accept(ledger, order(), by=BY, idempotency_key="k")
    for table in ("audit", "idempotency_key"):
        assert [(0,)] == shared_postgres().execute(f"SELECT count(*) FROM {table}", url)


def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is missing it is said what to install; without PostgreSQL nobody needs it."""
    monkeypatch.setattr("heatfleet.storage.find_spec", lambda _: None)
    for opened in (open_ledger, open_key_ring, check_postgresql):
        with pytest.raises(SetupError, match=r"pip install .heatfleet\[postgresql\]"):
            opened("postgresql://u@h/d")


def test_a_standby_only_reads(url: str) -> None:
    """What may not be written is refused with what to do; reading goes on."""
    with closing(open_ledger(url)) as ledger:
        before = publish(ledger, order())
    read_only = f"{url}%20-cdefault_transaction_read_only%3Don"
    with closing(open_ledger(read_only)) as ledger:
        assert before == ledger.command(before.command.command_id, NOW_MS)
        with pytest.raises(StoreUnavailable, match="target_session_attrs=read-write"):
            publish(ledger, order())


def test_commits_are_durable_whatever_the_database_is_set_to(url: str) -> None:
    """One that was told not to wait for its disk waits for ours, and one that waits for more does that."""
    for told, expected in (("off", "on"), ("remote_apply", "remote_apply")):
        database = Database(f"{url}%20-csynchronous_commit%3D{told}", writable=True)
        with closing(database), database.connection() as connection:
            assert [(expected,)] == connection.execute("SHOW synchronous_commit").fetchall()


def test_a_machine_that_vanishes_is_noticed(url: str) -> None:
    """PostgreSQL asks within seconds whether a silent server is still there, and else lets go of what it holds."""
    with closing(Database(url, writable=True)) as database, database.connection() as connection:
        asked = "SELECT current_setting('tcp_keepalives_' || it) FROM unnest('{idle,interval,count}'::text[]) AS it"
        assert [("10",), ("5",), ("3",)] == connection.execute(asked).fetchall()


def test_tables_of_another_version(url: str) -> None:
    """Those of a newer Heatfleet are left alone, and who only looks makes none."""
    with pytest.raises(SetupError, match="heatfleet db init"):
        open_ledger(url, writable=False)
    assert [] == shared_postgres().execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()", url)
    open_ledger(url).close()
    shared_postgres().execute("UPDATE heatfleet_schema SET version = 99", url)
    for opened in (open_ledger, open_key_ring):
        with pytest.raises(SetupError, match="use a newer Heatfleet"):
            opened(url)


def test_a_server_needs_no_right_to_change_the_trail(url: str) -> None:
    """With the grants of the documentation it does all it has to, and could not change a line if it wanted to."""
    postgres, schema = shared_postgres(), re.findall(r"test_\d+", url)[0]
    open_ledger(url).close()
    page = (Path(__file__).parents[2] / "docs/howto/many-servers.md").read_text(encoding="utf-8")
    [grants] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    for grant in filter(None, grants.split(";\n")):
        postgres.execute(grant.replace("heatfleet_server", GUARDED), url)
    postgres.execute(f"GRANT USAGE ON SCHEMA {schema} TO {GUARDED}", url)
    guarded = postgres.url(role=GUARDED, password=PASSWORD, schema=schema)
    with closing(open_ledger(guarded)) as ledger, closing(open_key_ring(guarded)) as ring:
        sent = publish(ledger, order())
        for _ in range(2):
            kept = accept(ledger, order(), by=BY, idempotency_key="k")
        assert ["published", "accepted", "repeated"] == [entry.result for _, entry in ledger.audit(NOW_MS)]
        assert [sent] == list(ledger.published(NOW_MS, after=0))
        ledger.fail_unsettled(NOW_MS)
        key = added(ring)
        ring.note_used({key.key_id: NOW_MS})
        ring.revoke(key.key_id, NOW_MS, by=BY)
    with closing(open_ledger(guarded)) as ledger:
        assert 1 == ledger.fail_unsettled(NOW_MS)
        assert kept.command != accept(ledger, order(), by=BY, idempotency_key="k").command
    for change in (
        "DELETE FROM audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "TRUNCATE audit",
        "DROP TABLE command",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            postgres.execute(change, guarded)
