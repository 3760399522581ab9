"""What Pub/Sub hands over: a published message as it is, or in the envelope of a push.

It holds what POST /message takes. A published message has no Content-Type: whether it is one message, an array or one
on each line is told by its text.
"""

import re

import msgspec

from heatfleet.api.decode import NOT_JSON, decode_json
from heatfleet.errors import BadMessage

PUSH_BYTES_MAX = 10_000_000 * 4 // 3 + 64 * 1024
"""Pub/Sub takes messages of 10 MB. Pushed they come in base64, with attributes around."""

# A message cannot hold this: within JSON a comma would stand between, and within a string no line can end.
_has_lines = re.compile(rb"\}[ \t\r]*+\n[ \t\r\n]*+\{").search
_opens_array = re.compile(rb"[ \t\r\n]*\[").match


class _Message(msgspec.Struct, gc=False):
    data: bytes  # in base64


class _Envelope(msgspec.Struct, gc=False):
    message: _Message


_decode = msgspec.json.Decoder(_Envelope).decode


def is_array(body: bytes | bytearray) -> bool:
    """Whether this JSON text can only be an array."""
    return not body.startswith(b"{") and _opens_array(body) is not None


def is_lines(body: bytes) -> bool:
    """Whether these are messages one on each line; a single line is a message like any other."""
    return _has_lines(body) is not None


def unwrap(body: bytes) -> bytes:
    """What was published, of a push; one without an envelope (payload unwrapping) is that itself.

    Raises ``BadMessage``: ``broken-json``, or ``bad-field`` for an envelope without data in base64.
    """
    try:
        return _decode(body).message.data
    except NOT_JSON:
        pass
    if is_array(body) or is_lines(body):
        return body
    envelope = decode_json(body)
    if not isinstance(envelope, dict) or "message" not in envelope:
        return body
    message = envelope["message"]
    if not isinstance(message, dict):
        raise BadMessage("bad-field", "message must be an object", "/message")
    if "data" not in message:
        raise BadMessage("bad-field", "data is missing: a message of attributes alone tells nothing", "/message/data")
    raise BadMessage("bad-field", "data must be text in base64", "/message/data")
