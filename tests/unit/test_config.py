"""Settings: where they come from, and what is said of those that do not fit."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heatfleet.config import PREFIX, Settings, environment, load_settings, variable, where_from
from heatfleet.domain.access import new_key
from heatfleet.errors import SetupError


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder of its own, without a .env."""
    monkeypatch.chdir(tmp_path)


def refusal(**overrides: str | float) -> str:
    """What load_settings says when it refuses."""
    with pytest.raises(SetupError) as raised:
        load_settings(**overrides)
    return str(raised.value)


def test_defaults_are_those_of_the_documentation() -> None:
    """Without any setting the server keeps its data in ./var and listens on this machine alone."""
    settings = load_settings()

    assert settings.store == "sqlite:///var/heatfleet.db"
    assert settings.bus == "local:"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.tz == "UTC"
    assert settings.max_hold_s == 3600
    assert settings.rollup_every_s == 60
    assert settings.command_ttl_s == 300


def test_option_wins_over_environment_over_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source overrules those behind it, and where_from names the one that counted."""
    Path(".env").write_text("HEATFLEET_PORT=1001\nHEATFLEET_HOST=::1\nHEATFLEET_TZ=Asia/Tokyo\n")
    monkeypatch.setenv("HEATFLEET_PORT", "1002")
    monkeypatch.setenv("HEATFLEET_HOST", "localhost")
    settings = load_settings(port=1003, store=None)
    origins = {origin.name: origin for origin in where_from(settings)}

    assert (settings.port, origins["port"].source) == (1003, "option")
    assert (settings.host, origins["host"].source) == ("localhost", "environment")
    assert (settings.tz, origins["tz"].source) == ("Asia/Tokyo", ".env")
    assert (settings.bus, origins["bus"].source) == ("local:", "default")
    assert origins["store"] == ("store", "HEATFLEET_STORE", "sqlite:///var/heatfleet.db", "default")


def test_where_from_tells_every_setting_in_order() -> None:
    """No setting is left out."""
    assert list(Settings.model_fields) == [origin.name for origin in where_from(load_settings())]


def test_every_setting_has_a_description() -> None:
    """`heatfleet config`, the errors and the docs have words for each."""
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


def test_settings_cannot_be_changed() -> None:
    """What was loaded at the start stays."""
    with pytest.raises(ValidationError):
        load_settings().port = 1  # type: ignore[misc]  # what mypy knows too


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("HEATFLEET_PRT", "HEATFLEET_PORT"),
        ("HEATFLEET_STORE_URL", "HEATFLEET_STORE"),
        ("HEATFLEET_LOGLEVEL", "HEATFLEET_LOG_LEVEL"),
        ("heatfleet_hold", "HEATFLEET_MAX_HOLD_S"),
    ],
)
def test_unknown_variable_names_the_nearest(name: str, nearest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the pen is an error that says what was meant, and never repeats the value."""
    monkeypatch.setenv(name, "s3cret")

    assert f"{name.upper()} (environment) is not a setting; did you mean {nearest}?" == refusal()


def test_unknown_variable_in_the_file_is_an_error_too() -> None:
    """The file is read as strictly as the environment."""
    Path(".env").write_text("HEATFLEET_STOER=sqlite:///x.db\n")

    assert refusal() == "HEATFLEET_STOER (.env) is not a setting; did you mean HEATFLEET_STORE?"


def test_variable_that_is_like_none_gets_no_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess that nobody could have meant is worse than none."""
    monkeypatch.setenv("HEATFLEET_COLOUR", "1")

    assert refusal().startswith("HEATFLEET_COLOUR (environment) is not a setting; these are: HEATFLEET_STORE, ")


def test_broken_line_of_the_file_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Each by its number, without its text, and once."""
    Path(".env").write_text("# ours\nHEATFLEET_PORT=1001\n\ns3cret and more\nexport TZ='UTC\n")

    assert refusal().splitlines() == [
        ".env, line 4: this is not NAME=value; mend or remove it",
        ".env, line 5: this is not NAME=value; mend or remove it",
    ]
    assert caplog.text == ""


def test_other_programs_variables_are_none_of_ours() -> None:
    """A .env is often shared with other programs."""
    Path(".env").write_text("COMPOSE_PROJECT_NAME=x\nHEATFLEET_PORT=1001\nPORT=5\n")

    assert load_settings().port == 1001


def test_all_unknown_variables_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to run the command once for each mistake."""
    monkeypatch.setenv("HEATFLEET_PRT", "1")
    monkeypatch.setenv("HEATFLEET_HSOT", "1")

    assert {"HEATFLEET_PRT", "HEATFLEET_HSOT"} == {line.split()[0] for line in refusal().splitlines()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("port", "65537"),
        ("port", "tcp://10.0.0.1:8000"),
        ("host", "http://127.0.0.1"),
        ("host", "127.0.0.1:8000"),
        ("host", "-x"),
        ("tz", "Mars/Olympus"),
        ("tz", "../../etc/passwd"),
        ("tz", "Europa"),
        ("max_hold_s", "86401"),
        ("max_hold_s", "1.5"),
        ("retention_days", "1"),
        ("rollup_every_s", "nan"),
        ("rollup_every_s", "-1"),
        ("command_ttl_s", "1e9"),
        ("bus_timeout_s", "inf"),
        ("queue_readings_max", "-1"),
        ("log_format", "xml"),
        ("log_level", "loud"),
    ],
)
def test_bad_value_names_the_variable_and_what_it_takes(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which variable, from where, what it takes; the value itself is not repeated."""
    monkeypatch.setenv(variable(name), value)
    said = refusal()

    assert said.startswith(f"{variable(name)} (environment): ")
    assert said.endswith(str(Settings.model_fields[name].description))
    assert value not in said or value in str(Settings.model_fields[name].description)


