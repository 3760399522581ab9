"""What may be asked of GET /report, and how what may not is refused."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from heatfleet.api.report_query import PARAMETERS, Metric, ReportQuery, read_query
from heatfleet.domain.slots import SLOT_S
from heatfleet.errors import BadQuery
from heatfleet.reports import Question


def slot(instant: str) -> int:
    return int(datetime.fromisoformat(instant).replace(tzinfo=UTC).timestamp()) // SLOT_S


def test_nothing_sent_is_the_energy_by_hour_of_all_there_is() -> None:
    """Without parameters the report is the original one, in the zone of the settings."""
    expected = ReportQuery(Question(ZoneInfo("Asia/Kathmandu")), "energy", detail=False, format=None)
    assert expected == read_query([], tz="Asia/Kathmandu")


def test_every_parameter_is_read() -> None:
    """Each parameter finds its place, and days are those of the zone asked for."""
    sent = {
        "from": "2024-12-18",
        "to": "2024-12-19T06:15:00Z",
        "tz": "Europe/Paris",
        "device_id": "heater-1",
        "product_id": "model.2",
        "metric": "temperature",
        "interval": "quarter",
        "detail": "true",
        "format": "csv",
    }
    question = Question(
        ZoneInfo("Europe/Paris"),
        "quarter",
        slot("2024-12-17T23:00"),
        slot("2024-12-19T06:15"),
        "heater-1",
        "model.2",
    )
    assert sent.keys() == {parameter["name"] for parameter in PARAMETERS}
    assert ReportQuery(question, "temperature", detail=True, format="csv") == read_query(sent.items(), tz="UTC")


@pytest.mark.parametrize(
    ("sent", "parameter", "detail"),
    [
        ([("devise_id", "a")], "devise_id", "there is no such parameter; did you mean device_id? "),
        ([("FROM", "2024-12-18")], "FROM", "there is no such parameter; there are from, to, tz, "),
        ([("<script>", "")], "", "there is no such parameter; "),
        ([("x" * 33, "")], "", "there is no such parameter; "),
        ([("tz", "UTC"), ("tz", "UTC")], "tz", "tz may be given once only"),
        ([("tz", "Europe/Pari")], "tz", "tz must be an IANA time zone such as Europe/Paris; did you mean "),
        ([("from", "last week")], "from", "from must be a date or date-time"),
        ([("to", "2024-12-18T06:07:00Z")], "to", "to must fall on a quarter of an hour in UTC"),
        ([("from", "2024-12-19"), ("to", "2024-12-18")], "to", "to must be later than from"),
        ([("from", "2024-12-19"), ("to", "2024-12-19T00:00:00Z")], "to", "to must be later than from"),
        ([("device_id", "")], "device_id", "device_id must be 1 to 64 characters"),
        ([("product_id", "a b")], "product_id", "product_id must be 1 to 64 characters"),
        ([("metric", "power")], "metric", "metric must be energy or temperature"),
        ([("interval", "week")], "interval", "interval must be quarter or hour or day"),
        ([("detail", "1")], "detail", "detail must be false or true"),
        ([("format", "xml")], "format", "format must be json or csv"),
    ],
)
def test_what_has_no_meaning_is_named(sent: list[tuple[str, str]], parameter: str, detail: str) -> None:
    """The first bad parameter is named, with what would have been right."""
    with pytest.raises(BadQuery) as refusal:
        read_query(sent, tz="UTC")
    assert parameter == refusal.value.parameter
    assert refusal.value.detail.startswith(detail)


@pytest.mark.parametrize(("metric", "other"), [("energy", "temperature"), ("temperature", "energy")])
def test_a_path_with_a_metric_takes_no_other(metric: Metric, other: str) -> None:
    """Where the path says the metric, the parameter may repeat it and nothing else."""
    assert metric == read_query([], tz="UTC", metric=metric).metric
    assert metric == read_query([("metric", metric)], tz="UTC", metric=metric).metric
    with pytest.raises(BadQuery, match=f"metric must be {metric}"):
        read_query([("metric", other)], tz="UTC", metric=metric)
