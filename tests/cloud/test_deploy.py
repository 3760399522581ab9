"""What brings Heatfleet up elsewhere: the image, compose, Cloud Run and Terraform files say what the program says."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]

from heatfleet.cli import commands
from heatfleet.config import Settings, variable
from heatfleet.domain import cloud
from tests.doc_pages import Page
from tests.serving import clean_environment

ROOT = Path(__file__).parents[2]
CLOUD_RUN, TERRAFORM = ROOT / "deploy/cloud-run", ROOT / "deploy/terraform"
FILES = [ROOT / "Dockerfile", ROOT / "compose.yaml", *CLOUD_RUN.glob("*.yaml"), *TERRAFORM.glob("*.tf")]
DATA_ROLES = re.compile(r'"(roles/(?:bigquery|iam|pubsub)\.\w+)"')


def manifest(name: str) -> Any:
    """One of the files for Cloud Run."""
    return yaml.safe_load((CLOUD_RUN / f"{name}.yaml").read_text(encoding="utf-8"))


def terraform() -> str:
    """All of Terraform's files."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(TERRAFORM.glob("*.tf")))


def resources() -> dict[str, str]:
    """The body of each resource, by its type and name."""
    found = re.findall(r'^resource "(\w+)" "(\w+)" \{\n(.*?)^\}', terraform(), re.MULTILINE | re.DOTALL)
    return {f"{kind}.{name}": body for kind, name, body in found}


def containers() -> dict[str, Any]:
    """The container of each manifest of Cloud Run, by the manifest's name."""
    found = {"service": manifest("service")["spec"]["template"]["spec"]["containers"][0]}
    for name in ("job-rollup", "job-init"):
        found[name] = manifest(name)["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(container: Any) -> dict[str, str | None]:
    """Its variables; ``None`` for one that comes from a secret."""
    return {one["name"]: one.get("value") for one in container["env"]}


def run_lines() -> Iterator[str]:
    """What the stage of the image that builds runs, a command each."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    build = text.split("\nFROM ")[1]
    for line in re.findall(r"^RUN (.+)$", build, re.MULTILINE):
        yield from line.split(" && ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_settings_named_are_settings(path: Path) -> None:
    """Every HEATFLEET_ variable in the files is one of the program's."""
    named = set(re.findall(r"HEATFLEET_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8")))

    assert named <= {variable(name) for name in Settings.model_fields}


