"""The kit against a real server and real channels on loopback: health, errors, caps, relays, cancellation, drain."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from singscript.downloader.v1 import downloader_pb2 as pb
from singscript.downloader.v1 import downloader_pb2_grpc as rpc
from singscript.media.v1 import media_pb2

from singscript_core import errors, logs
from singscript_core.settings import ServiceSettings
from singscript_serving.calls import response, responses
from singscript_serving.channel import dial
from singscript_serving.server import Service, running
from singscript_serving.status import RelayedError, UpstreamUnavailable, was_reached

NAME = "singscript.downloader.v1.DownloaderService"
Download = Callable[[pb.DownloadRequest], AsyncGenerator[pb.DownloadResponse]]


class TooOdd(errors.Rejected):
    """Raised by the servicer of these tests."""

    reason = "TOO_ODD"


class Servicer(rpc.DownloaderServiceServicer):
    def __init__(self, download: Download) -> None:
        self.download = download
        self.open = 0
        self.jobs: list[str] = []

    async def Probe(self, request: pb.ProbeRequest, context: object) -> pb.ProbeResponse:
        self.jobs.append(logs.job_id.get())
        if request.url == "odd":
            raise TooOdd("That is too odd.", retry_after_s=1.5, metadata={"limit": "3"})
        if request.url == "defect":
            raise KeyError("secret detail")
        return pb.ProbeResponse(media=media_pb2.MediaInfo(title=request.url))

    async def Download(self, request: pb.DownloadRequest, context: object) -> AsyncIterator[pb.DownloadResponse]:
        self.open += 1
        try:
            async for item in self.download(request):
                yield item
        finally:
            self.open -= 1


def service(servicer: Servicer) -> Service:
    return Service(NAME, lambda server: rpc.add_DownloaderServiceServicer_to_server(servicer, server))


def settings(**changes: object) -> ServiceSettings:
    return ServiceSettings.model_validate({"listen": "127.0.0.1:0", "drain_s": 0.2} | changes)


def item(n: int) -> pb.DownloadResponse:
    return pb.DownloadResponse(chunk=media_pb2.AudioChunk(first_sample=n))


async def endless(request: pb.DownloadRequest) -> AsyncGenerator[pb.DownloadResponse]:
    n = 0
    while True:
        yield item(n)
        n += 1
        await asyncio.sleep(0)


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def test_health_and_reflection_name_the_service() -> None:
    async with running(service(Servicer(endless)), settings()) as address:
        async with dial(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            for name in ("", NAME):
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING

        def names() -> list[str]:
            with grpc.insecure_channel(address) as plain:
                return list(ProtoReflectionDescriptorDatabase(plain).get_services())

        assert NAME in await asyncio.to_thread(names)


async def test_an_error_keeps_reason_message_code_and_facts() -> None:
    async with running(service(Servicer(endless)), settings()) as address, dial(address) as channel:
        stub = rpc.DownloaderServiceStub(channel)
        with pytest.raises(RelayedError) as caught:
            await response(stub.Probe(pb.ProbeRequest(url="odd"), timeout=60), "downloader")
    error = caught.value
    assert (error.reason, error.message, error.code) == (
        "TOO_ODD",
        "That is too odd.",
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    assert error.metadata == {"limit": "3", "service": "downloader"}
    assert error.retry_after_s == 1.5
    assert not error.retryable


@pytest.mark.parametrize("streaming", [False, True])
async def test_r25_a_call_without_a_deadline_is_refused(streaming: bool) -> None:
    async with running(service(Servicer(endless)), settings()) as address, dial(address) as channel:
        stub = rpc.DownloaderServiceStub(channel)
        with pytest.raises(RelayedError) as caught:
            if streaming:
                await anext(responses(stub.Download(pb.DownloadRequest(url="x")), "downloader"))
            else:
                await response(stub.Probe(pb.ProbeRequest(url="x")), "downloader")
    assert (caught.value.reason, caught.value.code) == ("DEADLINE_MISSING", grpc.StatusCode.INVALID_ARGUMENT)
    assert "deadline" in caught.value.message


async def test_health_is_watched_and_what_watches_is_called_without_a_deadline() -> None:
    watched = replace(service(Servicer(endless)), endless=frozenset({"Download"}))
    async with running(watched, settings()) as address, dial(address) as channel:
        call = rpc.DownloaderServiceStub(channel).Download(pb.DownloadRequest(url="x"))
        assert (await anext(responses(call, "downloader"))).chunk.first_sample == 0
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=NAME))
        assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


async def test_a_defect_is_internal_and_tells_nothing_of_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    async with running(service(Servicer(endless)), settings()) as address, dial(address) as channel:
        stub = rpc.DownloaderServiceStub(channel)
        with caplog.at_level(logging.ERROR), pytest.raises(RelayedError) as caught:
            await response(stub.Probe(pb.ProbeRequest(url="defect"), timeout=60), "downloader")
    assert caught.value.reason == "INTERNAL"
    assert caught.value.metadata == {"service": "downloader"}
    assert "secret" not in caught.value.message
    assert "secret detail" in caplog.text


async def test_an_error_travels_over_two_hops_unchanged() -> None:
    async def fail(request: pb.DownloadRequest) -> AsyncGenerator[pb.DownloadResponse]:
        yield item(0)
        raise TooOdd("That is too odd.")

    async with running(service(Servicer(fail)), settings()) as far, dial(far) as far_channel:

        async def forward(request: pb.DownloadRequest) -> AsyncGenerator[pb.DownloadResponse]:
            async for message in responses(
                rpc.DownloaderServiceStub(far_channel).Download(request, timeout=60), "downloader"
            ):
                yield message

        async with running(service(Servicer(forward)), settings()) as near, dial(near) as channel:
            seen = []
            with pytest.raises(RelayedError) as caught:
                async for message in responses(
                    rpc.DownloaderServiceStub(channel).Download(pb.DownloadRequest(url="x"), timeout=60), "separator"
                ):
                    seen.append(message)
    assert len(seen) == 1
    assert (caught.value.reason, caught.value.code) == ("TOO_ODD", grpc.StatusCode.FAILED_PRECONDITION)
    assert caught.value.metadata == {"service": "downloader"}, "who it was is told"


async def test_a_peer_that_is_down_is_upstream_unavailable() -> None:
    async with dial("127.0.0.1:1") as channel:
        with pytest.raises(UpstreamUnavailable) as caught:
            await response(rpc.DownloaderServiceStub(channel).Probe(pb.ProbeRequest(url="x"), timeout=60), "downloader")
    assert caught.value.retryable
    assert caught.value.metadata == {"service": "downloader"}


async def test_who_was_never_reached_is_told_from_who_stopped_in_the_middle() -> None:
    async def stops(request: pb.DownloadRequest) -> AsyncGenerator[pb.DownloadResponse]:
        if request.url == "before":
            raise errors.Unavailable("It does not start.")
        yield item(0)
        raise errors.Unavailable("It stopped.")

    async def forward(request: pb.DownloadRequest) -> AsyncGenerator[pb.DownloadResponse]:
        async with dial("127.0.0.1:1") as further:
            async for message in responses(
                rpc.DownloaderServiceStub(further).Download(request, timeout=60), "downloader"
            ):
                yield message

    async def reached(address: str, url: str) -> bool:
        async with dial(address) as channel:
            with pytest.raises(errors.StageError) as caught:
                async for _ in responses(
                    rpc.DownloaderServiceStub(channel).Download(pb.DownloadRequest(url=url), timeout=60), "x"
                ):
                    pass
        return was_reached(caught.value)

    assert not await reached("127.0.0.1:1", "nobody is there")
    async with running(service(Servicer(stops)), settings()) as address:
        assert await reached(address, "before") and await reached(address, "after")
    async with running(service(Servicer(forward)), settings()) as address:
        assert not await reached(address, "the service after it is not there")


async def test_the_job_id_travels_along_and_into_the_logs() -> None:
    servicer = Servicer(endless)
    async with running(service(servicer), settings()) as address, dial(address) as channel:
        token = logs.job_id.set("job-7")
        try:
            await response(rpc.DownloaderServiceStub(channel).Probe(pb.ProbeRequest(url="x"), timeout=60), "downloader")
            record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO", "reason": "WHY"})
            entry = json.loads(logs.JsonFormatter("downloader").format(record))
        finally:
            logs.job_id.reset(token)
    assert servicer.jobs == ["job-7"]
    assert (entry["job"], entry["reason"], entry["service"]) == ("job-7", "WHY", "downloader")


async def test_one_stream_too_many_is_busy_and_a_slot_comes_back() -> None:
    servicer = Servicer(endless)
    async with running(service(servicer), settings(max_streams=1)) as address, dial(address) as channel:
        stub = rpc.DownloaderServiceStub(channel)
        first = responses(stub.Download(pb.DownloadRequest(url="x"), timeout=60), "downloader")
        await anext(first)
        with pytest.raises(RelayedError) as caught:
            await anext(responses(stub.Download(pb.DownloadRequest(url="x"), timeout=60), "downloader"))
        assert (caught.value.reason, caught.value.retryable) == ("BUSY", True)
        assert caught.value.retry_after_s == 2.0
        await first.aclose()
        await eventually(lambda: servicer.open == 0)
        again = responses(stub.Download(pb.DownloadRequest(url="x"), timeout=60), "downloader")
        assert (await anext(again)).HasField("chunk")
        await again.aclose()


async def test_an_abandoned_stream_leaves_no_handler_behind() -> None:
    servicer = Servicer(endless)
    async with running(service(servicer), settings(max_streams=30)) as address, dial(address) as channel:
        stub = rpc.DownloaderServiceStub(channel)
        for _ in range(20):
            async for _message in (
                stream := responses(stub.Download(pb.DownloadRequest(url="x"), timeout=60), "downloader")
            ):
                break
            await stream.aclose()
        await eventually(lambda: servicer.open == 0)


async def test_stopping_ends_streams_after_the_grace_and_turns_health_off() -> None:
    servicer = Servicer(endless)
    async with dial_later() as (start, channel_to):
        address = await start(service(servicer))
        async with channel_to(address) as channel:
            stream = responses(
                rpc.DownloaderServiceStub(channel).Download(pb.DownloadRequest(url="x"), timeout=60), "downloader"
            )
            await anext(stream)
            health_stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = health_stub.Watch(health_pb2.HealthCheckRequest(service=NAME))
            assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.SERVING
            await start(None)
            assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            with pytest.raises(UpstreamUnavailable):
                async for _ in stream:
                    pass
    assert servicer.open == 0


class dial_later:
    """Starts and stops a server from inside a test: start(service) → address; start(None) begins to stop it."""

    async def __aenter__(self):
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def serve(which: Service) -> None:
            async with running(which, settings()) as address:
                ready.set_result(address)
                await self._stop.wait()

        async def start(which: Service | None) -> str:
            if which is None:
                self._stop.set()
                return ""
            self._task = asyncio.create_task(serve(which))
            return await ready

        return start, dial

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        if self._task:
            await self._task
