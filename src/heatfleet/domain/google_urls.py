"""What the URLs of things on Google Cloud have in common, and of those that stand for them on this machine."""

import re
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from heatfleet.errors import SetupError

is_project = re.compile(r"[a-z][a-z0-9:.-]{4,61}[a-z0-9]").fullmatch
"""Whether this may be the id of a project."""


def project_and_name(url: str, scheme: str, *, how_to_write: str) -> tuple[str, str, dict[str, str]]:
    """The project of ``SCHEME://PROJECT/NAME?PARAMETERS``, the name, and the parameters.

    Raises ``SetupError``, which begins with ``how_to_write``, if it is no such URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SetupError(how_to_write) from None
    project, name = parts.netloc, parts.path.removeprefix("/")
    if parts.scheme != scheme or parts.fragment or not project or not name:
        raise SetupError(how_to_write)
    if not is_project(project):
        raise SetupError(f"{how_to_write}; a project's id is 6 to 63 lower-case letters, digits and hyphens")
    return project, name, dict(parse_qsl(parts.query, keep_blank_values=True))


def on_this_machine(address: str, *, otherwise: str) -> str:
    """``HOST:PORT`` on this machine: without TLS and credentials nothing goes further. ``SetupError`` ``otherwise``."""
    host, _, port = address.rpartition(":")
    try:
        near = host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        near = False
    if not near or not port.isdecimal():
        raise SetupError(otherwise)
    return address
