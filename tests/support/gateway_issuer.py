"""An OIDC issuer on loopback, with keys made here."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "singscript"
RSA = rsa.generate_private_key(65537, 2048)
STRANGERS = rsa.generate_private_key(65537, 2048)
SMALL = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
RSA_JWK = RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)
EC_JWK = ECAlgorithm.to_jwk(EC.public_key(), as_dict=True)
ED_JWK = OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True)


class LocalIssuer:
    """Answers what a test sets, and counts how often it was asked for its keys."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [
            *(RSA_JWK | {"kid": "rsa", "use": "sig"}, EC_JWK | {"kid": "ec"}, ED_JWK | {"kid": "ed"}),
            RSAAlgorithm.to_jwk(SMALL.public_key(), as_dict=True) | {"kid": "small"},
            {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")},
            RSA_JWK | {"kid": "enc", "use": "enc"},
        ]
        self.changes: dict[str, Any] = {}
        self.padding = b""
        self.down = False
        self.fetches = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if issuer.down:
                    self.send_error(500)
                    return
                if self.path == "/.well-known/openid-configuration":
                    body = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"} | issuer.changes
                else:
                    issuer.fetches += 1
                    body = {"keys": issuer.keys}
                content = json.dumps(body).encode() + issuer.padding
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                # Whoever asked may have had enough.
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def token(self, key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa", **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "someone", "exp": now + 300, "iat": now} | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


@contextlib.contextmanager
def issuing() -> Iterator[LocalIssuer]:
    """A running issuer."""
    issuer = LocalIssuer()
    thread = threading.Thread(target=issuer.server.serve_forever)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.server.shutdown()
        thread.join()
        issuer.server.server_close()
