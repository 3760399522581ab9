"""Posting, and not giving up, against a real server on loopback."""

import asyncio
import json
from email.utils import formatdate

import pytest

from heatfleet.simulator import Batch, SimulatorError
from heatfleet.simulator.post import Poster, retry_after_s, service_at
from tests.unit.simulator.conftest import JANUARY_MS, Answer, Hand, TinyService

BATCH = Batch(b'{"code":"a"}\n{"code":"b"}\n{"code":"c"}\n', 3, JANUARY_MS)


class Posting:
    """A poster at work against the tiny service, and the troubles it told of."""

    def __init__(self, service: TinyService, hand: Hand, patience_s: float | None = 300.0) -> None:
        self.stop = asyncio.Event()
        self.troubles: list[str] = []
        self._client = service_at(service.url, {"X-Api-Key": "secret"}, connections=2)
        self.poster = Poster(
            self._client, hand.clock(), self.stop, patience_s=patience_s, on_trouble=self.troubles.append
        )

    async def post(self) -> None:
        """Post the batch once."""
        async with self._client:
            await self.poster.post(BATCH)


async def test_a_batch_is_posted_as_ndjson(service: TinyService, hand: Hand) -> None:
    """The lines go to POST /message as they are, with the headers asked for, and the answer is counted."""
    posting = Posting(service, hand)
    await posting.post()

    (request,) = service.requests
    assert (request.method, request.target, request.body) == ("POST", "/message", BATCH.body)
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.headers["x-api-key"] == "secret"
    posted = posting.poster.posted
    assert (posted.messages, posted.inserted, posted.refused, posted.requests, posted.retries) == (3, 3, 0, 1, 0)


@pytest.mark.parametrize("status", [429, 503])
async def test_not_now_is_tried_again_when_told(service: TinyService, hand: Hand, status: int) -> None:
    """After 429 or 503 the same bytes are posted again, once the seconds of Retry-After are over."""
    service.script = [Answer(status, headers={"Retry-After": "7"}), Answer(status, headers={"Retry-After": "2"})]
    posting = Posting(service, hand)
    await posting.post()

    assert [request.body for request in service.requests] == [BATCH.body] * 3
    assert sum(hand.slept_s) == pytest.approx(9)
    assert (posting.poster.posted.messages, posting.poster.posted.retries) == (3, 2)
    assert posting.troubles == [f"the service answers {status}: not now"] * 2


async def test_a_broken_connection_is_tried_again(service: TinyService, hand: Hand) -> None:
    """When the service hangs up or fails, the batch is posted again, after longer and longer waits."""
    service.script = [Answer(hang_up=True), Answer(500), Answer(hang_up=True), Answer(502)]
    posting = Posting(service, hand)
    await posting.post()

    assert len(service.requests) == 5
    assert posting.poster.posted.messages == 3
    assert "does not answer" in posting.troubles[0]
    assert 2 < sum(hand.slept_s) < 15


async def test_nobody_there_is_waited_for_and_then_an_error(hand: Hand) -> None:
    """A service that stays away is waited for as long as the patience lasts; the error says where it was looked for."""
    nobody = TinyService()
    nobody.url = "http://127.0.0.1:9"
    posting = Posting(nobody, hand, patience_s=60)

    with pytest.raises(SimulatorError, match=r"for \d+ s now; is it running at http://127.0.0.1:9"):
        await posting.post()
    assert 60 < sum(hand.slept_s) < 90


async def test_a_stopped_simulation_is_not_patient(hand: Hand) -> None:
    """Once stopped, a service that is away is given a few seconds, and what is lost is said."""
    nobody = TinyService()
    nobody.url = "http://127.0.0.1:9"
    posting = Posting(nobody, hand, patience_s=None)
    posting.stop.set()

    with pytest.raises(SimulatorError, match="stopped before everything was delivered"):
        await posting.post()
    assert sum(hand.slept_s) < 10


@pytest.mark.parametrize("status", [200, 422])
async def test_refused_messages_are_counted_and_shown(service: TinyService, hand: Hand, status: int) -> None:
    """Messages the service refuses by index are counted, with its words; the rest of the batch is as good as ever."""
    rejected = [{"index": 0, "detail": "bad-time"}, {"index": 2, "detail": "bad-value"}]
    body = {"status": "partial", "inserted": 1, "rejected": rejected}
    service.script = [Answer(status, json.dumps(body).encode())]
    posting = Posting(service, hand)
    await posting.post()

    posted = posting.poster.posted
    assert (posted.messages, posted.refused, posted.inserted) == (3, 2, 1)
    assert posted.refusals == ["bad-time", "bad-value"]


@pytest.mark.parametrize("body", [b'{"detail": "no key given"}', b"no key given"])
async def test_a_refused_request_ends_the_simulation(service: TinyService, hand: Hand, body: bytes) -> None:
    """A refusal of the whole request is not repeated; the error carries status and words of the service."""
    service.script = [Answer(401, body)]

    with pytest.raises(SimulatorError, match=r"/message with 401: no key given"):
        await Posting(service, hand).post()
    assert len(service.requests) == 1


def test_retry_after_is_seconds_or_a_date() -> None:
    """Retry-After is read in both of its forms, and anything else is as good as nothing."""
    in_a_minute = formatdate(JANUARY_MS / 1000 + 60, usegmt=True)

    assert retry_after_s("12", JANUARY_MS) == 12
    assert retry_after_s(in_a_minute, JANUARY_MS) == pytest.approx(60)
    assert retry_after_s(in_a_minute, JANUARY_MS + 120_000) == 0
    assert retry_after_s("soon", JANUARY_MS) is None
    assert retry_after_s(None, JANUARY_MS) is None


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://here", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """An address that cannot be one is refused with an example of one that can."""
    with pytest.raises(SimulatorError, match=r"one looks like http://127\.0\.0\.1:8000"):
        service_at(url, None, connections=1)
