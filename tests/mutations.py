"""For each promise a way to break it, and the test that must notice: `docs/explanation/guarantees.md` lists them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """What somebody might do to a file of the package, in words and as replaced text; then ``test`` must fail."""

    what: str
    path: str
    edits: tuple[tuple[str, str], ...]
    test: str


def one(what: str, path: str, old: str, new: str, test: str) -> Mutation:
    """A mutation by a single edit."""
    return Mutation(what, path, ((old, new),), test)


MUTATIONS = (
    Mutation(
        "sync less often",
        "storage/sqlite/connect.py",
        (('pragma("synchronous", "FULL")', 'pragma("synchronous", "NORMAL")'), ("full = 2", "full = 1")),
        "tests/faults/test_power_cut.py::test_what_was_answered_for_survives_power_cuts",
    ),
    one(
        "answer before the commit",
        "ingest.py",
        "self._waiting.append((readings, done))",
        "self._waiting.append((readings, lambda _: None))\n        done(None)",
        "tests/unit/test_ingest.py::test_an_answer_comes_after_the_commit",
    ),
    one(
        "call a full disk a defect",
        "storage/sqlite/connect.py",
        "if isinstance(error, apsw.FullError) or _has_no_room(path.parent):",
        "if False:",
        "tests/faults/test_disk_trouble.py::test_a_full_disk_is_answered_with_503_until_there_is_room",
    ),
    one(
        "leave orders out of the audit trail",
        "storage/sqlite/ledger.py",
        "audit.note(self._db, order_lines(commands, records, by))",
        "pass",
        "tests/unit/test_sqlite_ledger.py::test_an_order_that_cannot_be_noted_is_not_accepted",
    ),
    one(
        "let the audit trail be changed",
        "storage/sqlite/schema/ledger_002.sql",
        "BEFORE UPDATE ON audit BEGIN\n    SELECT raise(ABORT, 'the audit trail is only ever added to');",
        "BEFORE UPDATE ON audit BEGIN\n    SELECT 1;",
        "tests/contract/test_key_rings_followed.py::test_the_trail_is_only_added_to",
    ),
    Mutation(
        "share Idempotency-Keys among callers",
        "storage/sqlite/ledger.py",
        (
            ("self._of_key(by.name, idempotency_key, now_ms)", "self._of_key('', idempotency_key, now_ms)"),
            ("(by.name, idempotency_key, command_ids, now_ms)", "('', idempotency_key, command_ids, now_ms)"),
        ),
        "tests/contract/test_audit.py::test_a_key_belongs_to_its_caller",
    ),
    one(
        "let one key fill the queue",
        "ingest.py",
        "if taken and taken + size > self._readings_max // 2:",
        "if False:",
        "tests/unit/test_ingest_shares.py::test_one_may_fill_half_of_the_queue",
    ),
    one(
        "skip the check of Host",
        "api/gate.py",
        'if (is_open or self._named) and "*" not in self._hosts and _name_of(host) not in self._hosts:',
        "if False:",
        "tests/api/test_gate_browser.py::test_what_a_page_of_another_site_can_send_is_refused",
    ),
    one(
        "skip the check of Origin",
        "api/gate.py",
        "origin is not None and",
        "False and",
        "tests/api/test_gate_browser.py::test_what_a_page_of_another_site_can_send_is_refused",
    ),
    one(
        "trust what came through a proxy",
        "api/gate.py",
        "if any(map(_SENT_ON, headers.keys())):",
        "if False:",
        "tests/api/test_gate_browser.py::test_what_a_page_of_another_site_can_send_is_refused",
    ),
    one(
        "drop the check of scopes",
        "access.py",
        "if not self.key.may(scope):",
        "if False:",
        "tests/api/test_gate.py::test_each_route_opens_to_its_scope_alone",
    ),
    one(
        "let the door answer keys of any scope",
        "api/gate.py",
        "return caller if caller is not None and caller.key.may(scope) else None",
        "return caller",
        "tests/api/test_gate.py::test_each_route_opens_to_its_scope_alone",
    ),
    one(
        "serve a route that says nothing of scopes",
        "api/app.py",
        "if ungated:",
        "if False:",
        "tests/api/test_gate.py::test_a_route_without_scope_cannot_be_served",
    ),
    one(
        "open the house when the last key is revoked",
        "access.py",
        "self._any_key_was_made = bool(keys)",
        "self._any_key_was_made = any(key.state(self._clock()) == 'active' for key in keys)",
        "tests/unit/test_access.py::test_the_first_key_ends_the_time_without",
    ),
    one(
        "remember heads of revoked keys",
        "server.py",
        "services.access.changed.append(self._hall.heads.clear)",
        "pass",
        "tests/api/test_gate.py::test_a_revoked_key_opens_nothing_on_the_fast_way_either",
    ),
    one(
        "let a bound key write for other devices",
        "api/decode.py",
        "if not bounds.covers(device_id, product_id):",
        "if False:",
        "tests/api/test_gate_bounds.py::test_a_bound_key_and_one_message",
    ),
    one(
        "forget the bounds in batches",
        "api/batch.py",
        "if bounds and not all(",
        "if False and not all(",
        "tests/api/test_gate_bounds.py::test_a_bound_key_writes_only_its_own",
    ),
    one(
        "let a bound key read other devices",
        "domain/access.py",
        "return device_id.startswith(self.device_prefix) and",
        "return",
        "tests/api/test_gate_bounds.py::test_a_bound_key_reads_only_its_own",
    ),
    one(
        "let a stream outlive its key",
        "api/send.py",
        "if not access.still_knows(caller):",
        "if False:",
        "tests/api/test_gate_streams.py::test_a_stream_ends_with_its_key",
    ),
    one(
        "never count wrong keys",
        "access.py",
        "if count >= WRONG_KEYS_PER_MIN:",
        "if False:",
        "tests/api/test_gate.py::test_wrong_keys_are_counted",
    ),
    one(
        "never count messages of a key",
        "access.py",
        "self.messages.take(good + BAD_MESSAGE * bad if bad else good)",
        "pass",
        "tests/api/test_gate.py::test_limits_of_a_key",
    ),
    one(
        "listen to everybody without keys",
        "server.py",
        "alone = is_loopback(settings.host)",
        "alone = True",
        "tests/cli/test_demo_and_serve.py::test_serve_needs_a_key_where_others_can_reach_it",
    ),
    one(
        "give sequences without taking turns",
        "storage/postgresql/ledger.py",
        "SELECT last FROM order_sequence FOR UPDATE",
        "SELECT last FROM order_sequence",
        "tests/contract/test_shared_ledgers.py::test_who_reads_on_misses_no_order",
    ),
    one(
        "write the trail without taking turns",
        "storage/postgresql/audit.py",
        "        connection.execute(TURN)\n",
        "",
        "tests/contract/test_shared_ledgers.py::test_who_reads_on_misses_no_line_of_the_trail",
    ),
    one(
        "take orders of living servers for abandoned",
        "storage/postgresql/ledger.py",
        "AND (owner = %(owner)s OR owner NOT IN (SELECT owner FROM living_owner))",
        "AND %(owner)s > 0",
        "tests/contract/test_shared_ledgers.py::test_orders_of_living_servers_are_left_alone",
    ),
    one(
        "publish what another server has under way",
        "commands/desk.py",
        "if self._ledger.is_shared and command not in ours]",
        "if False]",
        "tests/unit/test_commands_shared.py::test_the_same_key_at_two_servers_is_one_order",
    ),
    one(
        "wait for PostgreSQL without an end",
        "storage/postgresql/connect.py",
        "ANSWER_S if timeout is None else timeout",
        "timeout",
        "tests/faults/test_postgres.py::test_a_server_that_says_nothing_is_not_waited_for_for_ever",
    ),
    one(
        "let PostgreSQL commit without its disk",
        "storage/postgresql/connect.py",
        "connection.execute(_DURABLE if self.writable else",
        'connection.execute("SELECT 1" if self.writable else',
        "tests/faults/test_postgres_refuses.py::test_commits_are_durable_whatever_the_database_is_set_to",
    ),
    one(
        "show the password of the database",
        "config_values.py",
        '_finds_password.subn(r"\\1:…@", url)',
        "url, 1",
        "tests/unit/test_config.py::test_a_password_is_shown_to_nobody",
    ),
    one(
        "count an outage of the store as an attempt of Pub/Sub's",
        "consumer.py",
        "            if self.stopping.is_set():\n                return False",
        "            return False",
        "tests/path/test_consume.py::test_a_store_that_is_blocked_is_waited_for",
    ),
    one(
        "let in tokens for others",
        "messaging/pubsub/tokens.py",
        'if claims.get("aud") != self._audience:',
        "if False:",
        "tests/unit/test_pubsub_tokens.py::test_a_token_for_something_else_is_bad",
    ),
    one(
        "forget the answers to an append",
        "storage/bigquery/append.py",
        "        while waiting:\n            while sent",
        "        while False:\n            while sent",
        "tests/faults/test_bigquery_append.py::test_half_an_append_is_none",
    ),
    one(
        "write figures without the lease",
        "storage/bigquery/reckoner.py",
        'write = ["lease_check", "figure_merge"',
        'write = ["figure_merge"',
        "tests/faults/test_bigquery_rollup.py::test_who_was_taken_for_dead_writes_nothing",
    ),
    one(
        "publish what has expired",
        "messaging/pubsub/bus.py",
        "if now_ms < commands[place].expires_at_ms else _EXPIRED",
        "if True else _EXPIRED",
        "tests/faults/test_pubsub_refusals.py::test_an_expired_order_is_not_published",
    ),
)
