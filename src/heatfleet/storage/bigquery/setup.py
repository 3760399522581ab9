"""Makes the tables of a store. The server itself never does: it needs fewer rights than this."""

from google.api_core import exceptions
from google.cloud import bigquery

from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import SCHEMA_FOLDER

CALL_S = 30.0


def create_tables(client: bigquery.Client, address: Address, location: str | None = None) -> None:
    """Make the dataset and what of its tables is not there yet; may be run again at any time.

    ``location`` is where a new dataset lies, such as ``EU``; one that is there stays where it is. Cut off anywhere, or
    run twice at once, it does no harm. What Google denies is raised as it comes.
    """
    name = f"{address.project}.{address.dataset}"
    try:
        dataset = client.get_dataset(name, timeout=CALL_S)  # one who may not make datasets may make tables in one
    except exceptions.NotFound:
        wanted = bigquery.Dataset(name)
        if location is not None:
            wanted.location = location
        dataset = client.create_dataset(wanted, exists_ok=True, timeout=CALL_S)
    for path in sorted(SCHEMA_FOLDER.glob("*.sql")):
        client.query(path.read_text(encoding="utf-8"), location=dataset.location).result()
