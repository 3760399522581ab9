"""PostgreSQL that is away, refuses, hangs or cuts off: said in words, nothing half written, and healed afterwards."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Event, Thread

import psycopg
import pytest

from heatfleet.errors import StoreUnavailable
from heatfleet.storage import check_postgresql, open_ledger
from heatfleet.storage.base import Ledger
from heatfleet.storage.postgresql import connect
from tests.contract.ledgers import BY, NOW_MS, accept, order, publish
from tests.postgres import DATABASE, ROLE, PostgresServer, shared_postgres

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


@pytest.mark.slow
def test_who_stands_still_in_a_transaction_does_not_hold_up_the_others_for_long(url: str) -> None:
    """As a process that is stopped does, or a machine that froze: what it began is undone, and others go on."""
    with closing(open_ledger(url)) as ledger, closing(connect.Database(url, writable=True).connect()) as stopped:
        stopped.execute("BEGIN")
        stopped.execute("SELECT last FROM order_sequence FOR UPDATE")
        began_s = time.monotonic()

        healed(ledger)

        assert time.monotonic() - began_s < connect.STILL_S + connect.STATEMENT_S
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            stopped.execute("COMMIT")


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
