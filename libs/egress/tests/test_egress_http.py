"""Requests over real sockets on loopback. Only what a name resolves to is faked, at `getaddrinfo`: no test reaches a
public address or a name server. Loopback counts as public where a test needs a server that may be connected to."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from singscript_core.errors import StageError
from singscript_egress import http
from singscript_egress.addresses import AllowList, BlockedAddress
from singscript_egress.http import Answer, AnswerTimeout, AnswerTooLarge, InvalidAddress, Unreachable, get, post

NOBODY = AllowList.parse("")
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request with the same bytes, and keeps what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        self.requests: list[str] = []


@asynccontextmanager
async def serve(
    reply: Reply | bytes, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Server]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            server.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, host, port, ssl=tls)
    server = Server(listening.sockets[0].getsockname()[1])
    async with listening:
        yield server


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def fetch(url: str, *, timeout_s: float = 20.0, max_bytes: int = 1000, allow: AllowList = NOBODY) -> Answer:
    return await get(url, headers={"User-Agent": "test/1"}, timeout_s=timeout_s, max_bytes=max_bytes, allow=allow)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Sequence[str]]]:
    """Answers of the faked name server, one after another; the last one stays."""
    answers: dict[str, list[Sequence[str]]] = {}
    real = socket.getaddrinfo

    def fake(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if host not in answers:
            return real(host, port, *args, **kwargs)
        found = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return answers


@pytest.fixture
def public_127_0_0_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.2 stands for a public address, the rest of loopback for what it is."""
    monkeypatch.setattr(http, "is_public", lambda address: address == "127.0.0.2")


async def test_an_opened_host_answers() -> None:
    async with serve(answer("200 OK", b"hello", "X-Thing: a")) as server:
        got = await fetch(f"http://127.0.0.1:{server.port}/a?b=c", allow=AllowList.parse(f"127.0.0.1:{server.port}"))
    assert (got.status, got.headers["x-thing"], got.body) == (200, "a", b"hello")
    assert server.requests[0].startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in server.requests[0]
    assert "User-Agent: test/1\r\n" in server.requests[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "[::ffff:127.0.0.1]", "inside.test"])
async def test_private_addresses_are_never_connected_to(host: str, names: dict[str, list[Sequence[str]]]) -> None:
    names["inside.test"] = [["127.0.0.1", "10.0.0.1", "::1"]]
    async with serve(answer("200 OK")) as server:
        with pytest.raises(BlockedAddress) as caught:
            await fetch(f"http://{host}:{server.port}/")
    assert server.connections == 0
    assert caught.value.reason == "BLOCKED_ADDRESS"


async def test_another_port_of_an_opened_host_is_closed() -> None:
    async with serve(answer("200 OK")) as server:
        with pytest.raises(BlockedAddress):
            await fetch(f"http://127.0.0.1:{server.port}/", allow=AllowList.parse("127.0.0.1:1"))
    assert server.connections == 0


@pytest.mark.usefixtures("public_127_0_0_2")
async def test_a_second_answer_of_the_name_server_changes_nothing(names: dict[str, list[Sequence[str]]]) -> None:
    names["rebind.test"] = [["127.0.0.2"], ["127.0.0.1"]]
    async with (
        serve(answer("200 OK", b"inside")) as inside,
        serve(answer("200 OK", b"outside"), "127.0.0.2", inside.port) as outside,
    ):
        got = await fetch(f"http://rebind.test:{inside.port}/")
        assert got.body == b"outside"
        with pytest.raises(BlockedAddress):
            await fetch(f"http://rebind.test:{inside.port}/")
    assert (inside.connections, outside.connections) == (0, 1)
    assert f"Host: rebind.test:{inside.port}" in outside.requests[0]


@pytest.mark.usefixtures("public_127_0_0_2")
async def test_of_several_addresses_only_public_ones_are_tried(names: dict[str, list[Sequence[str]]]) -> None:
    names["mixed.test"] = [["127.0.0.1", "127.0.0.2"]]
    async with (
        serve(answer("200 OK", b"inside")) as inside,
        serve(answer("200 OK", b"outside"), "127.0.0.2", inside.port),
    ):
        assert (await fetch(f"http://mixed.test:{inside.port}/")).body == b"outside"
    assert inside.connections == 0


async def test_an_address_that_refuses_leaves_the_next(names: dict[str, list[Sequence[str]]]) -> None:
    names["two.test"] = [["127.0.0.3", "127.0.0.1"]]
    async with serve(answer("200 OK", b"second")) as server:
        assert (await fetch(f"http://two.test:{server.port}/", allow=AllowList.parse("two.test"))).body == b"second"