@pytest.mark.parametrize("name", ["service", "job-rollup", "job-init"])
def test_settings_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a manifest sets is what the program takes, and as many of it as Terraform sets."""
    given = environment(containers()[name])
    told = {key: value.replace("PROJECT_NUMBER", "12") for key, value in given.items() if value is not None}
    fields = {key.removeprefix("HEATFLEET_").lower(): value for key, value in told.items()}
    kind = {"service": "service.heatfleet", "job-rollup": "job.rollup", "job-init": "job.init"}[name]
    ours = set(re.findall(r"HEATFLEET_\w+", resources()[f"google_cloud_run_v2_{kind}"]))

    Settings(**fields)  # type: ignore[arg-type]
    assert ours == set(given)


def test_commands_are_commands() -> None:
    """What the image, the manifests and Terraform run is there, with nothing left over."""
    group: Any = typer.main.get_command(commands())
    written = [container["args"] for container in containers().values()]
    written += [json.loads(words) for words in re.findall(r"args += (\[.*\])", terraform())]
    written.append(json.loads(re.findall(r"^CMD (\[.*\])", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1]))

    assert len(written) == 7
    for words in written:
        found = group
        for word in words:
            found = found.commands[word]
        assert not getattr(found, "commands", None), words


def test_roles_are_the_same_everywhere() -> None:
    """Terraform gives each part the roles that `heatfleet cloud init` prints, and the page lists the same."""
    given = set()
    for name, body in resources().items():
        if "_iam_member." in name and (role := DATA_ROLES.search(body)):
            given.add((name.rpartition(".")[2].partition("_")[0], role[1]))
    who = {"cloud init": "init", "Pub/Sub itself": "pubsub"}
    needed = {(who.get(need.who, need.who), need.role) for need in cloud.NEEDS}
    listed = Page("docs/howto/google-cloud.md").rows("The least roles")

    theirs = {("init", "roles/pubsub.editor"), ("init", "roles/iam.serviceAccountUser")}
    assert needed - given == theirs, "topics and subscriptions are Terraform's own"
    assert given <= needed
    assert [row[:3] for row in listed] == [[need.who, need.role, need.on] for need in cloud.NEEDS]


def test_roles_are_given_to_whom_they_are_named_for() -> None:
    """The name of a resource says which part gets the role; a slip of the pen would give another one too much."""
    for name, body in resources().items():
        if "_iam_member." in name:
            part = name.rpartition(".")[2].partition("_")[0]
            whom = "local.pubsub_agent" if part == "pubsub" else f"local.member.{part}"
            assert re.search(rf"member += {re.escape(whom)}$", body, re.MULTILINE), name


def test_who_may_not_name_an_account_is_told_the_role() -> None:
    """A push subscription names an account, which Google allows to those who may act as it."""
    said = "Permission 'iam.serviceAccounts.actAs' denied on service account heatfleet-push@p.iam.gserviceaccount.com"

    assert "roles/iam.serviceAccountUser has it" in cloud.explain(said, doing="x", likely="pubsub.subscriptions.create")


def test_nothing_is_served_before_there_are_tables_and_a_key() -> None:
    """With ``serve=false`` Terraform makes no server, nothing that needs one and no schedule; so the page begins."""
    made = resources() | dict(re.findall(r'^(output "\w+") \{\n(.*?)^\}', terraform(), re.MULTILINE | re.DOTALL))
    second = {name for name, body in made.items() if "  count = var.serve ? 1 : 0\n" in body}
    needing = re.compile(r"google_cloud_run_v2_service\.|google_cloud_scheduler_job\.|local\.(host|push_url)")
    first = [line for name in made.keys() - second for line in made[name].splitlines() if needing.search(line)]
    page = Page("docs/howto/google-cloud.md").text
    steps = ("docker push", "apply -var serve=false", "execute heatfleet-init", "keys create", "$ terraform apply\n")
    places = [page.find(step) for step in steps]

    assert second == {"google_cloud_run_v2_service.heatfleet", "google_cloud_scheduler_job.rollup"}
    assert len(first) == 2  # where servers are reached, and where readings are pushed
    assert all("var.serve " in line for line in first), first
    assert -1 not in places
    assert places == sorted(places)


def test_topics_are_as_cloud_init_makes_them() -> None:
    """Names, order, how long messages are kept, and when they become dead letters."""
    found = resources()
    gateway = found["google_pubsub_subscription.gateway"]
    readings = found["google_pubsub_subscription.readings"]
    dead = found["google_pubsub_subscription.dead_letter"]

    assert f'orders_topic = "{cloud.ORDERS_TOPIC}"' in terraform()
    assert f'name       = "{cloud.READINGS_TOPIC}"' in found["google_pubsub_topic.readings"]
    assert cloud.gateway_subscription("${google_pubsub_topic.orders.name}") in gateway
    assert cloud.dead_letter_topic("${google_pubsub_topic.readings.name}") in found["google_pubsub_topic.dead_letter"]
    assert "enable_message_ordering    = true" in gateway
    for body, kept_s in (
        (gateway, cloud.ORDERS_KEPT_S),
        (readings, cloud.READINGS_KEPT_S),
        (dead, cloud.DEAD_LETTERS_KEPT_S),
    ):
        assert f'message_retention_duration = "{kept_s}s"' in body
        assert f"ack_deadline_seconds       = {cloud.ACK_DEADLINE_S}" in body
        assert re.search(r'expiration_policy \{\n +ttl = ""', body)
    assert f"max_delivery_attempts = {cloud.DELIVERIES_MAX}" in readings
    assert f'minimum_backoff = "{cloud.RETRY_MIN_S}s"\n    maximum_backoff = "{cloud.RETRY_MAX_S}s"' in readings


def test_tables_are_made_by_the_program_alone() -> None:
    """Terraform makes the dataset; a second description of the tables would drift from the first."""
    made = [name for name in resources() if name.startswith("google_bigquery_")]

    assert not [name for name in made if "table" in name]
    assert f'default     = "{cloud.DATASET}"' in terraform()
    assert f'default     = "{cloud.LOCATION}"' in terraform()


def test_servers_are_reached_as_the_manifest_says() -> None:
    """One port everywhere, all addresses, keys required, figures left to the job, and nothing kept on a disk."""
    container = containers()["service"]
    given = environment(container)
    ports = {container["ports"][0]["containerPort"], container["startupProbe"]["httpGet"]["port"]}

    assert ports == {Settings.model_fields["port"].default}
    assert (given["HEATFLEET_HOST"], given["HEATFLEET_KEYS"]) == ("0.0.0.0", "required")
    assert given["HEATFLEET_ROLLUP_EVERY_S"] == "0"
    assert given["HEATFLEET_DB"] is None  # from a secret, in a database that all servers share
    assert f"https://{given['HEATFLEET_ALLOWED_HOSTS']}/pubsub/push" == given["HEATFLEET_PUSH_AUDIENCE"]
    assert manifest("scheduler")["httpTarget"]["uri"].endswith(
        f"/jobs/{manifest('job-rollup')['metadata']['name']}:run"
    )


def test_no_secret_is_written_down() -> None:
    """Passwords come from secrets, and Terraform keeps none in its state."""
    assert "sensitive   = true\n  ephemeral   = true" in terraform()
    assert not re.search(r"^ +(password|secret_data) +=", terraform(), re.MULTILINE)
    for path in FILES:
        assert not re.search(r"heat_[A-Za-z0-9]{8}|PRIVATE KEY", path.read_text(encoding="utf-8")), path


def test_compose_keeps_the_store_in_a_volume() -> None:
    """Reached from this machine alone, unprivileged, with nothing but the volume to write to; PostgreSQL if wanted."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    ours = services["heatfleet"]

    assert ours["ports"] == ["127.0.0.1:8000:8000"]
    assert (ours["read_only"], ours["cap_drop"]) == (True, ["ALL"])
    assert ours["environment"]["HEATFLEET_STORE"] == "sqlite:////data/heatfleet.db"
    assert ours["volumes"] == ["store:/data"]
    assert services["database"]["profiles"] == ["postgresql"]
    assert ours["depends_on"]["database"]["required"] is False


