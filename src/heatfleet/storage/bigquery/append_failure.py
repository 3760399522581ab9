"""What goes wrong with an append, and what it means: send it again, set rows aside, or tell somebody."""

from collections.abc import Mapping

from google.cloud.bigquery_storage_v1.types import AppendRowsResponse
from grpc import StatusCode

from heatfleet.errors import StoreUnavailable

REASON_LENGTH_MAX = 1000
BAD_ROWS_MAX = 5000
"""More bad rows of one request are left to be named again: so many fit into one request, with the reasons."""

_CODES: Mapping[int, StatusCode] = {code.value[0]: code for code in StatusCode}
_HOPELESS = {
    StatusCode.PERMISSION_DENIED: "BigQuery does not let this server append readings: give its account the role "
    "roles/bigquery.dataEditor on the dataset",
    StatusCode.UNAUTHENTICATED: "BigQuery does not know who this server is: look at its Google credentials",
    StatusCode.NOT_FOUND: "the dataset has no table for readings: run heatfleet cloud init",
    StatusCode.UNIMPLEMENTED: "what answers in BigQuery's place knows no Storage Write API: look at HEATFLEET_STORE",
}
_OTHER_TABLE = (
    "BigQuery refuses the readings, most likely because a table has not the columns that this version writes: "
    "run heatfleet cloud init; the log has BigQuery's words"
)
_DOUBTFUL = {StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION, StatusCode.OUT_OF_RANGE}
"""May be cured by a new connection, which learns the table's columns anew; if not, it is for good."""


class AppendFailed(Exception):
    """An append that nobody has answered for with a yes; the rows may be there all the same."""

    def __init__(self, code: StatusCode, detail: str | None) -> None:
        super().__init__(f"{code.name}: {detail or 'without a word'}")
        self.code = code

    def refusal(self, tries: int) -> StoreUnavailable | None:
        """What to tell after so many tries if another one is of no use; ``None`` if it may be."""
        if self.code in _HOPELESS:
            return StoreUnavailable(_HOPELESS[self.code], retry_after_s=60)
        if self.code in _DOUBTFUL and tries > 1:
            return StoreUnavailable(_OTHER_TABLE, retry_after_s=60)
        return None

    def too_late(self) -> StoreUnavailable:
        """What to tell when there is no time for another try."""
        if self.code is StatusCode.RESOURCE_EXHAUSTED:
            msg = "BigQuery takes no more readings now: a quota of the project is used up; send these again later"
            return StoreUnavailable(msg, retry_after_s=10)
        msg = f"BigQuery did not take the readings in time ({self.code.name}); send these again later"
        return StoreUnavailable(msg, retry_after_s=5)


def bad_rows(answer: AppendRowsResponse) -> dict[int, str]:
    """The places of rows for whose sake a request was refused as a whole, each with the reason; mostly none."""
    errors = AppendRowsResponse.pb(answer).row_errors[:BAD_ROWS_MAX]
    return {error.index: error.message[:REASON_LENGTH_MAX] for error in errors}


def check(answer: AppendRowsResponse) -> None:
    """Raise ``AppendFailed`` unless the answer is a yes."""
    plain = AppendRowsResponse.pb(answer)
    if plain.WhichOneof("response") != "append_result":
        raise AppendFailed(_CODES.get(plain.error.code, StatusCode.UNKNOWN), plain.error.message)
