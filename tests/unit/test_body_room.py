"""The memory that bodies under way share."""

import pytest

from heatfleet.api.body import Room
from heatfleet.errors import Overloaded


def test_bodies_share_a_bound() -> None:
    """What would go beyond it is refused for now; who is done gives all of his back, refused or not."""
    room = Room(10)
    with room.share() as first:
        first(6)
        with room.share() as second:
            second(4)
            with pytest.raises(Overloaded):
                second(1)
    with room.share() as third:
        third(10)
