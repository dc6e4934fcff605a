"""Calls of the aligner over gRPC, and the services before it as tests need them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest
from aligner_testing import RATE_HZ, Speech, service_of
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc
from singscript.aligner.v1.aligner_pb2 import AlignConfig, AlignRequest, AlignResponse
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_serving.events import duration, seconds
from singscript_serving.server import Service, running
from singscript_storage import ObjectStore

TIMEOUT_S = 60.0
TranscribeResponse = transcriber_pb2.TranscribeResponse
EVENT = media_pb2.StageEvent
DOWNLOAD = downloader_pb2.DownloadRequest(url="http://127.0.0.1/x")


@asynccontextmanager
async def stub_of(store: ObjectStore | None = None, **settings: Any) -> AsyncIterator[Any]:
    """A synchronous stub: that of grpc.aio loses the reason of a refusal that comes while it still sends."""
    async with running(*service_of(store, **settings)) as address:
        with grpc.insecure_channel(address) as channel:
            yield aligner_pb2_grpc.AlignerServiceStub(channel)


async def align(stub: Any, config: AlignConfig, requests: Iterable[AlignRequest] = ()) -> list[AlignResponse]:
    return await send(stub, [AlignRequest(config=config), *requests])


async def send(stub: Any, requests: Sequence[AlignRequest]) -> list[AlignResponse]:
    return await asyncio.to_thread(lambda: list(stub.Align(iter(requests), timeout=TIMEOUT_S)))


async def failure(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and message of what the call fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # pyright: ignore[reportArgumentType]  (an RpcError of a call is one)
    assert status
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return caught.value.code(), info.reason, status.message


def lines_of(responses: Sequence[AlignResponse]) -> list[aligner_pb2.Line]:
    return [one.line for one in responses if one.WhichOneof("payload") == "line"]


def events_of(responses: Sequence[AlignResponse], kind: str) -> list[Any]:
    """Those of this stage."""
    return [
        getattr(one.event, kind)
        for one in responses
        if one.event.stage == media_pb2.STAGE_ALIGN and one.event.WhichOneof("event") == kind
    ]


def median_error_s(lines: Sequence[aligner_pb2.Line], speech: Speech) -> float:
    words = [word for line in lines for word in line.words]
    assert [word.text for word in words] == [text for text, _, _ in speech.words]
    assert all(seconds(a.end) <= seconds(b.start) for a, b in pairwise(words))
    return float(np.median([abs(seconds(w.start) - a) for w, (_, a, _) in zip(words, speech.words, strict=True)]))


class Transcriber(transcriber_pb2_grpc.TranscriberServiceServicer):
    """Answers what it was told to, then fails or waits for ever where it was told to."""

    def __init__(
        self, answers: Iterable[TranscribeResponse], error: Exception | None = None, *, wait: bool = False
    ) -> None:
        self.answers, self.error, self.wait = list(answers), error, wait
        self.requests: list[transcriber_pb2.TranscribeRequest] = []
        self.cancelled = asyncio.Event()

    # The rest of the contract, which the aligner never calls: a call would fail the test.

    async def ListEngines(self, request: Any, context: Any) -> transcriber_pb2.ListEnginesResponse:
        raise NotImplementedError

    async def GetLoad(self, request: Any, context: Any) -> transcriber_pb2.GetLoadResponse:
        raise NotImplementedError

    async def Transcribe(self, request_iterator: Any, context: Any) -> AsyncIterator[TranscribeResponse]:
        try:
            async for request in request_iterator:
                self.requests.append(request)
            for answer in self.answers:
                yield answer
            if self.error:
                raise self.error
            if self.wait:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@asynccontextmanager
async def upstream(transcriber: Transcriber) -> AsyncIterator[str]:
    service = Service(
        "singscript.transcriber.v1.TranscriberService",
        lambda server: transcriber_pb2_grpc.add_TranscriberServiceServicer_to_server(transcriber, server),
    )
    async with running(service, service_of()[1]) as address:
        yield address


TRANSCRIBE = AlignConfig(
    transcribe=transcriber_pb2.TranscribeConfig(object=media_pb2.StoredObject(key="uploads/x"), language="en")
)


SPENT = media_pb2.Usage(engine="openai", model="whisper-1", audio=duration(9.5), requests=1, cost_usd=0.001)
DROPPED = transcriber_pb2.Dropped(text="Thank you.", start=duration(1), end=duration(2), reason="PHANTOM")


def transcript(speech: Speech, heard: Sequence[transcriber_pb2.Segment]) -> list[TranscribeResponse]:
    """As a transcriber sends it: events and media, sound, each segment once its sound was sent."""
    writer = ChunkWriter(1)
    answers = [
        TranscribeResponse(event=EVENT(stage=media_pb2.STAGE_DOWNLOAD, engine=media_pb2.EngineChosen(engine="yt-dlp"))),
        TranscribeResponse(
            event=EVENT(
                stage=media_pb2.STAGE_TRANSCRIBE,
                warning=media_pb2.Warning(reason="ENGLISH_ONLY", message="English alone is heard."),
            )
        ),
        TranscribeResponse(event=EVENT(stage=media_pb2.STAGE_TRANSCRIBE, usage=SPENT)),
        TranscribeResponse(media=media_pb2.MediaInfo(title="A talk", artist="Nobody", format="flac")),
        TranscribeResponse(format=audio_format(RATE_HZ, 1)),
    ]
    sound = [TranscribeResponse(chunk=chunk) for chunk in writer.chunks(speech.samples.reshape(-1, 1))]
    return [
        *answers,
        *sound,
        *(TranscribeResponse(segment=one) for one in heard),
        TranscribeResponse(dropped=DROPPED),
        TranscribeResponse(trailer=writer.trailer()),
    ]


class Downloader(downloader_pb2_grpc.DownloaderServiceServicer):
    """Answers any link with the same sound."""

    def __init__(self, speech: Speech) -> None:
        self.speech = speech

    async def Probe(self, request: Any, context: Any) -> downloader_pb2.ProbeResponse:
        raise NotImplementedError

    async def Download(self, request: Any, context: Any) -> AsyncIterator[downloader_pb2.DownloadResponse]:
        writer = ChunkWriter(1)
        yield downloader_pb2.DownloadResponse(media=media_pb2.MediaInfo(title=request.url))
        yield downloader_pb2.DownloadResponse(format=audio_format(RATE_HZ, 1))
        for chunk in writer.chunks(self.speech.samples.reshape(-1, 1)):
            yield downloader_pb2.DownloadResponse(chunk=chunk)
        yield downloader_pb2.DownloadResponse(trailer=writer.trailer())
