"""A stream that is refused while its client still sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import grpc
import pytest
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_core.errors import Rejected
from singscript_core.settings import ServiceSettings
from singscript_serving import interceptor
from singscript_serving.calls import responses
from singscript_serving.channel import dial
from singscript_serving.server import Service, running
from singscript_serving.status import RelayedError

Request = separator_pb2.SeparateRequest


class Refusing(separator_pb2_grpc.SeparatorServiceServicer):
    """Reads the config, or everything, and refuses."""

    def __init__(self, to_the_end: bool) -> None:
        self._to_the_end = to_the_end

    async def ListModels(
        self, request: separator_pb2.ListModelsRequest, context: object
    ) -> separator_pb2.ListModelsResponse:
        return separator_pb2.ListModelsResponse()

    async def GetLoad(self, request: separator_pb2.GetLoadRequest, context: object) -> separator_pb2.GetLoadResponse:
        return separator_pb2.GetLoadResponse()

    async def Separate(
        self, request_iterator: AsyncIterator[Request], context: object
    ) -> AsyncGenerator[separator_pb2.SeparateResponse]:
        await anext(request_iterator)
        while self._to_the_end and await anext(request_iterator, None):
            pass
        raise Rejected("Not that one.")
        yield separator_pb2.SeparateResponse()


def service(servicer: Refusing) -> Service:
    return Service(
        "singscript.separator.v1.SeparatorService",
        lambda server: separator_pb2_grpc.add_SeparatorServiceServicer_to_server(servicer, server),
    )


async def refused(channel: grpc.aio.Channel, requests: AsyncGenerator[Request]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(RelayedError) as caught:
        async for _ in responses(
            separator_pb2_grpc.SeparatorServiceStub(channel).Separate(requests, timeout=60), "separator"
        ):
            pass
    return caught.value.code, caught.value.reason


async def sound(chunks: int) -> AsyncGenerator[Request]:
    yield Request(config=separator_pb2.SeparateConfig())
    for n in range(chunks):
        yield Request(chunk=media_pb2.AudioChunk(first_sample=n, pcm=bytes(64 * 1024)))


@pytest.mark.parametrize("to_the_end", [False, True])
@pytest.mark.parametrize("chunks", [0, 1, 40])
async def test_a_client_that_still_sends_gets_the_reason(chunks: int, to_the_end: bool) -> None:
    async with running(service(Refusing(to_the_end)), ServiceSettings(drain_s=0)) as address, dial(address) as channel:
        answers = [await refused(channel, sound(chunks)) for _ in range(10)]
    assert set(answers) == {(grpc.StatusCode.FAILED_PRECONDITION, "REJECTED")}


async def test_a_client_that_never_stops_sending_is_refused_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptor, "READ_THE_REST_S", 0.2)

    async def endless() -> AsyncGenerator[Request]:
        yield Request(config=separator_pb2.SeparateConfig())
        await asyncio.Event().wait()

    async with running(service(Refusing(False)), ServiceSettings(drain_s=0)) as address, dial(address) as channel:
        assert await refused(channel, endless()) == (grpc.StatusCode.FAILED_PRECONDITION, "REJECTED")