async def test_a_redirect_comes_back_as_it_is() -> None:
    async with serve(answer("302 Found", b"", "Location: http://169.254.169.254/")) as server:
        got = await fetch(f"http://127.0.0.1:{server.port}/", allow=AllowList.parse("127.0.0.1"))
    assert (got.status, got.headers["location"]) == (302, "http://169.254.169.254/")
    assert server.connections == 1


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(answer("200 OK", b"proxy")) as proxy, serve(answer("200 OK", b"direct")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        got = await fetch(f"http://127.0.0.1:{server.port}/", allow=AllowList.parse("127.0.0.1"))
    assert got.body == b"direct" and proxy.connections == 0


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


async def test_a_dripping_body_ends_at_the_deadline() -> None:
    async with serve(drip) as server:
        with pytest.raises(AnswerTimeout) as caught:
            await fetch(f"http://127.0.0.1:{server.port}/", timeout_s=0.5, allow=AllowList.parse("127.0.0.1"))
    assert caught.value.retryable and caught.value.metadata == {"limit_s": "0.5"}


async def test_a_silent_server_ends_at_the_deadline() -> None:
    async def silent(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with serve(silent) as server:
        with pytest.raises(AnswerTimeout):
            await fetch(f"http://127.0.0.1:{server.port}/", timeout_s=0.3, allow=AllowList.parse("127.0.0.1"))


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("reply", [answer("200 OK", b"x" * 1001), endless], ids=["known length", "endless"])
async def test_a_body_over_the_limit_is_refused(reply: Reply | bytes) -> None:
    async with serve(reply) as server:
        with pytest.raises(AnswerTooLarge):
            await fetch(f"http://127.0.0.1:{server.port}/", allow=AllowList.parse("127.0.0.1"))


async def test_a_body_of_just_the_limit_comes() -> None:
    async with serve(answer("200 OK", b"x" * 1000)) as server:
        got = await fetch(f"http://127.0.0.1:{server.port}/", allow=AllowList.parse("127.0.0.1"))
    assert len(got.body) == 1000


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
async def test_what_breaks_off_is_unreachable(reply: bytes) -> None:
    async with serve(reply) as server:
        with pytest.raises(Unreachable) as caught:
            await fetch(f"http://127.0.0.1:{server.port}/", allow=AllowList.parse("127.0.0.1"))
    assert caught.value.retryable


async def test_nobody_listens_and_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable):
            await fetch(f"http://127.0.0.1:{free.getsockname()[1]}/", allow=AllowList.parse("127.0.0.1"))

    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unreachable):
        await fetch("http://nowhere.test/")


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "ftp://example.com/", "file:///etc/passwd", "http://", "http://:80/", "http://a:99999/",
        "http://a:0/", "http://user:S3CRET@example.com/", "http://a b/", "http://a/\r\nX: y", "http://[::1/", "http://ä/",
    ],
)  # fmt: skip
async def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        await fetch(url)
    assert isinstance(caught.value, StageError) and "S3CRET" not in caught.value.message


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate that signs itself, and what serves with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    from_day = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(from_day)
        .not_valid_after(from_day + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key_pem)
    return pem, context


async def test_tls_is_verified_by_the_name(
    tmp_path: Path, names: dict[str, list[Sequence[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["right.test"] = names["wrong.test"] = [["127.0.0.1"]]
    pem, tls = certificate(tmp_path, "right.test")
    allow = AllowList.parse("right.test,wrong.test")
    async with serve(answer("200 OK", b"sure"), tls=tls) as server:
        with pytest.raises(Unreachable):
            await fetch(f"https://right.test:{server.port}/", allow=allow)  # nobody vouches for it
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert (await fetch(f"https://right.test:{server.port}/", allow=allow)).body == b"sure"
        with pytest.raises(Unreachable):
            await fetch(f"https://wrong.test:{server.port}/", allow=allow)
    assert len(server.requests) == 1


async def send(url: str, *, body: bytes = b"{}", timeout_s: float = 20.0, allow: AllowList = NOBODY) -> int:
    answer = await post(url, headers={"Content-Type": "a/b"}, body=body, timeout_s=timeout_s, allow=allow)
    return answer.status


async def test_a_post_sends_its_body_whole() -> None:
    got = bytearray()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST /in HTTP/1.1\r\n") and b"\r\nContent-Type: a/b\r\n" in head
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        got.extend(await reader.readexactly(length))
        writer.write(answer("204 No Content"))
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        body = bytes(range(256)) * 1000
        assert await send(f"http://127.0.0.1:{port}/in", body=body, allow=AllowList.parse("127.0.0.1")) == 204
    assert got == body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]", "inside.test"])
async def test_a_post_reaches_no_private_address(host: str, names: dict[str, list[Sequence[str]]]) -> None:
    names["inside.test"] = [["127.0.0.1", "10.0.0.1", "::1"]]
    async with serve(answer("200 OK")) as server:
        with pytest.raises(BlockedAddress):
            await send(f"http://{host}:{server.port}/")
    assert server.connections == 0


async def test_a_post_follows_no_redirect() -> None:
    async with serve(answer("200 OK")) as other:
        away = answer("307 Temporary Redirect", b"", f"Location: http://127.0.0.1:{other.port}/")
        async with serve(away) as server:
            assert await send(f"http://127.0.0.1:{server.port}/", allow=AllowList.parse("127.0.0.1")) == 307
    assert (server.connections, other.connections) == (1, 0)


async def test_the_answer_to_a_post_is_not_read() -> None:
    async with serve(endless) as server:
        assert await send(f"http://127.0.0.1:{server.port}/", allow=AllowList.parse("127.0.0.1")) == 200


async def test_a_post_ends_at_the_deadline() -> None:
    async def silent(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with serve(silent) as server:
        with pytest.raises(AnswerTimeout):
            await send(f"http://127.0.0.1:{server.port}/", timeout_s=0.3, allow=AllowList.parse("127.0.0.1"))
