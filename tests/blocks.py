"""What packed blocks hold, as readings."""

from collections.abc import Iterable

from heatfleet.domain.messages import Reading
from heatfleet.storage.block import Block, unpack


def readings_in(blocks: Iterable[Block]) -> list[Reading]:
    """All readings of all blocks, in order."""
    readings: list[Reading] = []
    for block in blocks:
        columns = unpack(block.body)
        devices = columns.device_names.decode().split("\n")
        products = columns.product_names.decode().split("\n")
        rows = zip(
            devices, products, columns.code.tolist(), columns.time_ms.tolist(), columns.value.tolist(), strict=True
        )
        readings += [Reading(*row) for row in rows]
    return readings
