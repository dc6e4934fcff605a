"""Which addresses may be connected to: those of the public internet, and those that the operator names."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from singscript_core.errors import Rejected

_NOT_PUBLIC_V4 = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # some versions of Python call parts of it global
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays to tunnels
    ipaddress.IPv4Network("168.63.129.16/32"),  # the host agent of one cloud: answers only from inside
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Tunnels that carry an IPv4 address inside: nobody serves media there.
_TUNNELS_V6 = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))


class BlockedAddress(Rejected):
    """The link leads to an address that is not of the public internet."""

    reason = "BLOCKED_ADDRESS"


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 literal is an address of the public internet.

    An IPv4 address inside an IPv6 one (mapped, NAT64) counts as that IPv4 address. What is no literal is not public.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif ip not in _GLOBAL_V6 or any(ip in tunnel for tunnel in _TUNNELS_V6):
            return False
    if isinstance(ip, ipaddress.IPv4Address) and any(ip in network for network in _NOT_PUBLIC_V4):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def literal(host: str) -> str | None:
    """The address that a URL's host spells in any of the ways a resolver accepts (`127.1`, `0x7f.1`), or None."""
    bare = host.strip("[]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(bare))
    except (OSError, ValueError):
        return None


def _is_v6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _normal(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


@dataclass(frozen=True, slots=True)
class AllowList:
    """Hosts that may be connected to although their address is not public; the port is None for any port."""

    hosts: frozenset[tuple[str, int | None]]

    @classmethod
    def parse(cls, text: str) -> AllowList:
        """Reads `host, host:port, [v6]:port, v6`; raises ValueError that names a wrong entry."""
        hosts: set[tuple[str, int | None]] = set()
        for entry in filter(None, (part.strip() for part in text.split(","))):
            host, colon, port = entry.rpartition(":")
            if not colon or entry.endswith("]") or (":" in host and not host.endswith("]")):
                host, port = entry, ""
            bare = host.strip("[]")
            right_host = _is_v6(bare) if ":" in bare else bool(bare) and "/" not in bare
            right_port = port == "" or (port.isdecimal() and 0 < int(port) < 65536)
            if not right_host or not right_port:
                raise ValueError(f"{entry!r} is neither a host nor host:port")
            hosts.add((_normal(host), int(port) if port else None))
        return cls(frozenset(hosts))

    def permits(self, host: str, port: int) -> bool:
        """Whether the operator opened this host, by the name (or literal) that the link gives."""
        return not self.hosts.isdisjoint({(_normal(host), None), (_normal(host), port)})


def _readable(text: str) -> str:
    AllowList.parse(text)
    return text


AllowedHosts = Annotated[str, AfterValidator(_readable)]
"""A setting that `AllowList.parse` can read."""
