"""`heatfleet cloud`, and `heatfleet doctor` beside Google Cloud, both over local servers."""

import json
import re
from collections.abc import Iterator

import pytest

from heatfleet.cli.exits import ExitCode
from heatfleet.domain import cloud
from tests.bigquery_server.running import PROJECT, BigQueryServer
from tests.cli.conftest import Ran, Run
from tests.cloud.front import Front
from tests.pubsub_server import PubSubServer

NOWHERE = ("--url", "http://127.0.0.1:9")
ENDPOINT, ACCOUNT = "https://heatfleet.example/pubsub/push", "push@heatfleet-tests.example"


@pytest.fixture
def front(bigquery_server: BigQueryServer) -> Iterator[Front]:
    """The way to BigQuery that knows of rights."""
    with Front(bigquery_server.address.rest) as front:
        yield front


@pytest.fixture
def settings(
    bigquery_server: BigQueryServer, front: Front, pubsub_server: PubSubServer, dataset: str
) -> dict[str, str]:
    """The settings that name a dataset and a topic of this test's own, on the local servers."""
    return {
        "HEATFLEET_STORE": f"bigquery://{PROJECT}/{dataset}?rest={front.address}&grpc={bigquery_server.address.grpc}",
        "HEATFLEET_BUS": f"pubsub://{PROJECT}/send-{dataset}?emulator={pubsub_server.address}",
    }


def init(run: Run, settings: dict[str, str], *arguments: str) -> Ran:
    """`heatfleet cloud init`, with a topic of readings of this test's own."""
    name = re.sub(r"\W", "-", settings["HEATFLEET_BUS"].partition("?")[0].rpartition("/")[2])
    return run("cloud", "init", "--readings-topic", f"readings-{name}", *arguments, **settings)


def found(run: Run, settings: dict[str, str], *arguments: str) -> dict[str, dict[str, str]]:
    """What `heatfleet doctor` says of each thing."""
    shown = run("doctor", "--json", *NOWHERE, *arguments, **settings)
    return {check["name"]: check for check in json.loads(shown.out)}


def test_all_is_made_once(run: Run, settings: dict[str, str]) -> None:
    """The first run tells what would be made, the second makes it, the third finds it there."""
    would, made, there = init(run, settings, "--dry-run"), init(run, settings), init(run, settings)

    assert {would.code, made.code, there.code} == {ExitCode.OK}
    lines = [
        re.findall(r"^(would be made|made|already there) +\w", ran.out, re.MULTILINE) for ran in (would, made, there)
    ]
    assert set(lines[0][1:]) == {"would be made"}  # the dataset is there before
    assert set(lines[1][1:]) == {"made"}
    assert set(lines[2]) == {"already there"}


def test_it_prints_settings_and_roles(run: Run, settings: dict[str, str]) -> None:
    """To be copied: the settings in full, and every role with what it is for."""
    told = init(run, settings, "--dry-run").out

    for name, value in settings.items():
        assert f"export {name}='{value}'" in told
    for need in cloud.NEEDS:
        assert f"{need.role:<29} on the {need.on}: {need.what_for}" in told
        assert all(permission in told for permission in need.permissions)


def test_as_json(run: Run, settings: dict[str, str]) -> None:
    """Steps, settings and needs, for scripts; those of pushes too where readings are pushed."""
    pushed = ("--push-endpoint", ENDPOINT, "--push-account", ACCOUNT)
    told = json.loads(init(run, settings, "--json", *pushed).out)

    assert {step["kind"] for step in told["steps"]} == {"dataset", "table", "topic", "subscription"}
    assert told["settings"] == settings | {"HEATFLEET_PUSH_AUDIENCE": ENDPOINT, "HEATFLEET_PUSH_ACCOUNT": ACCOUNT}
    assert len(told["needs"]) == len(cloud.NEEDS)


def test_a_difference_is_a_failure(run: Run, settings: dict[str, str]) -> None:
    """It is named, and all else is looked at all the same."""
    init(run, settings)
    other = init(run, settings, "--push-endpoint", ENDPOINT, "--push-account", ACCOUNT)

    assert other.code == ExitCode.FAILURE
    assert re.search(r"^DIFFERS +subscription +readings-\S+: it pushes nowhere", other.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--push-endpoint", ENDPOINT), "go together"),
        (("--push-account", ACCOUNT), "go together"),
        (("--push-endpoint", "http://x/pubsub/push", "--push-account", ACCOUNT), "https://"),
    ],
)
def test_pushes_want_both(arguments: tuple[str, ...], word: str, run: Run) -> None:
    """An address over https, and whose token they show."""
    ran = run("cloud", "init", *arguments)

    assert ran.code == ExitCode.USAGE
    assert word in ran.err


