"""What a message costs when a gateway posts 10,000 at once, durable at the answer.

Watches decoding, checks and packing of many messages; HTTP and the commit are shared by all of a batch. Heatfleet takes
NDJSON; the peers take a JSON array, the usual way in FastAPI, and insert it with one `executemany`.
"""

from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.rounds import as_result, post_in_rounds
from benchmarks.servers import heatfleet, peer

CONNECTIONS = 4


def measure(options: Options) -> Result:
    """Heatfleet beside what people write instead."""
    targets = [heatfleet(), peer("careful"), peer("naive")]
    rounds = post_in_rounds(targets, options, batches=True, connections=CONNECTIONS)
    return as_result(f"batch: 10,000 messages per POST, {CONNECTIONS} connections", rounds, beside="naive")