def test_the_image_is_small_and_has_few_rights() -> None:
    """Two stages, a number for a user, a check without other tools, and only what is needed reaches the builder."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    wanted = {name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for name in line.split()}

    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    assert len(re.findall(r"^FROM python:\$\{PYTHON\}-slim-bookworm", text, re.MULTILINE)) == 2
    assert not re.search(r"curl|wget|apt-get|https?://(?!127\.0\.0\.1)", text)
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == wanted
    assert all((ROOT / name).exists() for name in wanted)


@pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed")
def test_terraform_reads_its_files() -> None:
    """They are whole, and as Terraform itself would format them."""
    ran = subprocess.run(
        ["terraform", f"-chdir={TERRAFORM}", "fmt", "-check", "-diff"], capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed")
def test_the_dockerfile_is_one() -> None:
    """By the rules of hadolint."""
    subprocess.run(["hadolint", str(ROOT / "Dockerfile")], check=True)


@pytest.mark.soak
def test_the_steps_of_the_image_work(tmp_path: Path) -> None:
    """Without Docker: the very commands of the stage that builds, in a new environment, end in a program that runs."""
    build, app = tmp_path / "build", tmp_path / "app"
    build.mkdir()
    for name in ("requirements-cloud.lock", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, build)
    shutil.copytree(ROOT / "src", build / "src", ignore=shutil.ignore_patterns("__pycache__"))
    clean = {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}
    for line in run_lines():
        words = [word.replace("/app", str(app)) for word in shlex.split(line)]
        words[0] = sys.executable if words[0] == "python" else words[0]
        subprocess.run(words, cwd=build, env=clean, check=True)
    heatfleet = str(app / "bin/heatfleet")
    shown = subprocess.run(
        [heatfleet, "cloud", "cost", "--json"], cwd=tmp_path, env=clean, check=True, capture_output=True
    )
    imported = "import google.cloud.bigquery, google.cloud.bigquery_storage, google.cloud.pubsub_v1, psycopg, pyarrow"
    subprocess.run([str(app / "bin/python"), "-c", imported], cwd=tmp_path, env=clean, check=True)

    assert json.loads(shown.stdout)["cost_per_day"] > 0
    assert not (app / "bin/pip").exists()
