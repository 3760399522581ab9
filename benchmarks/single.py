"""What one message costs: one per POST, durable at the answer, as devices send them.

Watches the way from the socket to the commit and back: parsing HTTP, decoding, checks, the wait for a shared `fsync`.
The rollup is not in it, for that works a minute later in another process; `rollup` measures it.
"""

from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.rounds import as_result, post_in_rounds
from benchmarks.servers import heatfleet, peer

CONNECTIONS = 64


def measure(options: Options) -> Result:
    """Heatfleet beside what people write instead."""
    targets = [heatfleet(), peer("careful"), peer("naive")]
    rounds = post_in_rounds(targets, options, batches=False, connections=CONNECTIONS)
    return as_result(f"single: one message per POST, {CONNECTIONS} connections", rounds, beside="naive")
