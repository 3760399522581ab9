"""What connections share: remembered heads, deadlines, limits."""

from dataclasses import dataclass
from math import inf
from typing import cast

import pytest

from heatfleet.api.door import Hall, Limits, connections_max, heads
from heatfleet.api.door.heads import Heads, judge
from heatfleet.api.gate import Gate
from tests.door.wire import request

HEAD = request(b"")


@dataclass(eq=False)
class Client:
    """A connection as the sweep sees it."""

    due_s: float = inf
    read_due_s: float = inf
    expired: int = 0

    def expire(self) -> None:
        """Take note."""
        self.expired += 1
        self.due_s = inf


def hall_with(*clients: Client) -> Hall:
    hall = Hall(Limits())
    hall.connections = cast("set[object]", set(clients))  # type: ignore[assignment]
    hall.now_s = 100.0
    return hall


def test_only_who_is_late_is_told() -> None:
    """A deadline that has passed is told of, once; one to come and none are not."""
    late, soon, waiting, not_reading = Client(100.2), Client(100.3), Client(), Client(read_due_s=100.1)
    hall_with(late, soon, waiting, not_reading).sweep(100.25)

    assert [1, 0, 0, 1] == [client.expired for client in (late, soon, waiting, not_reading)]


def test_our_own_sleep_is_nobodys_delay() -> None:
    """After a stop of this process every deadline is as far away as it was before."""
    client = Client(101.0)
    hall = hall_with(client)
    hall.sweep(160.25)

    assert (0, 161.0) == (client.expired, client.due_s)

    for step in range(1, 5):
        hall.sweep(160.25 + step / 4)

    assert 1 == client.expired


def test_many_are_closed_in_steps() -> None:
    """A thousand clients that are late at once do not hold up the loop for all their closing."""
    clients = [Client(50.0) for _ in range(1000)]
    hall = hall_with(*clients)
    hall.sweep(100.25)

    assert 250 == sum(client.expired for client in clients)

    for step in range(2, 5):
        hall.sweep(100.0 + step / 4)

    assert [1] * 1000 == [client.expired for client in clients]


def test_heads_are_remembered_up_to_a_bound(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain head is judged once; what is not plain is not kept; the memory begins anew when it is full."""
    monkeypatch.setattr(heads, "HEADS_MAX", 3)
    known = Heads()
    some = [request(b"", X_Request_Id=str(number)) for number in range(5)]
    for head in some:
        assert known.learn(head, gate) == judge(head, gate) is not None
    known.learn(request(method="GET"), gate)

    assert some[3:] == list(known)


@pytest.mark.parametrize(
    "head",
    [
        request(b"", path="/message/"),
        request(b"", path="//message"),
        request(b"", method="PUT"),
        request(b"", version="1.0"),
        request(b"", kind="text/plain"),
        request(b"", Content_Length="12345678"),
        request(b"", Content_Length="8388609"),
        request(b"", Content_Length="+1"),
        request(b"", Content_Length=""),
        request(b"", Transfer_Encoding="chunked"),
        request(b"", Content_Encoding="identity"),
        request(b"", Expect="100-continue"),
        request(b"", Connection="close"),
        request(b"", Connection="keep-alive, TE"),
        request(b"", TE="trailers"),
        request(b"", Trailer="x"),
        request(b"", Upgrade="h2c"),
        request(b"", Host=""),
        request(b"", Host="a/b"),
        request(b"", accept="a", Accept="b"),
        HEAD[:-2] + b" folded: x\r\n\r\n",
        HEAD[:-2] + b"X : y\r\n\r\n",
        HEAD[:-2] + b"X: \0\r\n\r\n",
        HEAD.replace(b"\r\nHost", b"\nHost"),
        b"\r\n" + HEAD,
        HEAD[:-2],
        b"",
    ],
)
def test_heads_that_are_not_plain(gate: Gate, head: bytes) -> None:
    """Anything out of the ordinary is left to uvicorn."""
    assert judge(head, gate) is None


def test_room_for_connections() -> None:
    """Some files are left for other things than connections."""
    assert 1 <= connections_max() <= 8192
