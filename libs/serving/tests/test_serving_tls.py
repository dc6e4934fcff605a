"""Services that show each other certificates: who is refused, by which side, and what is said of it. R29."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from certificates import Authority, Pair
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from singscript.downloader.v1 import downloader_pb2 as pb
from singscript.downloader.v1 import downloader_pb2_grpc as rpc

from singscript_core.errors import StageError
from singscript_core.settings import ServiceSettings
from singscript_serving import probe, tls
from singscript_serving.calls import response, responses
from singscript_serving.channel import dial
from singscript_serving.server import Service, running
from singscript_serving.status import HandshakeFailed, UpstreamUnavailable, was_reached

HERE = "127.0.0.1"
Become = Callable[[Pair | None], None]


class Servicer(rpc.DownloaderServiceServicer):
    async def Probe(self, request: pb.ProbeRequest, context: object) -> pb.ProbeResponse:
        return pb.ProbeResponse()

    async def Download(self, request: pb.DownloadRequest, context: object) -> AsyncGenerator[pb.DownloadResponse]:
        yield pb.DownloadResponse()


def service(*, for_services: bool = True) -> Service:
    def add(server: grpc.aio.Server) -> None:
        rpc.add_DownloaderServiceServicer_to_server(Servicer(), server)

    return Service("singscript.downloader.v1.DownloaderService", add, for_services=for_services)


SETTINGS = ServiceSettings(drain_s=0)


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority()


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Become:
    """What channels and servers are made with from now on; None: no TLS."""

    def become(pair: Pair | None) -> None:
        for name in ("CERT", "KEY", "CA"):
            monkeypatch.delenv(f"SINGSCRIPT_TLS_{name}", raising=False)
        for name, value in pair.settings(tmp_path).items() if pair else ():
            monkeypatch.setenv(name, value)

    return become


async def asked(address: str) -> None:
    """Raises what a call of either kind fails with."""
    async with dial(address) as channel:
        stub = rpc.DownloaderServiceStub(channel)
        await response(stub.Probe(pb.ProbeRequest(url="x"), timeout=20), "downloader")
        assert [one async for one in responses(stub.Download(pb.DownloadRequest(), timeout=20), "downloader")]


async def refused(address: str) -> StageError:
    """What calls of both kinds fail with."""
    async with dial(address) as channel:
        stub = rpc.DownloaderServiceStub(channel)
        with pytest.raises(StageError) as unary:
            await response(stub.Probe(pb.ProbeRequest(url="x"), timeout=20), "downloader")
        with pytest.raises(StageError) as stream:
            async for _ in responses(stub.Download(pb.DownloadRequest(), timeout=20), "downloader"):
                pass
    assert unary.value.reason == stream.value.reason and not was_reached(stream.value)
    assert unary.value.retryable and unary.value.metadata["service"] == "downloader"
    return unary.value


async def test_those_of_one_ca_are_served(ca: Authority, become: Become) -> None:
    become(ca.issue(HERE))
    async with running(service(), SETTINGS) as address:
        await asked(address)
        become(ca.issue("gateway.example.org"))
        await asked(address)


async def test_a_service_has_the_names_that_it_is_dialled_by(ca: Authority, become: Become) -> None:
    become(ca.issue("localhost"))
    async with running(service(), SETTINGS) as address:
        await asked(address.replace(HERE, "localhost"))
        assert (await refused(address)).reason == "TLS_HANDSHAKE_FAILED"


async def test_certificates_between_it_and_the_ca_are_shown_too(ca: Authority, become: Become) -> None:
    between = Authority()
    pair = between.issue(HERE)
    become(Pair(pair.cert + ca.certified(between), pair.key, ca.pem))
    async with running(service(), SETTINGS) as address:
        await asked(address)
        become(ca.issue("gateway.example.org"))
        await asked(address)


@pytest.mark.parametrize("rogue", ["no TLS", "of another CA", "expired"])
async def test_R29_rogue_client_is_refused(
    ca: Authority, become: Become, rogue: str, capfd: pytest.CaptureFixture[str]
) -> None:
    become(ca.issue(HERE))
    async with running(service(), SETTINGS) as address:
        foreign = Authority().issue(HERE)
        rogues = {
            "no TLS": None,
            "of another CA": Pair(foreign.cert, foreign.key, ca.pem),
            "expired": ca.issue(HERE, lasts=timedelta(days=-1)),
        }
        become(rogues[rogue])
        error = await refused(address)
        if rogue == "no TLS":
            assert isinstance(error, UpstreamUnavailable)
        else:
            assert isinstance(error, HandshakeFailed) and "SINGSCRIPT_TLS_CERT of this process" in error.message
        become(ca.issue(HERE))
        await asked(address)
    said = {"no TLS": "WRONG_VERSION", "of another CA": "unable to get local issuer", "expired": "has expired"}
    assert said[rogue] in capfd.readouterr().err, "what gRPC logs of it"


async def test_R29_client_without_certificate_is_refused(ca: Authority, become: Become) -> None:
    become(ca.issue(HERE))
    async with running(service(), SETTINGS) as address:
        anonymous = grpc.ssl_channel_credentials(ca.pem)
        async with grpc.aio.secure_channel(address, anonymous) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rpc.DownloaderServiceStub(channel).Probe(pb.ProbeRequest(url="x"), timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await asked(address)


@pytest.mark.parametrize(
    ("rogue", "said"),
    [
        ("of another name", "not for the name"),
        ("of another CA", "not trusted (unable to get local issuer certificate)"),
        ("expired", "not trusted (certificate has expired)"),
        ("no TLS", "speaks no TLS"),
    ],
)
async def test_R29_rogue_server_is_not_spoken_to(ca: Authority, become: Become, rogue: str, said: str) -> None:
    rogues = {
        "of another name": ca.issue("separator.example.org", "127.0.0.2"),
        "of another CA": Authority().issue(HERE),
        "expired": ca.issue(HERE, lasts=timedelta(days=-1)),
        "no TLS": None,
    }
    become(rogues[rogue])
    async with running(service(), SETTINGS) as address:
        become(ca.issue(HERE))
        error = await refused(address)
    assert isinstance(error, HandshakeFailed) and said in error.message and "addresses" not in error.message


async def test_nobody_there_is_no_matter_of_certificates(ca: Authority, become: Become) -> None:
    become(ca.issue(HERE))
    assert (await refused("127.0.0.1:1")).reason == "UPSTREAM_UNAVAILABLE"


async def test_service_for_others_than_services_asks_for_no_certificate(ca: Authority, become: Become) -> None:
    become(ca.issue(HERE))
    async with running(service(for_services=False), SETTINGS) as address:
        async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca.pem)) as channel:
            await rpc.DownloaderServiceStub(channel).Probe(pb.ProbeRequest(url="x"), timeout=20)
        become(None)
        await refused(address)


async def test_health_is_asked_with_the_certificate(
    ca: Authority, become: Become, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(ca.issue(HERE))
    async with running(service(), SETTINGS) as address:
        monkeypatch.setattr(sys, "argv", ["probe", address])
        assert await asyncio.to_thread(probe.main) == 0
        become(None)
        assert await asyncio.to_thread(probe.main) == 1


# -- settings


def refusal(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> str:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(tls.TlsUnusable) as caught:
        tls.identity()
    assert "PRIVATE KEY" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("missing", ["CERT", "KEY", "CA"])
def test_a_part_of_the_settings_is_refused(
    ca: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    name = f"SINGSCRIPT_TLS_{missing}"
    assert f"needs {name}," in refusal(monkeypatch, ca.issue(HERE).settings(tmp_path) | {name: ""})


@pytest.mark.parametrize("name", ["CERT", "KEY", "CA"])
@pytest.mark.parametrize("fault", ["missing", "a folder", "no PEM", "binary"])
def test_files_that_cannot_be_used_are_named(
    ca: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, fault: str
) -> None:
    settings = ca.issue(HERE).settings(tmp_path)
    file = Path(settings[f"SINGSCRIPT_TLS_{name}"])
    file.unlink()
    match fault:
        case "a folder":
            file.mkdir()
        case "no PEM":
            file.write_text("certificate\n")
        case "binary":
            file.write_bytes(b"\x30\x82\xff\x00")
        case _:
            pass
    said = refusal(monkeypatch, settings)
    assert said.startswith(f"SINGSCRIPT_TLS_{name}: {file} ")
    assert ("holds no" if fault in ("no PEM", "binary") else "cannot be read") in said


def test_key_of_another_certificate_is_refused(ca: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pair, other = ca.issue(HERE), ca.issue(HERE)
    mixed = Pair(pair.cert, other.key, ca.pem).settings(tmp_path)
    assert "is not that of the certificate" in refusal(monkeypatch, mixed)


def test_encrypted_key_is_refused_and_not_asked_for(
    ca: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pair = ca.issue(HERE)
    key = load_pem_private_key(pair.key, None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    assert "encrypted" in refusal(monkeypatch, Pair(pair.cert, encrypted, ca.pem).settings(tmp_path))


@pytest.mark.parametrize(
    ("module", "environment"),
    [
        (("singscript_downloader",), {}),
        (("singscript_gateway", "dispatcher"), {"SINGSCRIPT_ALIGNER": "127.0.0.1:1"}),
        (("singscript_gateway", "api"), {"SINGSCRIPT_ALIGNER": "127.0.0.1:1"}),
    ],
)
def test_processes_do_not_start_with_half_of_it(
    ca: Authority, tmp_path: Path, module: tuple[str, ...], environment: dict[str, str]
) -> None:
    settings = ca.issue(HERE).settings(tmp_path) | environment | {"SINGSCRIPT_DATABASE_URL": "postgresql:///nowhere"}
    del settings["SINGSCRIPT_TLS_KEY"]
    ended = subprocess.run(
        [sys.executable, "-m", *module], env=settings, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode != 0 and "TLS needs SINGSCRIPT_TLS_KEY" in ended.stderr and "Traceback" not in ended.stderr
