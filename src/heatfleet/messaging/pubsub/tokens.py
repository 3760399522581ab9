"""Tokens that Pub/Sub shows with its pushes: OpenID Connect tokens, signed with keys that Google publishes."""

import asyncio
import json
import time
from collections.abc import Mapping
from math import ceil
from typing import Any

import structlog
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from heatfleet.errors import NotAllowed, TokensUnverified

CERTS_URL = "https://www.googleapis.com/oauth2/v1/certs"
"""Certificates by the id of their key. No setting names another place: who could would let in whom they like."""
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
CLOCK_SKEW_S = 10
CERTS_S = 3600.0
"""So old the certificates may be before they are fetched again; Google publishes a key long before it signs with it."""
CERTS_S_MAX = 24 * 3600.0
"""So old they may be while they cannot be fetched."""
PAUSE_S = 30.0
"""Between two fetches: whoever makes up tokens can name any key."""
FETCH_S = 10.0
TOKENS_MAX = 1000
"""Pub/Sub shows the same token for up to an hour: the good ones are remembered."""

log = structlog.get_logger(__name__)


class GoogleTokens:
    """``messaging.base.PushTokens`` for a push subscription's service account and audience. Lives on one loop."""

    def __init__(self, *, audience: str, account: str) -> None:
        self._audience, self._account = audience, account
        self._certs: dict[str, str] = {}
        self._certs_s = self._tried_s = -CERTS_S_MAX
        self._fetching = asyncio.Lock()
        self._trouble = False
        self._good: dict[str, float] = {}

    async def judge(self, token: str) -> None:
        """See ``PushTokens.judge``."""
        if self._good.get(token, 0.0) > time.time():
            return
        key_id = _key_id(token)
        if key_id not in self._certs or time.monotonic() - self._certs_s > CERTS_S:
            await self._fetch(key_id)
        claims = self._verified(token)
        if claims.get("iss") not in ISSUERS:
            raise _bad("this token is not one of Google's accounts: its issuer is another")
        if claims.get("aud") != self._audience:
            raise _bad("this token is for another audience than HEATFLEET_PUSH_AUDIENCE")
        if claims.get("email") != self._account or claims.get("email_verified") is not True:
            raise _bad("this token is of another account than HEATFLEET_PUSH_ACCOUNT")
        if len(self._good) >= TOKENS_MAX:
            self._good.clear()
        self._good[token] = claims["exp"]

    def _verified(self, token: str) -> Mapping[str, Any]:
        """What the token says, once its signature and times are found right."""
        try:
            claims: Mapping[str, Any] = jwt.decode(token, certs=self._certs, clock_skew_in_seconds=CLOCK_SKEW_S)  # type: ignore[no-untyped-call]
            early = claims.get("nbf", 0) > time.time() + CLOCK_SKEW_S
        except (GoogleAuthError, ValueError, TypeError, RecursionError):  # the library's words repeat the token
            raise _bad("this token has expired, is not valid yet, or was not signed by Google") from None
        if early:
            raise _bad("this token is not valid yet")
        return claims

    async def _fetch(self, key_id: str) -> None:
        """Fetch the certificates, unless that was tried a moment ago; raises ``TokensUnverified`` without any."""
        async with self._fetching:
            now_s = time.monotonic()
            if now_s - self._tried_s > PAUSE_S:
                self._tried_s = now_s
                try:
                    self._certs = await asyncio.to_thread(self._fetched)
                    self._certs_s, self._trouble = now_s, False
                except (GoogleAuthError, ValueError, RecursionError) as error:
                    self._trouble = True
                    log.warning("Google's certificates cannot be fetched", url=CERTS_URL, reason=str(error))
            if now_s - self._certs_s > CERTS_S_MAX or (self._trouble and key_id not in self._certs):
                raise TokensUnverified("Google's certificates cannot be fetched", retry_after_s=ceil(PAUSE_S))

    def _fetched(self) -> dict[str, str]:
        answer = Request()(CERTS_URL, timeout=FETCH_S)
        certs = json.loads(answer.data) if answer.status == 200 else None
        if not isinstance(certs, dict) or not all(isinstance(one, str) for one in certs.values()):
            raise ValueError(f"the answer is none of certificates, status {answer.status}")
        return certs


def _key_id(token: str) -> str:
    """The id of the key that the token says it was signed with."""
    try:
        key_id = jwt.decode_header(token).get("kid")  # type: ignore[no-untyped-call]
    except (GoogleAuthError, ValueError, RecursionError):
        key_id = None
    if not isinstance(key_id, str):
        raise _bad("this is no token of Google's: such a one is a JWT that names its key")
    return key_id


def _bad(detail: str) -> NotAllowed:
    return NotAllowed("bad-token", detail)
