"""Settings: what an operator may turn, from ``HEATFLEET_*`` variables, ``.env``, or the built-in default.

Loaded once, at the start of a command, and passed on as an argument; nothing else reads these variables.
"""

import ipaddress
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from dotenv.parser import Original, parse_stream
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict

from heatfleet import config_values as values
from heatfleet.errors import SetupError

PREFIX = "HEATFLEET_"
ENV_FILE = ".env"
STORE_DEFAULT = "sqlite:///var/heatfleet.db"

Source = Literal["default", ".env", "environment", "option"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(BaseSettings):
    """What an operator may set; immutable. ``load_settings`` makes it and explains what does not fit."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        dotenv_filtering="only_existing",  # a .env is often shared with other programs
        extra="forbid",
        frozen=True,
    )
    _sources: dict[str, Source] = PrivateAttr(default_factory=dict)

    store: str = Field(
        STORE_DEFAULT,
        description="Where readings and figures are kept: sqlite:///relative/path, sqlite:////absolute/path, or "
        "bigquery://PROJECT/DATASET of Google.",
    )
    db: Annotated[str, AfterValidator(values.database)] = Field(
        "",
        repr=False,
        description="Where orders, keys and the audit trail are kept: sqlite:///path or "
        "postgresql://user@host:port/database, which many servers share. Empty: beside the store; of a store that is "
        "not SQLite, where that of sqlite:///var/heatfleet.db has them.",
    )
    bus: str = Field(
        "local:",
        description="What carries orders to the devices: local: inside the server, or pubsub://PROJECT/TOPIC.",
    )
    host: Annotated[str, AfterValidator(values.host)] = Field(
        "127.0.0.1",
        description="IP address or host name the server listens on; 127.0.0.1 serves this machine alone.",
    )
    port: int = Field(8000, ge=1, le=65_535, description="TCP port the server listens on, 1 to 65535.")
    allowed_hosts: Annotated[str, AfterValidator(values.hosts)] = Field(
        "",
        description="Names this server is called by, with commas between; * for any. Empty: any, once there are keys.",
    )
    keys: Annotated[Literal["auto", "required"], BeforeValidator(values.lower)] = Field(
        "auto",
        description="Who needs an API key: required: everybody; auto: nobody, while only this machine reaches the "
        "server and no key was ever made.",
    )
    key_messages_per_s: int = Field(
        100_000,
        ge=0,
        le=10_000_000,
        description="Messages a second that a key may send which has no limit of its own, up to 10000000. 0: any.",
    )
    key_commands_per_min: int = Field(
        600,
        ge=0,
        le=10_000_000,
        description="Orders a minute that a key may give which has no limit of its own, up to 10000000. 0: any.",
    )
    api_key: Annotated[str, AfterValidator(values.key)] = Field(
        "",
        repr=False,
        description="The key that commands such as heatfleet report show to a server; the server itself needs none.",
    )
    push_audience: str = Field("", description="Audience of the tokens that Pub/Sub shows at POST /pubsub/push.")
    push_account: str = Field("", description="E-mail of the service account whose tokens those are. Empty: no pushes.")
    tz: Annotated[str, AfterValidator(values.zone)] = Field(
        "UTC",
        description="Time zone of reports that name none, as the IANA calls it.",
    )
    max_hold_s: int = Field(
        3600,
        ge=1,
        le=86_400,
        description="Seconds a silent device's last values are still believed, 1 to 86400.",
    )
    rollup_every_s: float = Field(
        60,
        ge=0,
        le=3600,
        description="Seconds between two rollups, up to 3600: how old a figure may be. 0: the server starts none.",
    )
    retention_days: Annotated[int, AfterValidator(values.whole_days)] = Field(
        0,
        ge=0,
        le=36_500,
        description="Days a reading is kept, 2 to 36500; older ones are refused and removed. 0: for ever.",
    )
    archive_after_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days after which a day's readings become a Parquet file, 1 to 36500; needs pyarrow. 0: never.",
    )
    command_ttl_s: int = Field(
        300,
        ge=1,
        le=3600,
        description="Seconds an order lives, 1 to 3600; it is never carried out later.",
    )
    bus_timeout_s: float = Field(
        5,
        ge=0.1,
        le=60,
        description="Seconds the bus has to accept an order before POST /send answers 503, 0.1 to 60.",
    )
    report_timeout_s: float = Field(
        30,
        ge=0.1,
        le=600,
        description="Seconds a report may take, waiting included, 0.1 to 600; beyond, GET /report answers 503.",
    )
    queue_readings_max: int = Field(
        200_000,
        ge=1,
        le=10_000_000,
        description="Readings that may wait to be stored, 1 to 10000000; beyond, POST /message answers 503.",
    )
    bodies_mib_max: int = Field(
        256,
        ge=8,
        le=65_536,
        description="MiB that large bodies under way may take together, 8 to 65536; beyond, POST /message answers 503.",
    )
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(values.lower)] = Field(
        "auto",
        description="Log lines: json, console, or auto: console on a terminal and json elsewhere.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(values.lower)] = Field(
        "info",
        description="The least level that is logged: debug, info, warning or error.",
    )

    @property
    def ledger(self) -> str:
        """The URL of the database that has orders, keys and the audit trail; there may be a password in it."""
        return self.db or (STORE_DEFAULT if self.store.startswith("bigquery:") else self.store)

    @property
    def ledger_shown(self) -> str:
        """The same, for people."""
        return values.without_password(self.ledger)


class Origin(NamedTuple):
    """One setting: its name, its variable, its value, and which source the value was taken from."""

    name: str
    variable: str
    value: str | float
    source: Source


def load_settings(**overrides: str | float | None) -> Settings:
    """The settings of this process: an override wins over the environment, then ``.env``, then the default.

    An override of ``None`` is an option that was not given. Raises ``SetupError`` with a line for each
    unknown variable or bad value; it names the variable and never repeats the value.
    """
    options = {name: value for name, value in overrides.items() if value is not None}
    sources: dict[str, Source] = dict.fromkeys(Settings.model_fields, "default")
    sources.update(_given(_variables_of_file(), ".env"))
    sources.update(_given(EnvSettingsSource(Settings).env_vars, "environment"))
    sources.update(dict.fromkeys(options, "option"))
    try:
        settings = Settings(**options)  # type: ignore[arg-type]  # checked by the model itself
    except ValidationError as error:
        raise SetupError("\n".join(_complaints(error, sources))) from None
    settings._sources.update(sources)  # noqa: SLF001  # the only writer: made here, read by where_from
    return settings


def where_from(settings: Settings) -> list[Origin]:
    """Each of the settings that ``load_settings`` gave, with where its value came from."""
    # A key or a password is nobody's to read from a screen.
    shown = {"api_key": "(set)" if settings.api_key else "", "db": values.without_password(settings.db)}
    return [
        Origin(name, variable(name), shown.get(name, getattr(settings, name)), source)
        for name, source in settings._sources.items()  # noqa: SLF001
    ]


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def environment(settings: Settings, *, leave_out: Iterable[str] = ()) -> dict[str, str]:
    """The environment that gives a child process the same settings, but for those it has no use for.

    No child calls a server, so none gets a key.
    """
    secret = {"api_key", *leave_out}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in map(variable, secret)}
    names = set(Settings.model_fields) - secret
    return kept | {variable(name): str(getattr(settings, name)) for name in names}


def _variables_of_file() -> Mapping[str, str | None]:
    file = Path(ENV_FILE)
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        broken = [line.original for line in parse_stream(StringIO(text)) if line.error]
        if not broken:
            return DotEnvSettingsSource(Settings).env_vars
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(
            f"{ENV_FILE} cannot be read as UTF-8 text ({type(error).__name__}); mend or remove it"
        ) from None
    raise SetupError(
        "\n".join(f"{ENV_FILE}, line {_number(one)}: this is not NAME=value; mend or remove it" for one in broken)
    )


def _number(line: Original) -> int:
    """The number of a line that may have empty ones before it."""
    return line.line + line.string[: -len(line.string.lstrip())].count("\n")


def _given(variables: Iterable[str], source: Source) -> dict[str, Source]:
    """The settings that these variables (in lower case) set; an unknown variable of ours is an error."""
    names = [name.removeprefix(PREFIX.lower()) for name in variables if name.startswith(PREFIX.lower())]
    unknown = [name for name in names if name not in Settings.model_fields]
    if unknown:
        raise SetupError("\n".join(_unknown(name, source) for name in unknown))
    return dict.fromkeys(names, source)


def _unknown(name: str, source: Source) -> str:
    near = get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    hint = (
        f"did you mean {variable(near[0])}?"
        if near
        else f"these are: {', '.join(map(variable, Settings.model_fields))}"
    )
    return f"{variable(name)} ({source}) is not a setting; {hint}"


def _complaints(error: ValidationError, sources: Mapping[str, Source]) -> Iterable[str]:
    for detail in error.errors(include_url=False, include_input=False):
        name = str(detail["loc"][0])
        source = sources[name]
        who = f"--{name.replace('_', '-')}" if source == "option" else f"{variable(name)} ({source})"
        what = detail["msg"].removeprefix("Value error, ")
        stop = "" if what.endswith("?") else "."
        yield f"{who}: {what[:1].lower()}{what[1:]}{stop} {Settings.model_fields[name].description}"