def test_nothing_to_make(run: Run) -> None:
    """Where neither options nor settings name a project."""
    ran = run("cloud", "init")

    assert ran.code == ExitCode.CONFIGURATION
    assert "HEATFLEET_STORE=bigquery://PROJECT/DATASET" in ran.err


def test_without_credentials(run: Run) -> None:
    """What to do stands there."""
    ran = run("cloud", "init", "--project", "some-project", GOOGLE_APPLICATION_CREDENTIALS="/nowhere.json")

    assert ran.code == ExitCode.CONFIGURATION
    assert "gcloud auth application-default login" in ran.err


def test_only_what_the_settings_name(run: Run, settings: dict[str, str]) -> None:
    """A store in BigQuery with the bus inside the server makes no topics."""
    store = {"HEATFLEET_STORE": settings["HEATFLEET_STORE"]}
    told = json.loads(run("cloud", "init", "--json", **store).out)

    assert {step["kind"] for step in told["steps"]} == {"dataset", "table"}
    assert told["settings"] == store


def test_doctor_looks_at_all_of_it(run: Run, settings: dict[str, str]) -> None:
    """Once it is made all is well: queries, dataset, tables, rights, topic, publishing, and readings if asked for."""
    init(run, settings)
    checks = found(
        run,
        settings,
        "--subscription",
        f"send-{settings['HEATFLEET_STORE'].partition('?')[0].rpartition('/')[2]}-gateway",
    )
    ours = ["jobs", "dataset", "tables", "rights", "topic", "publish", "readings"]

    assert {name: checks[name]["state"] for name in ours} == dict.fromkeys(ours, "ok")


def test_doctor_names_what_is_missing(
    run: Run, settings: dict[str, str], front: Front, pubsub_server: PubSubServer
) -> None:
    """Each permission, and the role that has it."""
    init(run, settings)
    front.denied = {"bigquery.tables.updateData"}
    pubsub_server.deny("pubsub.topics.publish", "pubsub.subscriptions.consume")
    checks = found(run, settings, "--subscription", "any")

    assert "roles/bigquery.dataEditor" in checks["rights"]["fix"]
    assert checks["publish"]["found"] == "missing: pubsub.topics.publish"
    assert "roles/pubsub.publisher" in checks["publish"]["fix"]
    assert "roles/pubsub.subscriber" in checks["readings"]["fix"]
    assert {checks[name]["state"] for name in ("rights", "publish", "readings")} == {"fail"}


def test_doctor_warns_where_only_looking_is_missing(
    run: Run, settings: dict[str, str], pubsub_server: PubSubServer
) -> None:
    """Orders and readings flow without it; it is told with the role that has it."""
    init(run, settings)
    pubsub_server.deny("pubsub.topics.get", "pubsub.subscriptions.get")
    checks = found(run, settings, "--subscription", "any")

    assert {checks[name]["state"] for name in ("publish", "readings")} == {"warn"}
    assert {checks[name]["fix"].count("roles/pubsub.viewer") for name in ("publish", "readings")} == {1}


def test_doctor_before_anything_is_made(run: Run, settings: dict[str, str]) -> None:
    """It says what makes it."""
    checks = found(run, settings)

    assert "heatfleet cloud init" in checks["tables"]["fix"]
    assert "heatfleet cloud init" in checks["topic"]["fix"]
    assert {checks[name]["state"] for name in ("tables", "topic")} == {"fail"}


def test_a_topic_that_nobody_reads(run: Run, settings: dict[str, str], pubsub_server: PubSubServer) -> None:
    """Orders would be gone unheard."""
    from heatfleet.messaging.pubsub.setup import Admin

    init(run, settings)
    topic = settings["HEATFLEET_BUS"].partition("?")[0].rpartition("/")[2]
    admin = Admin(PROJECT, pubsub_server.address)
    admin.subscriber.delete_subscription(subscription=admin.subscription_path(f"{topic}-gateway"))
    admin.close()
    checks = found(run, settings)

    assert checks["topic"]["state"] == "fail"
    assert "no subscription" in checks["topic"]["found"]


def test_cost_as_a_table_and_as_json(run: Run) -> None:
    """Both tell the same, at the prices given."""
    shown, told = (run("cloud", "cost", "--price-scan-tib", "0", *more) for more in ((), ("--json",)))
    said = json.loads(told.out)

    assert f"{said['cost_per_day']:,.2f}" in shown.out
    assert re.search(r"scanned by rollups +[\d.]+ +TiB +- +- +-", shown.out)
    assert said["cost_per_month"] == pytest.approx(30 * said["cost_per_day"])
