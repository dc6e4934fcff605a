"""TLS between services, where the settings name certificates: both sides of a connection then show one of one CA."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import grpc
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from singscript_core.errors import InvalidInput


class TlsSettings(BaseSettings):
    """Read from `SINGSCRIPT_<FIELD>`: all three, or none of them."""

    # Empty is as if it were left out: compose files can pass them on.
    model_config = SettingsConfigDict(env_prefix="SINGSCRIPT_", extra="ignore", frozen=True, env_ignore_empty=True)

    tls_cert: Path | None = Field(
        default=None,
        description="PEM file: the certificate that this process shows, with those between it and the CA's. It names "
        "the hosts at which the process is dialled.",
    )
    tls_key: Path | None = Field(default=None, description="PEM file: its private key, not encrypted.")
    tls_ca: Path | None = Field(
        default=None,
        description="PEM file: the CA whose certificates others must show. With it and the two above services are "
        "spoken to over TLS only; all three or none.",
    )


class TlsUnusable(InvalidInput):
    """The settings of TLS name files that cannot be used, or not all that are needed."""

    reason = "TLS_UNUSABLE"


@dataclass(frozen=True)
class Identity:
    """What a process shows to others, and whom it believes; PEM each."""

    cert: bytes
    key: bytes = field(repr=False)
    ca: bytes

    def for_channel(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.ca, self.key, self.cert)

    def for_server(self, *, asks_clients: bool) -> grpc.ServerCredentials:
        """Args:
        asks_clients: whether clients need a certificate of the CA.
        """
        ca = self.ca if asks_clients else None
        return grpc.ssl_server_credentials([(self.key, self.cert)], ca, require_client_auth=asks_clients)


def identity() -> Identity | None:
    """That of this process; None: it speaks no TLS. The files are read once.

    Raises:
        TlsUnusable: settings are missing, or what they name cannot be used.
    """
    settings = TlsSettings()
    return _loaded(settings.tls_cert, settings.tls_key, settings.tls_ca)


@cache
def _loaded(cert: Path | None, key: Path | None, ca: Path | None) -> Identity | None:
    paths = {"CERT": cert, "KEY": key, "CA": ca}
    missing = [f"SINGSCRIPT_TLS_{name}" for name, path in paths.items() if path is None]
    if len(missing) == len(paths):
        return None
    if cert is None or key is None or ca is None:
        raise TlsUnusable(f"TLS needs {' and '.join(missing)}, too. Set all three, or none.")
    files = {name: _read(f"SINGSCRIPT_TLS_{name}", path) for name, path in paths.items() if path is not None}
    for name in ("CERT", "CA"):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=files[name].decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError):
            raise TlsUnusable(f"SINGSCRIPT_TLS_{name}: {paths[name]} holds no certificate in PEM.") from None
    try:
        # A password that is not asked for at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsUnusable(
                "The key of SINGSCRIPT_TLS_KEY is not that of the certificate of SINGSCRIPT_TLS_CERT."
            ) from None
        message = f"SINGSCRIPT_TLS_KEY: {key} holds no private key in PEM, or an encrypted one."
        raise TlsUnusable(message) from None
    return Identity(files["CERT"], files["KEY"], files["CA"])


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(f"{name}: {path} cannot be read ({error.strerror}).") from None
