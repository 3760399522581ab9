"""Posts batches to ``POST /message`` like a gateway in front of many devices, and does not give up lightly.

The service counts a reading once however often it is posted. So every doubt - no answer, a broken connection,
"not now" - has one answer: post the same batch again.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any

import httpx2

from heatfleet.simulator.clock import Clock, sleep_unless
from heatfleet.simulator.errors import SimulatorError
from heatfleet.simulator.fleet import Batch

_PATIENCE_AFTER_STOP_MS = 5_000
_LONGEST_WAIT_S = 15.0
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_REFUSALS_KEPT = 5


@dataclass(slots=True)
class Posted:
    """What became of the batches so far.

    ``messages`` were answered for, ``refused`` of them with a no; ``inserted`` readings are the service's own
    count. ``refusals`` are the service's words for the first few.
    """

    messages: int = 0
    inserted: int = 0
    refused: int = 0
    requests: int = 0
    retries: int = 0
    refusals: list[str] = field(default_factory=list)


class Poster:
    """Sends batches through ``client``; several ``post`` calls may be under way at once."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        clock: Clock,
        stop: asyncio.Event,
        *,
        patience_s: float | None,
        on_trouble: Callable[[str], None],
    ) -> None:
        self.posted = Posted()
        self._client, self._clock, self._stop = client, clock, stop
        self._patience_ms = None if patience_s is None else patience_s * 1000
        self._on_trouble = on_trouble
        self._jitter = random.Random(0)

    async def post(self, batch: Batch) -> None:
        """Post until the service has answered for every message of the batch.

        Raises SimulatorError when it refuses the request as a whole, or has been away for longer than the
        patience (5 s once the simulation is being stopped).
        """
        began_ms, attempt = self._clock.now_ms(), 0
        while (trouble := await self._try(batch)) is not None:
            why, wait_s = trouble
            self._check_patience(began_ms, why)
            attempt += 1
            self.posted.retries += 1
            self._on_trouble(why)
            backoff_s = min(_LONGEST_WAIT_S, 0.25 * 2.0 ** min(attempt, 10)) * self._jitter.uniform(0.5, 1.0)
            await self._wait(backoff_s if wait_s is None else wait_s)

    async def _try(self, batch: Batch) -> tuple[str, float | None] | None:
        """None when the batch was answered; otherwise why not, and how long the service asks to wait (s)."""
        self.posted.requests += 1
        try:
            answer = await self._client.post(
                "/message", content=batch.body, headers={"Content-Type": "application/x-ndjson"}
            )
        except httpx2.TransportError as error:
            return f"the service does not answer ({type(error).__name__})", None
        if answer.status_code in _TRY_AGAIN:
            wait_s = retry_after_s(answer.headers.get("Retry-After"), self._clock.now_ms())
            return f"the service answers {answer.status_code}: not now", wait_s
        self._take(batch, answer)
        return None

    def _take(self, batch: Batch, answer: httpx2.Response) -> None:
        body = _object(answer)
        refusals = _refusals(body)
        if not answer.is_success and not refusals:
            words = str(body.get("detail") or body.get("title") or answer.text[:200])
            raise SimulatorError(f"the service refuses POST {answer.url} with {answer.status_code}: {words}")
        self.posted.messages += batch.messages
        self.posted.inserted += int(body.get("inserted", 0))
        self.posted.refused += len(refusals)
        room = _REFUSALS_KEPT - len(self.posted.refusals)
        self.posted.refusals += [str(one.get("detail") or one) for one in refusals[: max(0, room)]]

    def _check_patience(self, began_ms: int, why: str) -> None:
        tried_ms = self._clock.now_ms() - began_ms
        if self._stop.is_set() and tried_ms > _PATIENCE_AFTER_STOP_MS:
            raise SimulatorError(f"{why}; stopped before everything was delivered")
        if self._patience_ms is not None and tried_ms > self._patience_ms:
            raise SimulatorError(f"{why}, for {tried_ms / 1000:.0f} s now; is it running at {self._client.base_url}?")

    async def _wait(self, wait_s: float) -> None:
        if self._stop.is_set():
            await self._clock.sleep(min(wait_s, 1.0))
        else:
            await sleep_unless(self._stop, self._clock, wait_s)


def service_at(url: str, headers: Mapping[str, str] | None, *, connections: int) -> httpx2.AsyncClient:
    """An HTTP client for the service at ``url``, to be closed; SimulatorError for what is no address."""
    try:
        base = httpx2.URL(url.rstrip("/"))
    except httpx2.InvalidURL:
        base = httpx2.URL("")
    if base.scheme not in ("http", "https") or not base.host:
        raise SimulatorError(f"{url!r} is no address of a service; one looks like http://127.0.0.1:8000")
    return httpx2.AsyncClient(
        base_url=base,
        headers=dict(headers or {}),
        timeout=httpx2.Timeout(30.0, connect=5.0, pool=None),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        trust_env=not _is_this_machine(base.host),  # a proxy cannot reach our own loopback
    )


def _is_this_machine(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def retry_after_s(header: str | None, now_ms: int) -> float | None:
    """The seconds a ``Retry-After`` header asks for, as number or date; None where it says nothing clear."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds())


def _object(answer: httpx2.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _refusals(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages named as refused: whatever list of objects with an ``index`` the answer carries."""
    for value in body.values():
        if isinstance(value, list) and value and all(isinstance(one, dict) and "index" in one for one in value):
            return value
    return []
