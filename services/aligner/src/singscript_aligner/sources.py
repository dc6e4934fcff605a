"""Where sound and words of a request come from: this same stream, the storage, the downloader or the transcriber."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from singscript.aligner.v1 import aligner_pb2
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_aligner.engines import SAMPLE_RATE_HZ
from singscript_audio.chunks import MonoReader, media_info
from singscript_audio.decode import TooLong, decode, probe
from singscript_core.errors import BrokenStream, InvalidInput
from singscript_serving.calls import responses
from singscript_serving.channel import dial
from singscript_serving.requests import next_request
from singscript_storage import ObjectStore

Request = aligner_pb2.AlignRequest
Response = aligner_pb2.AlignResponse
Segment = transcriber_pb2.Segment
# Float32 of shape (n,), 16 kHz.
Block = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Digest:
    """Comes once the sound is whole: the SHA-256, in hexadecimal, of its samples or of the object that held them."""

    sha256: str


# A Response is relayed as it is.
Sourced = Response | Segment | Block | Digest


async def inline(
    audio: media_pb2.InlineAudio, requests: AsyncIterator[Request], max_duration_s: float
) -> AsyncGenerator[Sourced]:
    """The audio and the segments that follow on the same stream, in any order, until it ends.

    Raises:
        InvalidInput: a format that cannot be read, or a message that has no place here.
        BrokenStream: the audio is damaged or has no end.
        TooLong, TimedOut.
    """
    sound = _Sound(audio.format, max_duration_s)
    while (request := await next_request(requests)) is not None:
        match request.WhichOneof("payload"):
            case "chunk":
                yield sound.read(request.chunk)
            case "segment":
                yield request.segment
            case "trailer":
                yield sound.finish(request.trailer)
                yield sound.digest(request.trailer)
            case _:
                raise InvalidInput("After the config come chunks, segments and a trailer, and nothing else.")
    if not sound.finished:
        raise BrokenStream("The audio was cut: its stream ended without a trailer. Try again.")


async def stored(
    key: str, requests: AsyncIterator[Request], store: ObjectStore, max_duration_s: float
) -> AsyncGenerator[Sourced]:
    """An object of the storage, decoded, after the segments that follow the config.

    Raises:
        InvalidInput: a message that has no place here.
        ObjectNotFound, StorageUnavailable: it cannot be fetched.
        UnsupportedFormat, NoAudio, DecodeFailed, TooLong: it cannot be used.
    """
    while (request := await next_request(requests)) is not None:
        if request.WhichOneof("payload") != "segment":
            raise InvalidInput("After a config that names an object come segments, and nothing else.")
        yield request.segment
    with tempfile.TemporaryDirectory(prefix="singscript-aligner-") as folder:
        path = Path(folder) / "object"
        fetched = await asyncio.to_thread(store.fetch, key, path)
        found = await asyncio.to_thread(probe, path)
        yield Response(media=media_info(found))
        blocks = decode(path, sample_rate_hz=SAMPLE_RATE_HZ, channels=1, max_duration_s=max_duration_s)
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            yield block[:, 0]
        yield Digest(fetched.sha256)


async def downloaded(
    request: downloader_pb2.DownloadRequest, target: str, timeout_s: float | None, max_duration_s: float
) -> AsyncGenerator[Sourced]:
    """What the downloader at `target` fetches, between its events and media info.

    Raises:
        StageError: what the downloader reports, or that it cannot be reached.
        BrokenStream: its audio is damaged or has no end.
    """
    async with dial(target) as channel:
        call = downloader_pb2_grpc.DownloaderServiceStub(channel).Download(request, timeout=timeout_s)
        async with aclosing(_received(call, "downloader", max_duration_s)) as items:
            async for item in items:
                yield item


async def transcribed(
    config: transcriber_pb2.TranscribeConfig,
    requests: AsyncIterator[Request],
    target: str,
    timeout_s: float | None,
    max_duration_s: float,
) -> AsyncGenerator[Sourced]:
    """What the transcriber at `target` hears, each segment relayed too, what it did not believe, and the sound.

    Args:
        config: an inline source within it means the audio that follows on this same stream.

    Raises:
        StageError: what the transcriber reports, or that it cannot be reached.
        BrokenStream: its audio is damaged or has no end.
    """
    wanted = transcriber_pb2.TranscribeConfig()
    wanted.CopyFrom(config)
    wanted.echo_audio = True

    async def passed_on() -> AsyncGenerator[transcriber_pb2.TranscribeRequest]:
        yield transcriber_pb2.TranscribeRequest(config=wanted)
        if "inline" not in (wanted.WhichOneof("source"), wanted.separate.WhichOneof("source")):
            return
        while (request := await next_request(requests)) is not None:
            match request.WhichOneof("payload"):
                case "chunk":
                    yield transcriber_pb2.TranscribeRequest(chunk=request.chunk)
                case "trailer":
                    yield transcriber_pb2.TranscribeRequest(trailer=request.trailer)
                case _:
                    raise InvalidInput("After the config come chunks of audio and a trailer, and nothing else.")

    async with dial(target) as channel:
        call = transcriber_pb2_grpc.TranscriberServiceStub(channel).Transcribe(passed_on(), timeout=timeout_s)
        async with aclosing(_received(call, "transcriber", max_duration_s)) as items:
            async for item in items:
                yield item


async def _received(
    call: AsyncIterable[downloader_pb2.DownloadResponse] | AsyncIterable[transcriber_pb2.TranscribeResponse],
    service: str,
    max_duration_s: float,
) -> AsyncGenerator[Sourced]:
    """What an upstream service sends: its sound, its segments, and what is relayed as it is."""
    sound: _Sound | None = None
    async with aclosing(responses(call, service)) as answers:
        async for answer in answers:
            match answer.WhichOneof("payload"):
                case "event":
                    yield Response(event=answer.event)
                case "media":
                    yield Response(media=answer.media)
                case "format":
                    sound = _Sound(answer.format, max_duration_s)
                case "chunk" if sound:
                    yield sound.read(answer.chunk)
                case "trailer" if sound:
                    yield sound.finish(answer.trailer)
                    yield sound.digest(answer.trailer)
                case "segment" if isinstance(answer, transcriber_pb2.TranscribeResponse):
                    yield Response(segment=answer.segment)
                    yield answer.segment
                case "dropped" if isinstance(answer, transcriber_pb2.TranscribeResponse):
                    yield Response(dropped=answer.dropped)
                case _:
                    raise BrokenStream(f"The {service} sent audio before its format. Try again.")
    if sound is None or not sound.finished:
        raise BrokenStream(f"The audio from the {service} was cut. Try again.")


class _Sound:
    """Chunks of one stream as 16 kHz mono, no longer than allowed."""

    def __init__(self, fmt: media_pb2.AudioFormat, max_duration_s: float) -> None:
        self._reader = MonoReader(fmt, SAMPLE_RATE_HZ)
        self._max_duration_s = max_duration_s
        self._format = fmt.SerializeToString(deterministic=True)

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def read(self, chunk: media_pb2.AudioChunk) -> Block:
        block = self._reader.read(chunk)
        if self._reader.duration_s > self._max_duration_s:
            raise TooLong(
                f"The sound is longer than {self._max_duration_s:g} s, the limit here. Send a shorter one.",
                metadata={"limit_s": f"{self._max_duration_s:g}"},
            )
        return block

    def finish(self, trailer: media_pb2.AudioTrailer) -> Block:
        return self._reader.finish(trailer)

    def digest(self, trailer: media_pb2.AudioTrailer) -> Digest:
        # The same bytes in another format are another sound.
        return Digest(hashlib.sha256(self._format + trailer.sha256).hexdigest())
