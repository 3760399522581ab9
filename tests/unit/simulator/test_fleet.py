"""The fleet as a source of messages."""

from dataclasses import replace

import pytest

from heatfleet.simulator import FaultOptions, Fleet
from heatfleet.simulator.options import STEP_MS
from tests.unit.simulator.conftest import HOUR_MS, JANUARY_MS, lines_of, parse, simulate, winter

ALL = FaultOptions.all()


@pytest.mark.parametrize("faults", [FaultOptions(), ALL])
def test_equal_options_give_equal_bytes(faults: FaultOptions) -> None:
    """The same seed and options give the same stream, byte for byte; another seed gives another."""
    options = winter(12, faults=faults)

    assert lines_of(Fleet(options), options) == lines_of(Fleet(options), options)
    assert simulate(options) != simulate(replace(options, seed=2))


def test_the_stream_does_not_depend_on_how_it_is_cut() -> None:
    """Big batches at once, or small ones every few seconds as in a live run: the same stream."""
    options = winter(12, faults=ALL, batch_size=7)
    fleet, pieces = Fleet(options), []
    for until_ms in range(JANUARY_MS, JANUARY_MS + 12 * HOUR_MS, 7_001):
        pieces += [batch.body for batch in fleet.batches(until_ms, flush=True)]
    pieces += lines_of(fleet, options)

    assert b"".join(pieces) == b"".join(simulate(replace(options, batch_size=5000)))


def test_batches_are_full_and_in_order_of_arrival() -> None:
    """Every batch but the last is full, and without faults the times of arrival never go back."""
    options = winter(6, batch_size=50)
    fleet = Fleet(options)
    batches = [*fleet.batches(JANUARY_MS + 6 * HOUR_MS), *fleet.last_batches()]

    assert {batch.messages for batch in batches[:-1]} == {50}
    assert all(batch.body.count(b"\n") == batch.messages for batch in batches)
    stamps = [message["ts"] for batch in batches for message in parse(batch.body.splitlines())]
    assert stamps == sorted(stamps)


def test_stopping_to_ask_repeats_nothing() -> None:
    """Whoever stops asking in the middle gets the rest, and nothing twice, by asking again."""
    options = winter(6, batch_size=20)
    fleet = Fleet(options)
    first = [next(fleet.batches(JANUARY_MS + HOUR_MS)).body for _ in range(3)]

    assert b"".join(first) + b"".join(lines_of(fleet, options)) == b"".join(simulate(options))


def test_a_device_is_the_same_in_any_fleet() -> None:
    """Processes that share a fleet out say together what one process would say."""
    whole = simulate(winter(6, devices=10, faults=ALL))
    shares = [simulate(winter(6, devices=5, faults=ALL, first_device=first)) for first in (0, 5)]

    assert sorted(shares[0] + shares[1]) == sorted(whole)


def test_another_order_of_arrival_is_the_same_set() -> None:
    """An arrival seed changes the order only, within its window or over the whole run, and can be repeated."""
    options = winter(24, faults=ALL)
    orders = [
        simulate(replace(options, arrival_seed=seed, arrival_window_s=window_s))
        for seed, window_s in ((None, 0), (1, 600), (2, 600), (1, 86_400), (1, 86_400))
    ]

    assert len({tuple(lines) for lines in orders}) == 4
    assert len({tuple(sorted(lines)) for lines in orders}) == 1
    assert orders[3] == orders[4]


def test_an_order_changes_what_follows() -> None:
    """From the step after an order a device is off and says so, until it is switched on again."""
    options = winter(8)
    fleet = Fleet(options)
    list(fleet.batches(JANUARY_MS + 2 * HOUR_MS))
    fleet.switch(3, on=False)
    list(fleet.batches(JANUARY_MS + 6 * HOUR_MS))
    fleet.switch(3, on=True)
    before, after = simulate(options), lines_of(fleet, options)

    assert fleet.index_of(fleet.device_ids[3]) == 3
    assert fleet.index_of("somebody-else") is None
    ours = [one["bizData"]["properties"] for one in parse(after) if one["bizData"]["devId"] == fleet.device_ids[3]]
    assert any(
        prop == {"code": "switch", "dpId": 3, "time": prop["time"], "value": True} for one in ours for prop in one
    )
    assert any(prop["code"] == "instant_power" and prop["value"] > 0 for one in ours for prop in one)
    assert after[-50:] != before[-50:]


def test_an_order_takes_the_power_away() -> None:
    """Four hours of a switched-off fleet have no energy."""
    fleet = Fleet(winter(8))
    list(fleet.batches(JANUARY_MS + HOUR_MS))
    for index in range(10):
        fleet.switch(index, on=False)
    list(fleet.batches(JANUARY_MS + 6 * HOUR_MS))

    hours = fleet.account.hours(JANUARY_MS + 6 * HOUR_MS)
    assert hours[0].true_wh > 0
    assert [hour.true_wh for hour in hours[2:]] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert [hour.knowable_mj for hour in hours[2:]] == [0, 0, 0, 0]


def test_a_start_between_two_steps_is_rounded_down() -> None:
    """Time goes in whole steps of 10 s, whatever start was asked for."""
    options = winter(1)
    crooked = replace(options, start_ms=options.start_ms + STEP_MS - 1)

    assert simulate(crooked) == simulate(options)


def test_online_unless_something_is_wrong() -> None:
    """Orders reach every device of a perfect fleet, and not all of a faulty one."""
    faulty = Fleet(winter(1, devices=200, faults=FaultOptions(delay_share=0.5)))

    assert all(Fleet(winter(1)).is_online(index) for index in range(10))
    assert {faulty.is_online(index) for index in range(200)} == {False, True}
