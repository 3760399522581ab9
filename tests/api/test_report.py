"""GET /report of a real server: readings in, rollup, figures out."""

import csv
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.serving import SEED_MESSAGE, RunningServer, message

HALF_HOUR_MS = 1_800_000
PARIS_AUTUMN = {"from": "2024-10-27", "to": "2024-10-28", "tz": "Europe/Paris"}


def at(instant: str) -> int:
    return int(datetime.fromisoformat(instant).replace(tzinfo=UTC).timestamp() * 1000)


def said(code: str, time_ms: int, value: float) -> dict[str, Any]:
    return {"code": code, "time": time_ms, "value": value}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that has heard the original's example, and two heaters on a day of 25 hours in Paris.

    ``steady`` (p1) takes 1000 W from 22:00Z and says its temperature until the day is over. ``brief`` (p2) takes 500 W
    from 00:30Z and is never heard again, so it is known until 01:30Z.
    """
    running = RunningServer(tmp_path_factory.mktemp("report"))
    start_ms, end_ms = at("2024-10-26T22:00"), at("2024-10-27T23:00")
    steady = message(
        "steady",
        said("instant_power", start_ms, 1000),
        *(said("temp_interior", time_ms, 19.5) for time_ms in range(start_ms, end_ms, HALF_HOUR_MS)),
        said("instant_power", end_ms, 0),
    )
    brief = message("brief", said("instant_power", at("2024-10-27T00:30"), 500))
    brief["bizData"]["productId"] = "p2"
    for content in (SEED_MESSAGE, steady, brief):
        assert running.post(content).is_success
    running.rollup()
    yield running
    running.close()


def test_the_seed_example_is_reported(filled: RunningServer) -> None:
    """2500 W from 14:32:53.782Z, held for an hour: 2500 Wh in two hours of the original's shape."""
    answer = filled.client.get("/report", params={"from": "2024-11-26", "to": "2024-11-27"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == '{"2024-11-26":{"14:00":1129,"15:00":1371}}'


def test_a_day_of_25_hours(filled: RunningServer) -> None:
    """Both passages of the repeated hour are there, each with its offset, and the day is the sum of its hours."""
    (hours,) = filled.client.get("/report", params=PARIS_AUTUMN).json().values()
    day = filled.client.get("/report", params=PARIS_AUTUMN | {"interval": "day"}).json()
    quarters = filled.client.get("/report", params=PARIS_AUTUMN | {"interval": "quarter"}).json()
    assert len(hours) == 25
    assert (hours["01:00"], hours["02:00+02:00"], hours["02:00+01:00"], hours["03:00"]) == (1000, 1250, 1250, 1000)
    assert day == {"2024-10-27": 25_500}
    assert sum(quarters["2024-10-27"].values()) == 25_500


def test_figures_of_one_device_and_of_one_product(filled: RunningServer) -> None:
    """A report of some devices counts them alone; one of a device never heard of is empty, and no error."""

    def day(**only: str) -> Any:
        return filled.client.get("/report", params=PARIS_AUTUMN | {"interval": "day"} | only).json()

    assert day(device_id="steady") == day(product_id="p1") == {"2024-10-27": 25_000}
    assert day(device_id="brief") == day(product_id="p2") == {"2024-10-27": 500}
    assert day(device_id="steady", product_id="p2") == day(device_id="nobody") == day(product_id="none") == {}


def test_a_range_cuts_an_hour(filled: RunningServer) -> None:
    """The range is half-open and may begin and end on any quarter of an hour."""
    only = {"from": "2024-10-27T10:15:00Z", "to": "2024-10-27T12:45", "tz": "Africa/Lagos"}
    assert filled.client.get("/report", params=only).json() == {"2024-10-27": {"11:00": 750, "12:00": 750}}


def test_temperature_and_the_paths_with_a_metric(filled: RunningServer) -> None:
    """The aliases answer as the parameter does."""
    only = {"from": "2024-10-27T10:00", "to": "2024-10-27T12:00"}
    temperature = filled.client.get("/report", params=only | {"metric": "temperature"})
    assert temperature.json() == {"2024-10-27": {"10:00": 19.5, "11:00": 19.5}}
    assert temperature.content == filled.client.get("/report/temperature", params=only).content
    energy = filled.client.get("/report", params=only)
    assert energy.content == filled.client.get("/report/power", params=only).content
    refusal = filled.client.get("/report/power", params={"metric": "temperature"})
    assert (refusal.status_code, refusal.json()["parameter"]) == (422, "metric")


def test_detail(filled: RunningServer) -> None:
    """Each cell tells its temperature, known time, coverage and devices."""
    only = {"from": "2024-10-27T00:00", "to": "2024-10-27T03:00", "detail": "true"}
    whole = {"temperature_c": 19.5, "final": True}
    assert filled.client.get("/report", params=only).json() == {
        "2024-10-27": {
            "00:00": {"energy_wh": 1250, "known_s": 5400.0, "coverage": 0.75, "devices": 2, **whole},
            "01:00": {"energy_wh": 1250, "known_s": 5400.0, "coverage": 0.75, "devices": 2, **whole},
            "02:00": {"energy_wh": 1000, "known_s": 3600.0, "coverage": 0.5, "devices": 1, **whole},
        }
    }


@pytest.mark.parametrize(
    ("accept", "wanted", "kind"),
    [
        ("text/csv", {}, "text/csv; charset=utf-8"),
        ("application/json;q=0.5, text/csv;q=0.8", {}, "text/csv; charset=utf-8"),
        ("text/csv;q=0.5, application/json", {}, "application/json"),
        ("text/html, */*;q=0.8", {}, "application/json"),
        ("text/*", {}, "text/csv; charset=utf-8"),
        ("application/json", {"format": "csv"}, "text/csv; charset=utf-8"),
        ("text/csv", {"format": "json"}, "application/json"),
        ("image/png", {}, "application/json"),
    ],
)
def test_what_is_liked_better_is_given(filled: RunningServer, accept: str, wanted: dict[str, str], kind: str) -> None:
    """The parameter ``format`` decides; without it the ``Accept`` header does."""
    answer = filled.client.get("/report", params=wanted, headers={"Accept": accept})
    assert kind == answer.headers["content-type"]
    assert answer.headers["vary"] == "Accept"


def test_csv(filled: RunningServer) -> None:
    """CSV is a file with a line for every cell, in order of time, that adds up to the same energy."""
    answer = filled.client.get("/report", params=PARIS_AUTUMN | {"format": "csv"})
    lines = list(csv.DictReader(answer.text.splitlines()))
    assert answer.headers["content-disposition"] == 'attachment; filename="heatfleet-report-hour.csv"'
    assert lines[0] == {
        "start_utc": "2024-10-26T22:00:00Z",
        "start_local": "2024-10-27T00:00:00",
        "utc_offset": "+02:00",
        "duration_s": "3600",
        "energy_wh": "1000",
        "temperature_c": "19.5",
        "known_s": "3600.0",
        "coverage": "1.0",
        "devices": "1",
        "final": "true",
    }
    assert len(lines) == 25
    assert sum(int(line["energy_wh"]) for line in lines) == 25_500


@pytest.mark.parametrize("wanted", [{}, {"format": "csv"}])
def test_a_caller_who_holds_the_answer_is_spared_it(filled: RunningServer, wanted: dict[str, str]) -> None:
    """A validator that still holds is answered with 304 and no body, in every form a caller may write it."""
    first = filled.client.get("/report", params=wanted)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = filled.client.get("/report", params=wanted, headers={"If-None-Match": held})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (again.headers["cache-control"], again.headers["vary"]) == ("private, no-cache", "Accept")
    stale = filled.client.get("/report", params=wanted, headers={"If-None-Match": '"other"'})
    assert (stale.status_code, stale.content) == (200, first.content)


def test_a_rollup_that_changes_nothing_keeps_the_validator(filled: RunningServer) -> None:
    """Time alone does not make a caller read everything again."""
    tag = filled.client.get("/report").headers["etag"]
    filled.rollup()
    assert tag == filled.client.get("/report").headers["etag"]


def test_late_readings_change_a_closed_hour(server: RunningServer) -> None:
    """A reading that comes years later is in the next report, under another validator."""
    server.post(SEED_MESSAGE)
    server.rollup()
    before = server.client.get("/report")
    server.post(message("bfadafebb608a154206aqu", said("instant_power", 1_732_631_573_782 + 60_000, 0)))
    server.rollup()
    after = server.client.get("/report", headers={"If-None-Match": before.headers["etag"]})
    assert before.json() == {"2024-11-26": {"14:00": 1129, "15:00": 1371}}
    assert after.json() == {"2024-11-26": {"14:00": 42, "15:00": 0}}


@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu"])
def test_the_open_hour_counts_up_to_the_last_rollup(server: RunningServer, tz: str) -> None:
    """The time known until the rollup is all there, in cells the last of which is not final yet."""
    said_ms = time.time_ns() // 1_000_000 - 600_000
    server.post(message("live", said("instant_power", said_ms, 1200)))
    as_of_ms = server.rollup().as_of_ms
    report = server.client.get("/report", params={"tz": tz, "detail": "true"}).json()
    hours = [hour for day in report.values() for hour in day.values()]
    assert sum(hour["known_s"] for hour in hours) == pytest.approx((as_of_ms - said_ms) / 1000)
    assert not hours[-1]["final"]
    assert {hour["devices"] for hour in hours} == {1}
    assert all(0 <= hour["coverage"] < 1 for hour in hours)


def test_the_zone_of_the_settings(start_server: Callable[..., RunningServer]) -> None:
    """Without ``tz`` days and hours are those of HEATFLEET_TZ; a store without readings gives an empty report."""
    server = start_server(tz="Asia/Kathmandu")
    assert server.client.get("/report").json() == {}
    server.post(SEED_MESSAGE)
    server.rollup()
    assert server.client.get("/report").json() == {"2024-11-26": {"20:00": 1754, "21:00": 746}}
    assert "14:00" in server.client.get("/report", params={"tz": "UTC"}).json()["2024-11-26"]


@pytest.mark.parametrize("path", ["/report", "/report/power", "/report/temperature"])
@pytest.mark.parametrize(
    ("query", "parameter", "hint"),
    [
        ("devise_id=a", "devise_id", "did you mean device_id?"),
        ("tz=Europe/Pariss", "tz", "did you mean Europe/Paris?"),
        ("from=2024-12-19&to=2024-12-18", "to", "to must be later than from"),
        ("from=2024-03-31T02:30&tz=Europe/Paris", "from", "set forward"),
        ("from=2024-12-18T00:00:00+01:00", "from", "write + as %2B"),
        ("interval=hour&interval=day", "interval", "once"),
        ("device_id=%3Cscript%3E", "device_id", "1 to 64 characters"),
    ],
)
def test_a_parameter_without_meaning(
    shared_server: RunningServer, path: str, query: str, parameter: str, hint: str
) -> None:
    """It is refused as a problem that names the parameter, says what would be right, and repeats no value."""
    answer = shared_server.client.get(f"{path}?{query}")
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["type"], problem["parameter"]) == ("/problems/bad-query", parameter)
    assert hint in problem["detail"]
    assert "script" not in answer.text


@pytest.mark.parametrize("path", ["/report", "/report/power", "/report/temperature"])
def test_the_documented_example_runs(filled: RunningServer, path: str) -> None:
    """What the API's documentation gives as examples of its parameters is a good request."""
    operation = filled.client.get("/openapi.json").json()["paths"][path]["get"]
    params = {one["name"]: one["example"] for one in operation["parameters"] if "example" in one}
    answer = filled.client.get(path, params=params)
    expected = {} if path.endswith("temperature") else {"2024-11-26": {"15:00": 1129, "16:00": 1371}}
    assert params.keys() == {"from", "to", "tz", "device_id", "product_id"}
    assert expected == answer.json()
    assert operation["responses"].keys() == {"200", "304", "401", "403", "404", "421", "422", "429", "503"}
