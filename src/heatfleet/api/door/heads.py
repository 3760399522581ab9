"""Which requests the door answers itself, told by their heads; every head is read once and remembered."""

import re
from typing import NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.datastructures import Headers

from heatfleet.access import Caller
from heatfleet.api.batch import BATCH_BYTES_MAX
from heatfleet.api.body import body_form
from heatfleet.api.form import BodyForm
from heatfleet.api.gate import Gate
from heatfleet.api.problems import BadRequest

REQUEST_LINE = b"POST /message HTTP/1.1\r\n"
HEAD_BYTES_MAX = 2048
"""A longer head is not plain."""
HEADS_MAX = 4096

# What makes a body mean something else than so many bytes of JSON, or the connection something else than HTTP/1.1.
_NOT_PLAIN = frozenset((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"te", b"trailer"))

_is_length = re.compile(rb"[0-9]{1,7}").fullmatch
_is_host = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?").fullmatch


class Plain(NamedTuple):
    """What follows a plain head: so many bytes of a body in this form, from this caller."""

    length: int
    form: BodyForm
    caller: Caller


class Heads(dict[bytes, Plain]):
    """The plain heads that were seen.

    The key is a head's exact bytes, and equal bytes parse equally: so a remembered verdict cannot be tricked, and a
    lookup takes the place of parsing. Other heads are not kept, as anyone can make up any number of them. What is known
    of API keys changes: then ``clear`` must be called.
    """

    def learn(self, head: bytes, gate: Gate) -> Plain | None:
        """Judge a head that was not seen before."""
        plain = judge(head, gate)
        if plain is not None:
            if len(self) == HEADS_MAX:
                self.clear()
            self[head] = plain
        return plain


class _Fields(list[tuple[bytes, bytes]]):
    """The fields of one head, names in lower case."""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.append((name.lower(), value))


def judge(head: bytes, gate: Gate) -> Plain | None:
    """What this head, from its first byte to its empty line, stands for; ``None`` if it is not plain.

    A caller who is to be refused is not: the long way has the words for it. The parser that reads the head is the one
    that reads all other requests, so there is one strictness.
    """
    fields = _Fields()
    try:
        HttpRequestParser(fields).feed_data(head)
    except (HttpParserError, HttpParserUpgrade):
        return None
    found = dict(fields)
    length = found.get(b"content-length", b"")
    plain = (
        head.startswith(REQUEST_LINE)
        and len(found) == len(fields)
        and found.keys().isdisjoint(_NOT_PLAIN)
        and is_host(found.get(b"host", b""))
        and _is_length(length) is not None
        and int(length) <= BATCH_BYTES_MAX
        and found.get(b"connection", b"keep-alive").lower() == b"keep-alive"
    )
    if not plain:
        return None
    headers = Headers(raw=fields)
    caller = gate.knows(headers, "ingest")
    if caller is None:
        return None
    try:
        return Plain(int(length), body_form(headers, caller.bounds), caller)
    except BadRequest:
        return None


def is_host(value: bytes) -> bool:
    """Whether a ``Host`` field names a host and perhaps a port, and nothing else."""
    return _is_host(value) is not None