def test_bad_option_is_named_as_an_option() -> None:
    """What came from the command line is called as it is typed there."""
    assert refusal(port=0).startswith("--port: ")


def test_misspelt_zone_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone that was meant is suggested."""
    monkeypatch.setenv("HEATFLEET_TZ", "Europe/Pari")

    assert "did you mean Europe/Paris?" in refusal()


def test_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HEATFLEET_PORT= heatfleet serve` is not an error, and does not count as set."""
    monkeypatch.setenv("HEATFLEET_PORT", "")
    settings = load_settings()

    assert settings.port == 8000
    assert {"default"} == {origin.source for origin in where_from(settings)}


def test_words_may_be_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    """INFO is what many write."""
    monkeypatch.setenv("HEATFLEET_LOG_LEVEL", "WARNING")
    monkeypatch.setenv("HEATFLEET_LOG_FORMAT", "JSON")

    assert (load_settings().log_level, load_settings().log_format) == ("warning", "json")


def test_unreadable_file_is_an_error() -> None:
    """A .env that is no text is not passed over."""
    Path(".env").write_bytes(b"\xff\xfeH\x00")

    assert refusal() == ".env cannot be read as UTF-8 text (UnicodeDecodeError); mend or remove it"


def test_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """environment() and load_settings() are inverse, but for the key, which no child of a server needs."""
    settings = load_settings(port=9000, tz="Europe/Paris", rollup_every_s=0.5, log_level="error", api_key=new_key()[0])
    monkeypatch.setenv(f"{PREFIX}API_KEY", settings.api_key)
    given = environment(settings)
    monkeypatch.delenv(f"{PREFIX}API_KEY")
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert settings.model_dump() == load_settings().model_dump() | {"api_key": settings.api_key}
    assert {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} - set(given) == {f"{PREFIX}API_KEY"}
    assert "PATH" in given
    assert ["(set)"] == [origin.value for origin in where_from(settings) if origin.name == "api_key"]


@given(st.ip_addresses())
def test_every_address_is_a_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """IPv4 and IPv6, scoped or not."""
    assert str(address) == Settings(host=str(address)).host


@pytest.mark.parametrize(
    ("store", "db", "ledger"),
    [
        (None, None, "sqlite:///var/heatfleet.db"),
        ("sqlite:////srv/fleet.db", None, "sqlite:////srv/fleet.db"),
        ("bigquery://p/d", None, "sqlite:///var/heatfleet.db"),
        ("bigquery://p/d", "postgresql://u@h/d", "postgresql://u@h/d"),
        (None, "sqlite:///orders.db", "sqlite:///orders.db"),
        ("misspelt:///x.db", None, "misspelt:///x.db"),
    ],
)
def test_orders_and_keys_are_beside_the_store_unless_said_otherwise(
    store: str | None, db: str | None, ledger: str
) -> None:
    """One place decides; a store of an unknown kind does not lead to the keys of another one."""
    assert ledger == load_settings(store=store, db=db).ledger


@pytest.mark.parametrize(
    ("db", "shown"),
    [
        ("postgresql://u@h:5432/d", "postgresql://u@h:5432/d"),
        ("postgresql://u:s3cret@h/d", "postgresql://u:…@h/d"),
        ("postgresql://u:s3cret%40@h1:1,h2:2/d?target_session_attrs=any", "postgresql://u:…@h1:1,h2:2/d?…"),
        ("postgresql://u:s3@cr/et?s3cret@h/d", "postgresql://u:…@h/d"),
        ("postgresql://:s3cret@h/d", "postgresql://:…@h/d"),
        ("postgresql://u:s3cret/d", "postgresql://u:…/d"),
        ("postgresql://u:12s3cret/d", "postgresql://u:…/d"),
        ("postgresql://[2001:db8::1]:5432/d", "postgresql://[2001:db8::1]:5432/d"),
        ("postgresql://u@h/d?pass%77ord=s3cret", "postgresql://u@h/d?…"),
        ("sqlite:////srv/fleet.db", "sqlite:////srv/fleet.db"),
    ],
)
def test_a_password_is_shown_to_nobody(db: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as a setting nor in what a person is told, and the rollup's process does not get it at all."""
    monkeypatch.setenv("HEATFLEET_DB", db)
    settings = load_settings()

    assert [shown] == [origin.value for origin in where_from(settings) if origin.name == "db"]
    assert shown == settings.ledger_shown
    assert "s3" not in repr(settings)
    assert db not in environment(settings, leave_out=["db"]).values()
    assert db in environment(settings).values()


@pytest.mark.parametrize(
    "db",
    [
        "postgres://u:s3cret@h/d",
        "mysql://u:s3cret@h/d",
        "s3cret",
        "sqlite://s3cret",
        "sqlite:///",
        "sqlite:///x?s3cret",
    ],
)
def test_another_kind_of_database_is_refused(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said what may be there, and not what was."""
    monkeypatch.setenv("HEATFLEET_DB", db)

    assert refusal().startswith("HEATFLEET_DB (environment): this is neither sqlite:/// and a path nor")
    assert "s3cret" not in refusal()
