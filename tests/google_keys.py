"""Google's accounts in little: keys of our own that sign tokens, and a server that publishes their certificates."""

import datetime as dt
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt

from tests.serving import RunningServer

AUDIENCE = "https://heatfleet.example/pubsub/push"
ACCOUNT = "pusher@project.iam.gserviceaccount.com"


class Key:
    """A key and its certificate."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        now = dt.datetime.now(dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .sign(private, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
            .decode()
        )
        self.private = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def token(self, **claims: Any) -> str:
        """A token as Pub/Sub shows it; a claim of ``None`` is left out, and ``kid`` is not one of the claims."""
        now_s = int(time.time())
        usual = {
            "iss": "https://accounts.google.com",
            "aud": AUDIENCE,
            "azp": "113774264463038321964",
            "sub": "113774264463038321964",
            "email": ACCOUNT,
            "email_verified": True,
            "iat": now_s,
            "exp": now_s + 3600,
        }
        key_id = claims.pop("kid", self.key_id)
        told = {name: value for name, value in (usual | claims).items() if value is not None}
        signer = crypt.RSASigner.from_string(self.private, key_id)  # type: ignore[no-untyped-call]
        signed: bytes = jwt.encode(signer, told)  # type: ignore[no-untyped-call]
        return signed.decode()


class Certificates(ThreadingHTTPServer):
    """Publishes the certificates of ``keys``, or answers something else: another ``status``, another ``body``."""

    body: bytes | None = None

    def __init__(self, *keys: Key) -> None:
        self.keys, self.status, self.fetched = list(keys), 200, 0
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/certs"


class _Answer(BaseHTTPRequestHandler):
    server: Certificates

    def do_GET(self) -> None:
        self.server.fetched += 1
        body = self.server.body
        if body is None:
            body = json.dumps({key.key_id: key.certificate for key in self.server.keys}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name is inherited
        pass


@contextmanager
def published(*keys: Key) -> Iterator[Certificates]:
    """A server that publishes these."""
    with Certificates(*keys) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class PushServer(RunningServer):
    """A server that takes pushes with tokens of ours, and whose certificates come from us; no setting can do that."""

    token = ""
    """One that is good, for tests that keep it here."""

    def __init__(self, folder: Path, certificates: Certificates, *, pause_s: float = 0.2, **settings: Any) -> None:
        self.script = (
            "import os; os.environ['NO_PROXY'] = '127.0.0.1'\n"
            "from heatfleet.messaging.pubsub import tokens\n"
            f"tokens.CERTS_URL, tokens.PAUSE_S = {certificates.url!r}, {pause_s}\n" + RunningServer.script
        )
        super().__init__(folder, **({"push_audience": AUDIENCE, "push_account": ACCOUNT} | settings))
