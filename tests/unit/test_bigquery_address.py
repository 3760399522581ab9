"""The address of a store in BigQuery: each bad one is told with what to write instead."""

import pytest

from heatfleet.errors import SetupError
from heatfleet.storage.bigquery.address import Address


def test_a_dataset_has_an_address() -> None:
    """At Google, or on this machine for those who try."""
    here = "rest=127.0.0.1:9050&grpc=localhost:9060"

    assert Address("my-project", "heat") == Address.of("bigquery://my-project/heat")
    assert Address("my-project", "heat", "127.0.0.1:9050", "localhost:9060") == Address.of(
        f"bigquery://my-project/heat?{here}"
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bigquery://my-project", "write bigquery://PROJECT/DATASET"),
        ("bigquery:///heat", "write bigquery://PROJECT/DATASET"),
        ("bigquery://[/heat", "write bigquery://PROJECT/DATASET"),
        ("bigquery://my-project/heat#it", "write bigquery://PROJECT/DATASET"),
        ("bigquery://P/heat", "a project's id is"),
        ("bigquery://my-project/heat-fleet", "a dataset's name is"),
        ("bigquery://my-project/heat?rest=127.0.0.1:1", "rest=HOST:PORT&grpc=HOST:PORT"),
        ("bigquery://my-project/heat?rest=127.0.0.1:1&grpc=10.0.0.1:1", "a server on this machine"),
        ("bigquery://my-project/heat?rest=127.0.0.1&grpc=127.0.0.1:1", "a server on this machine"),
    ],
)
def test_a_bad_address_is_told_how_to_be_written(url: str, said: str) -> None:
    """What is wrong with it, by the name of the setting."""
    with pytest.raises(SetupError) as refused:
        Address.of(url)

    assert str(refused.value).startswith("HEATFLEET_STORE: ")
    assert said in str(refused.value)
