"""Fault tests share the whole server with the tests of the whole way."""

from tests.arrivals import appender as appender  # noqa: PLC0414 - fixtures, for all here
from tests.arrivals import arrivals as arrivals  # noqa: PLC0414
from tests.path.conftest import start_whole_server as start_whole_server  # noqa: PLC0414 - a fixture, for all here
