"""The URL of a Pub/Sub bus, and what is missing where it cannot be opened."""

import sys

import pytest

from heatfleet.domain.commands import Command
from heatfleet.errors import SetupError
from heatfleet.messaging import open_bus
from heatfleet.messaging.pubsub.address import Address

GOOD = {
    "pubsub://my-project/send_command": Address("my-project", "send_command"),
    "pubsub://example.com:heaters/send_command": Address("example.com:heaters", "send_command"),
    "pubsub://my-project/t.0-9~+%25?emulator=127.0.0.1:8085": Address("my-project", "t.0-9~+%25", "127.0.0.1:8085"),
    "pubsub://my-project/send_command?emulator=localhost:8085": Address("my-project", "send_command", "localhost:8085"),
    "pubsub://my-project/send_command?emulator=[::1]:8085": Address("my-project", "send_command", "[::1]:8085"),
}
BAD = [
    "pubsub:",
    "pubsub://my-project",
    "pubsub://my-project/",
    "pubsub:///send_command",
    "pubsub://My_Project/send_command",
    "pubsub://my-project/googly",
    "pubsub://my-project/9lives",
    "pubsub://my-project/ab",
    "pubsub://my-project/topics/send_command",
    "pubsub://my-project/send_command#1",
    "pubsub://my-project/send_command?emulator=",
    "pubsub://my-project/send_command?emulator=127.0.0.1",
    "pubsub://my-project/send_command?emulator=pubsub.example.com:443",
    "pubsub://my-project/send_command?emulator=10.0.0.1:8085",
    "pubsub://my-project/send_command?emulator=127.0.0.1:8085&key=secret",
    "pubsub://my-project/send_command?key=secret",
    "pubsub://[/x",
]


@pytest.mark.parametrize(("url", "address"), GOOD.items(), ids=list(GOOD))
def test_what_a_url_means(url: str, address: Address) -> None:
    """A project and a topic, and for trying it a server on this machine."""
    assert address == Address.of(url)
    assert f"projects/{address.project}/topics/{address.topic}" == address.path


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_url_says_how_to_write_one(url: str) -> None:
    """Anything else is a mistake of the set-up, which says what is expected and repeats nothing of it."""
    words = r"HEATFLEET_BUS: write pubsub://PROJECT/TOPIC|must be a server on this machine"
    with pytest.raises(SetupError, match=words) as caught:
        open_bus(url)
    assert "secret" not in str(caught.value)


def test_without_the_library_it_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's libraries are optional; whoever asks for Pub/Sub without them is told how to get them."""
    for name in [name for name in sys.modules if name.startswith("heatfleet.messaging.pubsub")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "google.pubsub_v1", None)

    with pytest.raises(SetupError, match=r'pip install "heatfleet\[google\]"'):
        open_bus("pubsub://my-project/send_command")


async def test_without_credentials_orders_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without Google's credentials starts; its check and each refusal say how to get some."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "no-such-file.json")
    bus = open_bus("pubsub://my-project/send_command", clock=lambda: 0)

    assert "gcloud auth application-default login" in await bus.check()
    [refusal] = await bus.publish_many([Command("c1", "d1", None, True, 0, 1)], timeout_s=60)
    assert "gcloud auth application-default login" in str(refusal)
    await bus.close()
