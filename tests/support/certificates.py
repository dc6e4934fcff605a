"""Certificates for tests of TLS, good ones and others.

ca = Authority()
environment = ca.issue("127.0.0.1").settings(folder)      # SINGSCRIPT_TLS_CERT, _KEY and _CA
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate, its key, and the CA of whoever has it; PEM each."""

    cert: bytes
    key: bytes
    ca: bytes

    def settings(self, folder: Path) -> dict[str, str]:
        """Writes the files; returns the environment of a process that is to have them."""
        place = folder / uuid4().hex
        place.mkdir(parents=True)
        files = {"CERT": self.cert, "KEY": self.key, "CA": self.ca}
        for name, content in files.items():
            (place / f"{name}.pem").write_bytes(content)
        return {f"SINGSCRIPT_TLS_{name}": str(place / f"{name}.pem") for name in files}


@dataclass
class Authority:
    """A CA."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    name: x509.Name = field(
        default_factory=lambda: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {uuid4().hex}")])
    )

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certified(self)

    def certified(self, other: Authority) -> bytes:
        """A certificate that makes another CA one of this one's."""
        ca = x509.BasicConstraints(ca=True, path_length=None)
        cert = self._signed(other.name, other.key, DAY).add_extension(ca, critical=True)
        return cert.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(self, *names: str, lasts: datetime.timedelta = DAY) -> Pair:
        """A certificate for hosts and addresses; one that `lasts` less than nothing has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = x509.SubjectAlternativeName([_host(name) for name in names])
        cert = (
            self._signed(x509.Name([]), key, lasts).add_extension(hosts, critical=True).sign(self.key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(cert.public_bytes(Encoding.PEM), private, self.pem)

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + lasts)
        )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
