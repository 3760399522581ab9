"""A fresh ledger of each kind."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.storage import open_ledger
from heatfleet.storage.base import Ledger
from tests.contract.ledgers import LEDGERS


@pytest.fixture(params=LEDGERS.values(), ids=list(LEDGERS))
def address(request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """How to give a ledger of each kind an address in a folder."""
    backend: Callable[[Path], str] = request.param
    return backend


@pytest.fixture
def url(address: Callable[[Path], str], tmp_path: Path) -> str:
    """The address of an empty ledger of each kind."""
    return address(tmp_path)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """An empty ledger of each kind, open for writing."""
    with closing(open_ledger(url)) as opened:
        yield opened
