"""The wire: names of devices and products, and messages as the devices' cloud would post them.

A message is a row of a NumPy array until the last moment, 40 bytes instead of 300, and becomes JSON when it
is sent. The shape is fixed, so the JSON is put together from pieces; ``json`` would take five times as long.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

NOT_SAID = -32_768
"""In a row: the message does not carry this property."""

MESSAGE = np.dtype(
    [
        ("arrival_ms", np.int64),  # when it reaches the service, by true time
        ("time_ms", np.int64),  # when it was measured, by the clock of the device
        ("true_ms", np.int64),  # the same by true time
        ("device", np.int32),  # index in the fleet, from 0
        ("number", np.int32),  # counts the messages of this device
        ("power_w", np.int16),
        ("tenths_c", np.int16),
        ("switch", np.int16),  # 0, 1 or NOT_SAID
        ("latency_ms", np.int16),  # from the measurement to the cloud
    ]
)
Messages = NDArray[np.void]

PRODUCTS = 4
_LOWEST_TENTHS = -600
_TEMPERATURES = [b"%.1f" % (tenths / 10) for tenths in range(_LOWEST_TENTHS, 1001)]
_SWITCH = (b"false", b"true")
_BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def device_id(seed: int, number: int) -> str:
    """The id of a device: 22 characters like Tuya's, but beginning with ``sim``."""
    return "sim" + _letters(f"device {seed} {number}", 19)


def product_ids(seed: int) -> list[str]:
    """The heater models of a seed's fleet: 16 characters each, beginning with ``sim``."""
    return ["sim" + _letters(f"product {seed} {number}", 13) for number in range(PRODUCTS)]


def _letters(text: str, length: int) -> str:
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())
    letters = []
    for _ in range(length):
        number, rest = divmod(number, len(_BASE_36))
        letters.append(_BASE_36[rest])
    return "".join(letters)


class Wire:
    """Turns rows into NDJSON lines for one fleet."""

    def __init__(self, seed: int, first_device: int, devices: int) -> None:
        products = product_ids(seed)
        numbers = range(first_device, first_device + devices)
        self.device_ids = [device_id(seed, number) for number in numbers]
        self.product_ids = [products[number % PRODUCTS] for number in numbers]
        self._before = [
            b'{"bizCode":"devicePropertyMessage","bizData":{"dataId":"%s-' % name[-12:].encode()
            for name in self.device_ids
        ]
        self._middle = [
            b'","devId":"%s","productId":"%s","properties":[{"code":' % (name.encode(), product.encode())
            for name, product in zip(self.device_ids, self.product_ids, strict=True)
        ]

    def lines(self, rows: Messages) -> list[bytes]:
        """The rows as JSON lines, each ending in a newline, in the same order."""
        before, middle = self._before, self._middle
        columns = ("device", "number", "time_ms", "power_w", "tenths_c", "switch", "latency_ms")
        return [
            b'%s%08x%s%s}]},"ts":%d}\n'
            % (
                before[device],
                number,
                middle[device],
                _properties(time, power, tenths, switch),
                time + latency,
            )
            for device, number, time, power, tenths, switch, latency in zip(
                *(rows[column].tolist() for column in columns), strict=True
            )
        ]


def _properties(time_ms: int, power_w: int, tenths_c: int, switch: int) -> bytes:
    """The list of properties, from after the first ``"code":`` up to before the last ``}``."""
    if tenths_c == NOT_SAID and switch == NOT_SAID:
        return b'"instant_power","dpId":1,"time":%d,"value":%d' % (time_ms, power_w)
    said = []
    if power_w != NOT_SAID:
        said.append(b'"instant_power","dpId":1,"time":%d,"value":%d' % (time_ms, power_w))
    if tenths_c != NOT_SAID:
        temperature = _TEMPERATURES[tenths_c - _LOWEST_TENTHS]
        said.append(b'"temp_interior","dpId":2,"time":%d,"value":%s' % (time_ms, temperature))
    if switch != NOT_SAID:
        said.append(b'"switch","dpId":3,"time":%d,"value":%s' % (time_ms, _SWITCH[switch]))
    return b'},{"code":'.join(said)
