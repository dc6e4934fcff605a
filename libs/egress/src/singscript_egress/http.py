"""HTTP requests that connect to public addresses only, or to hosts that the operator opened."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore

from singscript_core.errors import InvalidInput, Rejected, TimedOut, Unavailable
from singscript_egress.addresses import AllowList, BlockedAddress, is_public

# Of several addresses that a name has, one that does not answer leaves time for the others.
_CONNECT_S = 3.0


class InvalidAddress(InvalidInput):
    """What was given is no http or https address."""

    reason = "INVALID_ADDRESS"


class Unreachable(Unavailable):
    """No connection, or one that broke or that nobody can trust; retried."""

    reason = "UNREACHABLE"


class AnswerTooLarge(Rejected):
    """The answer has more bytes than the limit; metadata: limit_bytes."""

    reason = "ANSWER_TOO_LARGE"


class AnswerTimeout(TimedOut):
    """The whole answer did not come in time; metadata: limit_s."""

    reason = "ANSWER_TIMEOUT"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of `headers` are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def get(url: str, *, headers: Mapping[str, str], timeout_s: float, max_bytes: int, allow: AllowList) -> Answer:
    """The answer to one GET, whatever its status. Redirects are not followed; proxies of the environment are not used.

    Names are resolved once, and what is connected to is the address that was judged. TLS is verified by the name.

    Args:
        timeout_s: for everything together, from the name to the last byte.
        allow: hosts that may be connected to whatever their address.

    Raises:
        InvalidAddress, BlockedAddress, Unreachable, AnswerTooLarge, AnswerTimeout.
    """
    # Packed, a small answer could unfold to a large one.
    headers = {**headers, "Accept-Encoding": "identity"}
    async with _answering("GET", url, headers=headers, body=None, timeout_s=timeout_s, allow=allow) as response:
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > max_bytes:
                raise AnswerTooLarge(
                    f"The answer has more than {max_bytes} bytes, which is the limit here.",
                    metadata={"limit_bytes": str(max_bytes)},
                )
        return Answer(response.status, _fields(response), bytes(body))


async def post(url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float, allow: AllowList) -> Answer:
    """The answer to one POST, without its body, which is not read. All else, also what is raised, as `get`."""
    async with _answering("POST", url, headers=headers, body=body, timeout_s=timeout_s, allow=allow) as response:
        return Answer(response.status, _fields(response), b"")


def _fields(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


@asynccontextmanager
async def _answering(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_s: float,
    allow: AllowList,
) -> AsyncGenerator[httpcore.Response]:
    """The answer with its headers read; `timeout_s` goes on while the context is open."""
    _check(url)
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpcore.AsyncConnectionPool(network_backend=_Network(allow), keepalive_expiry=0) as pool,
            pool.stream(method, url, headers={**headers}, content=body) as response,
        ):
            yield response
    except TimeoutError as error:
        raise AnswerTimeout(
            f"The answer took longer than {timeout_s:g} s. Try again later.", metadata={"limit_s": f"{timeout_s:g}"}
        ) from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise Unreachable("The address could not be reached, or its answer broke off. Try again later.") from error


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isascii()
        right = right and parts.username is None and url.isprintable() and " " not in url
    except ValueError:
        right = False
    if not right:
        raise InvalidAddress("That is no http or https address. Give one such as https://example.com/path.")


class _Network(httpcore.AsyncNetworkBackend):
    """Resolves a name once, and connects to no other address than those that may be connected to."""

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        # Any: httpcore shows its type only where anyio is known to be there.
        self._network: Any = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's own signature)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("the name has no address") from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        if not self._allow.permits(host, port):
            addresses = [address for address in addresses if is_public(address)]
        if not addresses:
            raise BlockedAddress("The address is not on the public internet, and is not connected to.")
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, _CONNECT_S, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)
