"""Where the sound of a request comes from: this same stream, the storage, the downloader or the separator."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2

from singscript_audio.chunks import ChunkReader
from singscript_audio.decode import decode, probe
from singscript_audio.resample import Resampler
from singscript_core.errors import BrokenStream, InvalidInput, TimedOut
from singscript_serving.calls import responses
from singscript_serving.channel import dial
from singscript_serving.events import duration
from singscript_storage import ObjectStore
from singscript_transcriber.vad import SAMPLE_RATE_HZ

Request = transcriber_pb2.TranscribeRequest
Response = transcriber_pb2.TranscribeResponse
# Float32 of shape (n,), 16 kHz.
Block = NDArray[np.float32]

# A client that sends nothing for so long has gone, or never will.
_CONFIG_TIMEOUT_S = 30.0
_IDLE_TIMEOUT_S = 300.0


async def first_config(requests: AsyncIterator[Request]) -> transcriber_pb2.TranscribeConfig:
    """The config that every stream starts with.

    Raises:
        InvalidInput: the stream starts with something else, or is empty.
        TimedOut: nothing comes.
    """
    request = await _next(requests, _CONFIG_TIMEOUT_S)
    if request is None or request.WhichOneof("payload") != "config":
        raise InvalidInput("The first message of a stream is its config. Send it before any audio.")
    return request.config


async def inline(audio: media_pb2.InlineAudio, requests: AsyncIterator[Request]) -> AsyncGenerator[Block]:
    """The audio that follows on the same stream.

    Raises:
        InvalidInput: a format that cannot be read, or a message that has no place here.
        BrokenStream: the audio is damaged or has no end.
        TimedOut: nothing comes for five minutes.
    """
    sound = _Sound(audio.format)
    async for message in _audio(requests):
        if isinstance(message, media_pb2.AudioChunk):
            yield sound.read(message)
        else:
            yield sound.finish(message)
            return
    raise BrokenStream("The audio was cut: its stream ended without a trailer. Try again.")


async def stored(key: str, store: ObjectStore, max_duration_s: float) -> AsyncGenerator[Response | Block]:
    """An object of the storage, decoded.

    Raises:
        ObjectNotFound, StorageUnavailable: it cannot be fetched.
        UnsupportedFormat, NoAudio, DecodeFailed, TooLong: it cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="singscript-") as folder:
        path = Path(folder) / "object"
        await asyncio.to_thread(store.fetch, key, path)
        found = await asyncio.to_thread(probe, path)
        media = media_pb2.MediaInfo(title=found.title, artist=found.artist, format=found.format)
        if found.duration_s is not None:
            media.duration.CopyFrom(duration(found.duration_s))
        yield Response(media=media)
        blocks = decode(path, sample_rate_hz=SAMPLE_RATE_HZ, channels=1, max_duration_s=max_duration_s)
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            yield block[:, 0]


async def downloaded(
    request: downloader_pb2.DownloadRequest, target: str, timeout_s: float | None
) -> AsyncGenerator[Response | Block]:
    """What the downloader at `target` fetches, between its events and media info.

    Raises:
        StageError: what the downloader reports, or that it cannot be reached.
        BrokenStream: its audio is damaged or has no end.
    """
    async with dial(target) as channel:
        call = downloader_pb2_grpc.DownloaderServiceStub(channel).Download(request, timeout=timeout_s)
        async with aclosing(_received(call, "downloader")) as items:
            async for item in items:
                yield item


async def separated(
    config: separator_pb2.SeparateConfig, requests: AsyncIterator[Request], target: str, timeout_s: float | None
) -> AsyncGenerator[Response | Block]:
    """The vocals that the separator at `target` finds, between its events and media info.

    Args:
        config: its inline source means the audio that follows on this same stream.

    Raises:
        StageError: what the separator reports, or that it cannot be reached.
        BrokenStream: its audio is damaged or has no end.
    """
    wanted = separator_pb2.SeparateConfig()
    wanted.CopyFrom(config)
    wanted.stems[:] = [media_pb2.STEM_VOCALS]

    async def passed_on() -> AsyncGenerator[separator_pb2.SeparateRequest]:
        yield separator_pb2.SeparateRequest(config=wanted)
        if wanted.WhichOneof("source") == "inline":
            async for message in _audio(requests):
                if isinstance(message, media_pb2.AudioChunk):
                    yield separator_pb2.SeparateRequest(chunk=message)
                else:
                    yield separator_pb2.SeparateRequest(trailer=message)

    async with dial(target) as channel:
        call = separator_pb2_grpc.SeparatorServiceStub(channel).Separate(passed_on(), timeout=timeout_s)
        async with aclosing(_received(call, "separator")) as items:
            async for item in items:
                yield item


async def _received(
    call: AsyncIterable[downloader_pb2.DownloadResponse] | AsyncIterable[separator_pb2.SeparateResponse], service: str
) -> AsyncGenerator[Response | Block]:
    """What an upstream service sends: its sound, and what is relayed as it is."""
    sound: _Sound | None = None
    async with aclosing(responses(call, service)) as answers:
        async for answer in answers:
            match answer.WhichOneof("payload"):
                case "event":
                    yield Response(event=answer.event)
                case "media":
                    yield Response(media=answer.media)
                case "format":
                    sound = _Sound(answer.format)
                case "chunk" if sound:
                    yield sound.read(answer.chunk)
                case "trailer" if sound:
                    yield sound.finish(answer.trailer)
                case _:
                    raise BrokenStream(f"The {service} sent audio before its format. Try again.")
    if sound is None or not sound.finished:
        raise BrokenStream(f"The audio from the {service} was cut. Try again.")


async def _audio(requests: AsyncIterator[Request]) -> AsyncGenerator[media_pb2.AudioChunk | media_pb2.AudioTrailer]:
    """The chunks and trailers that follow the config."""
    while (request := await _next(requests, _IDLE_TIMEOUT_S)) is not None:
        match request.WhichOneof("payload"):
            case "chunk":
                yield request.chunk
            case "trailer":
                yield request.trailer
            case _:
                raise InvalidInput("After the config come chunks of audio and a trailer, and nothing else.")


async def _next(requests: AsyncIterator[Request], timeout_s: float) -> Request | None:
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(requests, None)
    except TimeoutError:
        raise TimedOut(f"Nothing was sent for {timeout_s:g} s, so the stream was closed.") from None


class _Sound:
    """Chunks of one stream, checked and turned into 16 kHz mono."""

    def __init__(self, fmt: media_pb2.AudioFormat) -> None:
        self._reader = ChunkReader(fmt)
        if fmt.channels > 2:
            raise InvalidInput(f"Sound of {fmt.channels} channels cannot be transcribed. Send mono or stereo.")
        self._resampler = Resampler(fmt.sample_rate_hz, fmt.channels, SAMPLE_RATE_HZ, 1)

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def read(self, chunk: media_pb2.AudioChunk) -> Block:
        return self._resampler.push(self._reader.read(chunk))[:, 0]

    def finish(self, trailer: media_pb2.AudioTrailer) -> Block:
        self._reader.finish(trailer)
        return self._resampler.flush()[:, 0]
