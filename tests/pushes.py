"""Pushes as Pub/Sub sends them."""

import base64
import json
from typing import Any

import httpx2

from tests.serving import RunningServer

PATH = "/pubsub/push"


def envelope(data: bytes, **fields: Any) -> dict[str, Any]:
    """A message in the envelope of a push, as the documentation of Pub/Sub shows it."""
    told = {
        "data": base64.b64encode(data).decode(),
        "attributes": {"source": "gateway-7"},
        "messageId": "2070443601311540",
        "message_id": "2070443601311540",
        "publishTime": "2021-02-26T19:13:55.749Z",
        "publish_time": "2021-02-26T19:13:55.749Z",
        "orderingKey": "d1",
    }
    return {"message": told | fields, "subscription": "projects/p/subscriptions/readings-push", "deliveryAttempt": 1}


def push(server: RunningServer, content: bytes | dict[str, Any], token: str = "", **headers: str) -> httpx2.Response:
    """A request of Pub/Sub's: bytes as they are, anything else as JSON. Underscores in header names mean dashes."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    sent = {"Content-Type": "application/json", "User-Agent": "APIs-Google"}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post(PATH, content=body, headers=sent | named)


def slug(answer: httpx2.Response) -> tuple[int, str]:
    """The status of a refusal and the problem it names."""
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")
