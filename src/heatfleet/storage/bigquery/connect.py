"""Google's clients for an address: with the credentials of the environment, or with none on this machine."""

from pathlib import Path
from typing import Any

import google.auth.credentials
import google.auth.exceptions
import grpc
from google.api_core.client_options import ClientOptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from heatfleet.domain.cloud import NO_CREDENTIALS
from heatfleet.errors import SetupError
from heatfleet.storage.bigquery.address import Address

MESSAGE_BYTES_MAX = 20 * 1024 * 1024
"""gRPC takes 4 MiB unless told; an answer that names bad rows may be longer."""
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, and waits for no old one's pause
    ("grpc.keepalive_time_ms", 60_000),  # so that the kernel gives up a connection that nobody acknowledges
)
SCHEMA_FOLDER = Path(__file__).with_name("schema")


def query_client(address: Address) -> bigquery.Client:
    """For queries and tables; a bare table name in SQL means one of the dataset. ``SetupError`` without credentials."""
    config = bigquery.QueryJobConfig(default_dataset=f"{address.project}.{address.dataset}")
    if address.rest is None:
        try:
            return bigquery.Client(address.project, default_query_job_config=config)
        except google.auth.exceptions.DefaultCredentialsError:
            raise SetupError(NO_CREDENTIALS) from None
    return bigquery.Client(
        address.project,
        credentials=google.auth.credentials.AnonymousCredentials(),  # type: ignore[no-untyped-call]
        default_query_job_config=config,
        client_options=ClientOptions(api_endpoint=f"http://{address.rest}"),
    )


def write_client(address: Address) -> BigQueryWriteClient:
    """For appends, over a connection of its own. ``SetupError`` without credentials."""
    if address.grpc is not None:
        channel = grpc.insecure_channel(address.grpc, CHANNEL_OPTIONS)
        return BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))

    def open_channel(host: str, **given: Any) -> grpc.Channel:
        return BigQueryWriteGrpcTransport.create_channel(host, **given | {"options": CHANNEL_OPTIONS})

    try:
        return BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=open_channel))
    except google.auth.exceptions.DefaultCredentialsError:
        raise SetupError(NO_CREDENTIALS) from None
