"""A key that is for some devices knows of no others."""

import json
from collections.abc import Iterator

import pytest

from heatfleet.domain.access import Bounds
from tests.keys import bearer, make_key, wait_until_known
from tests.serving import RunningServer, message, ndjson

ORDER = {"device_id": "d1", "switch": True}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str, str]]:
    """A server that knows devices of two owners, a key for one's devices, and one for a product of the other."""
    server = RunningServer(tmp_path_factory.mktemp("bound"))
    posted = [message(name) for name in ("fr-1", "fr-2", "de-1")]
    posted[2]["bizData"]["productId"] = "q1"
    assert server.post(posted).json()["inserted"] == 3
    server.rollup()
    french, _ = make_key(server.store_url, "ingest", "command:bulk", "report", bounds=Bounds("fr-", ""))
    of_product, _ = make_key(server.store_url, "ingest", "command:bulk", "report", bounds=Bounds("", "q"))
    wait_until_known(server, french)
    yield server, french, of_product
    server.close()


def test_a_bound_key_reads_only_its_own(bound: tuple[RunningServer, str, str]) -> None:
    """Devices of others are as if nobody had heard of them."""
    server, french, of_product = bound

    def get(path: str, key: str) -> tuple[int, str]:
        answer = server.client.get(path, headers=bearer(key))
        return answer.status_code, answer.text

    for key, own, foreign in ((french, "fr-1", "de-1"), (of_product, "de-1", "fr-1")):
        assert 200 == get(f"/devices/{own}", key)[0]
        assert get("/devices/nobody", key) == get(f"/devices/{foreign}", key)
        assert 200 == get(f"/report?device_id={own}", key)[0]
        assert get("/report?device_id=nobody", key) == get(f"/report?device_id={foreign}", key)
        assert 404 == get(f"/report?device_id={foreign}", key)[0]
        assert 403 == get("/report", key)[0]
        assert 403 == get("/report/temperature", key)[0]
    assert 403 == get("/report?product_id=q1", french)[0]
    assert 200 == get("/report?product_id=q1", of_product)[0]
    assert 404 == get("/report?product_id=p1", of_product)[0]
    listed = {
        key: [device["device_id"] for device in json.loads(get("/devices", key)[1])["devices"]]
        for key in (french, of_product)
    }
    assert {french: ["fr-1", "fr-2"], of_product: ["de-1"]} == listed


@pytest.mark.parametrize("count", [2, 2000])
@pytest.mark.parametrize("as_lines", [True, False])
def test_a_bound_key_writes_only_its_own(bound: tuple[RunningServer, str, str], count: int, as_lines: bool) -> None:
    """Messages of other devices are refused by index, on the small way and by the decoders."""
    server, french, _ = bound
    batch = [message("fr-1"), message("de-1")] * (count // 2)
    body = ndjson(*batch) if as_lines else json.dumps(batch).encode()
    kind = "application/x-ndjson" if as_lines else "application/json"

    answer = server.post(body, Content_Type=kind, **bearer(french)).json()

    assert count // 2 == answer["inserted"]
    assert list(range(1, count, 2)) == [rejected["index"] for rejected in answer["rejected"]]
    assert {"/problems/foreign-device"} == {rejected["type"] for rejected in answer["rejected"]}


def test_a_bound_key_and_one_message(bound: tuple[RunningServer, str, str]) -> None:
    """One message of another's device is refused; its own is stored."""
    server, french, of_product = bound

    for key, own, foreign in ((french, "fr-1", "de-1"), (of_product, "de-1", "fr-1")):
        mine, theirs = message(own), message(foreign)
        mine["bizData"]["productId"] = "q1" if own == "de-1" else "p1"
        assert 200 == server.post(mine, **bearer(key)).status_code
        refused = server.post(theirs, **bearer(key))
        assert (403, "/problems/foreign-device") == (refused.status_code, refused.json()["type"])


def test_a_bound_key_switches_only_its_own(bound: tuple[RunningServer, str, str]) -> None:
    """The order, what became of it, and the stream: all of others' devices are unknown to it."""
    server, french, of_product = bound
    client = server.client
    for key, own, foreign in ((french, "fr-1", "de-1"), (of_product, "de-1", "fr-1")):
        headers = bearer(key)
        sent = client.post("/send", json={"device_id": own, "switch": True}, headers=headers)
        assert 200 == sent.status_code
        other = bearer(of_product if key == french else french)
        place = sent.headers["Location"]
        assert 200 == client.get(place, headers=headers).status_code
        unknown = client.get("/commands/nobody", headers=other)
        assert (404, unknown.json()) == ((theirs := client.get(place, headers=other)).status_code, theirs.json())

        for device in (foreign, "nobody"):
            refused = client.post("/send", json={"device_id": device, "switch": True}, headers=headers)
            assert (404, "/problems/not-found") == (refused.status_code, refused.json()["type"])
        for query, status in (
            ({"device_id": own}, 200),
            ({"device_id": foreign}, 404),
            ({"device_id": [own, foreign]}, 404),
            ({"product_id": "p1"}, 403 if key == french else 404),
            ({"product_id": "q1"}, 403 if key == french else 200),
        ):
            with client.stream("GET", "/commands/stream", params=query, headers=headers) as answer:
                assert status == answer.status_code, query
