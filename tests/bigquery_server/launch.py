"""Runs a local BigQuery: `python -m tests.bigquery_server.launch`, with the Python of its own environment.

It says the ports it listens on in one line of JSON, and ends when its standard input is closed: nothing is left over
when whoever started it dies, however that happens.
"""

import asyncio
import json
import os
import sys
import threading

from bqemulator.config import LogLevel, Settings
from bqemulator.server import EmulatorServer

from tests.bigquery_server import appends, engine, queries


def end_with_standard_input() -> None:
    """Ends the process at once when nobody holds the other end any more."""
    sys.stdin.buffer.read()
    os._exit(0)


async def serve() -> None:
    """Serve REST and gRPC on free ports of loopback until the process ends."""
    settings = Settings(
        rest_port=0,
        grpc_port=0,
        log_level=LogLevel.ERROR,
        enable_format_extensions=False,
        write_api_max_request_bytes=20_000_000,  # as in Google's table of quotas
    )
    server = EmulatorServer(settings)
    await server.start()
    print(json.dumps({"rest": server.rest_port, "grpc": server.grpc_port}), flush=True)  # noqa: T201 - to who started it
    await asyncio.Event().wait()


def main() -> None:
    """Mend what is wrong, then serve."""
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    engine.mend()
    queries.mend()
    appends.mend()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
