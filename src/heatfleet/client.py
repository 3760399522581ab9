"""A small HTTP client for the server's own API, as the command line uses it.

What the server refuses comes back as the error it was there: ``NotFound``, ``BadQuery``, ``Refused``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Self
from urllib.parse import quote

import httpx2

from heatfleet.config import is_loopback
from heatfleet.errors import BadQuery, HeatfleetError, NotAllowed, NotFound, Refused

TIMEOUT_S = 40.0
"""Longer than a report may take where nothing else is set: the server's own words tell more than a time-out."""
CONNECT_TIMEOUT_S = 3.0
_LOOKS_LIKE = "http://127.0.0.1:8000"
_NOT_ALLOWED = (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN, httpx2.codes.MISDIRECTED_REQUEST)
_NOT_FOUND = "/problems/not-found"

Parameters = Mapping[str, str | int | None]
"""Query parameters; those that are ``None`` are left out."""


def server_url(host: str, port: int) -> str:
    """Where a server that listens on this address is reached from this machine."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # nobody can call "everywhere"
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def authorization(api_key: str) -> dict[str, str]:
    """The header that shows a key; nothing for an empty one."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


class Client:
    """A connection to the server at ``url``; close it, or use it in a ``with`` block.

    Every method raises ``Refused`` when no server answers or it says "not now", ``NotFound`` for 404,
    ``NotAllowed`` for 401, 403 and 421, ``BadQuery`` for any other 4xx, and ``HeatfleetError`` for an answer that is
    not the API's. The ``api_key`` goes with every request, if there is one.
    """

    def __init__(self, url: str, *, api_key: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        try:
            base = httpx2.URL(self.url)
        except httpx2.InvalidURL:
            base = httpx2.URL("")
        if base.scheme not in ("http", "https") or not base.host:
            raise BadQuery("url", f"the address of a server looks like {_LOOKS_LIKE}")
        self._http = httpx2.Client(
            base_url=base,
            headers=authorization(api_key),
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
            trust_env=not is_loopback(base.host),  # a proxy cannot reach our own loopback
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def report(self, parameters: Parameters) -> dict[str, Any]:
        """``GET /report``, keys in the order of time."""
        return _object(self._get("/report", parameters))

    def report_csv(self, parameters: Parameters) -> Iterator[bytes]:
        """``GET /report`` as CSV, piece by piece as it comes."""
        wanted = _present({**parameters, "format": "csv"})
        with self._talk(), self._http.stream("GET", "/report", params=wanted) as response:
            if response.status_code != httpx2.codes.OK:
                response.read()
                _refuse(response)
            yield from response.iter_bytes()

    def send(self, device_id: str, *, switch: bool, idempotency_key: str | None = None) -> str:
        """``POST /send``; gives the path of the order, ``/commands/{id}``."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        body = {"device_id": device_id, "switch": switch}
        with self._talk():
            response = self._http.post("/send", json=body, headers=headers)
        if response.status_code != httpx2.codes.OK:
            _refuse(response)
        return str(response.headers.get("Location", ""))

    def send_many(self, orders: Sequence[Mapping[str, Any]], *, idempotency_key: str) -> dict[str, Any]:
        """``POST /send`` with up to 1000 orders; gives its answer, also where none of them could be taken."""
        with self._talk():
            response = self._http.post("/send", json=orders, headers={"Idempotency-Key": idempotency_key})
        unprocessable = response.status_code == httpx2.codes.UNPROCESSABLE_CONTENT
        answer = _object(response.text) if unprocessable or response.status_code == httpx2.codes.OK else {}
        if "rejected" not in answer:
            _refuse(response)
        return {"sent": 0, "commands": [], **answer}

    def command(self, location: str) -> dict[str, Any]:
        """``GET /commands/{id}``: the state and times of an order."""
        return _object(self._get(location))

    def device(self, device_id: str) -> dict[str, Any]:
        """``GET /devices/{id}``: what is known of one device."""
        return _object(self._get(f"/devices/{quote(device_id, safe='')}"))

    def devices(self, parameters: Parameters) -> dict[str, Any]:
        """``GET /devices``: one page of devices."""
        return _object(self._get("/devices", parameters))

    def ready(self) -> dict[str, Any]:
        """``GET /readyz``; ``Refused`` when the server is not ready or not there."""
        return _object(self._get("/readyz"))

    def _get(self, path: str, parameters: Parameters | None = None) -> str:
        with self._talk():
            response = self._http.get(path, params=_present(parameters or {}))
        if response.status_code != httpx2.codes.OK:
            _refuse(response)
        return response.text

    @contextmanager
    def _talk(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException as error:
            raise Refused(f"{self.url} does not answer in time; try again, or see its log") from error
        except httpx2.TransportError as error:
            start = "is it running? start it with `make run` or `heatfleet serve`"
            raise Refused(f"no server answers at {self.url}; {start}") from error


def _present(parameters: Parameters) -> dict[str, str | int]:
    return {name: value for name, value in parameters.items() if value is not None}


def _object(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise HeatfleetError("the answer is not Heatfleet's; does --url name another program?")
    return answer


def _refuse(response: httpx2.Response) -> NoReturn:
    """Turn a problem document (RFC 9457), or any other refusal, into the error that fits."""
    answered = f"the server answered {response.status_code} {response.reason_phrase}".rstrip()
    try:
        problem = dict(response.json())
    except (ValueError, TypeError):
        problem = {}
    detail = str(problem.get("detail") or problem.get("title") or "; ".join(problem.get("reasons", ())) or answered)
    if response.status_code in (httpx2.codes.SERVICE_UNAVAILABLE, httpx2.codes.TOO_MANY_REQUESTS):
        retry_after = response.headers.get("Retry-After", "")
        raise Refused(detail, int(retry_after) if retry_after.isdigit() else 1)
    if response.status_code == httpx2.codes.NOT_FOUND:
        if problem.get("type") != _NOT_FOUND:
            raise NotFound(
                f"there is no Heatfleet at this address; --url is the root of its server, such as {_LOOKS_LIKE}"
            )
        raise NotFound(detail)
    if response.status_code in _NOT_ALLOWED:
        kind = str(problem.get("type", "")).rpartition("/")[2]
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            detail = f"{detail}; commands show the key in HEATFLEET_API_KEY"
        raise NotAllowed(kind, detail)
    if response.is_client_error:
        name = str(problem.get("parameter") or problem.get("pointer", "")).strip("/")
        raise BadQuery(name, detail if name in detail else f"{name}: {detail}")
    raise HeatfleetError(f"{detail}; see the server's log")
