"""Messages as hypothesis makes them up: of any kind, or good but for one part."""

from typing import Any

from hypothesis import strategies as st

from heatfleet.domain.slots import DAY_MS
from tests.serving import message

NOW_MS = 1_768_068_000_000
OLDEST_MS = NOW_MS - 30 * DAY_MS

text = st.text("ab\0é\u2028😀", max_size=3)
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
anything: st.SearchStrategy[Any] = (
    scalar | st.lists(scalar, max_size=2) | st.dictionaries(text, scalar | st.just([{}]), max_size=2)
)
ids = st.sampled_from(["d1", "a.b_c:D-9", "x" * 64, "x" * 65, "", "é", "d 1"]) | anything
times = (
    st.sampled_from(
        [NOW_MS, NOW_MS + 300_000, NOW_MS + 300_001, OLDEST_MS, OLDEST_MS - 1, 946_684_800_000, 946_684_799_999]
    )
    | anything
)
values = (
    st.sampled_from([0, -0.0, -1, 100_000, 100_000.5, 2**63, 10**400, 1e-300, True, "5", -60, 100, 100.1]) | anything
)


def fields(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object in which any of the fields may be missing."""
    return st.fixed_dictionaries({}, optional=strategies)


properties = fields(
    code=st.sampled_from(["instant_power", "temp_interior", "switch", "INSTANT_POWER"]) | anything,
    time=times,
    value=values,
    dpId=anything,
    other=anything,
)
messages = fields(
    bizCode=st.sampled_from(["devicePropertyMessage", "deviceOnline"]) | anything,
    bizData=fields(devId=ids, productId=ids, properties=st.lists(properties, max_size=3) | anything, other=anything)
    | anything,
    ts=times,
    dataId=anything,
    other=anything,
)


good_properties: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"code": "instant_power", "time": NOW_MS, "value": 5},
        {"code": "instant_power", "value": 99_999.5, "dpId": 1},
        {"code": "temp_interior", "time": NOW_MS - 1, "value": -0.0},
        {"code": "switch", "time": None, "value": {"deep": [None]}},
    ]
)


@st.composite
def nearly_good(draw: st.DrawFn) -> dict[str, Any]:
    """A good message, in which one part may be replaced."""
    told = draw(st.lists(good_properties, max_size=3))
    one = message("d1", ts=NOW_MS, dataId=draw(anything))
    data = one["bizData"] | {"properties": told}
    match draw(st.sampled_from(["nothing", "property", "data", "envelope"])):
        case "property":
            told.append({**draw(good_properties), **draw(properties)})
        case "data":
            data |= draw(fields(devId=ids, productId=ids, properties=anything, other=anything))
        case "envelope":
            one |= draw(fields(bizCode=anything, ts=times, other=anything))
    return one | {"bizData": data}
