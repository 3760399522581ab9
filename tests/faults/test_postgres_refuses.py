"""PostgreSQL that does not let us in or lets us do less: said in words that help, without the password."""

import re
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage import check_postgresql, open_key_ring, open_ledger
from heatfleet.storage.postgresql.connect import Database
from tests.contract.conftest import added
from tests.contract.ledgers import BY, NOW_MS, accept, order, publish
from tests.postgres import DATABASE, GUARDED, PASSWORD, shared_postgres


@pytest.fixture
def url() -> str:
    """An empty place in the server that all tests share."""
    return shared_postgres().fresh_url()


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
        "postgresql://u:s3cret/1@h/d",
        "postgresql://u:1/s3cret@h/d",
        "postgresql://u:1@s3cret@h/d",
        "postgresql://u:s3cret/d",
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
