"""What the values of single settings may be, and how one with a password is shown; ``config`` has the settings."""

import ipaddress
import re

from heatfleet.domain.access import is_well_formed
from heatfleet.domain.local_time import find_zone

_matches_host_name = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?").fullmatch
_finds_password = re.compile(r"(?<=://)([^:@/?]*):.*@", re.DOTALL)
_finds_password_alone = re.compile(r"(?<=://)([^:@/?,\[]+):(?=\d*[^\d/?,])[^/?]*")
"""Where the host was forgotten: what is no port."""


def host(value: str) -> str:
    """An IP address or a host name: no scheme, no port, no brackets."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not _matches_host_name(value):
            raise ValueError("this is neither an IP address nor a host name") from None
    return value


def hosts(value: str) -> str:
    """Host names or addresses with commas between, or ``*``."""
    names = [name.strip() for name in value.split(",") if name.strip()]
    return ",".join(name if name == "*" else host(name) for name in names)


def key(value: str) -> str:
    """A whole key, or none."""
    if value and not is_well_formed(value):
        raise ValueError("this is no key of Heatfleet's, or it was copied incompletely")
    return value


def zone(value: str) -> str:
    """The name of a time zone that is known here."""
    return find_zone(value).key


def whole_days(value: int) -> int:
    """At least two days or none: figures of a day stand on the day before, and a hold may be as long as a day."""
    if value == 1:
        raise ValueError("this must be at least 2, or 0 for ever")
    return value


def lower(value: object) -> object:
    """``INFO`` means ``info``."""
    return value.lower() if isinstance(value, str) else value


def database(value: str) -> str:
    """The URL of a database for orders and keys, or none; what comes after the scheme is judged by who opens it."""
    if value and not re.match("sqlite:///[^?#]+$|postgresql://", value):
        raise ValueError("this is neither sqlite:/// and a path nor postgresql:// and where that is")
    return value


def without_password(url: str) -> str:
    """A URL of which nothing is secret: without its password and its parameters, among which there may be one."""
    hidden, times = _finds_password.subn(r"\1:…@", url)
    shown, mark, _ = (hidden if times else _finds_password_alone.sub(r"\1:…", url)).partition("?")
    return f"{shown}{mark and '?…'}"
