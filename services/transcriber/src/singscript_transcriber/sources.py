"""Where the sound of a request comes from: this same stream, the storage, the downloader or the separator."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Sequence
from contextlib import aclosing
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2

from singscript_audio.chunks import MonoReader, media_info
from singscript_audio.decode import decode, probe
from singscript_audio.resample import Resampler
from singscript_core.errors import BrokenStream, InvalidInput, Rejected
from singscript_serving.calls import responses
from singscript_serving.channel import dial
from singscript_serving.requests import next_request
from singscript_storage import ChecksumMismatch, ObjectNotFound, ObjectStore
from singscript_transcriber.vad import SAMPLE_RATE_HZ
from singscript_transcriber.windows import Block

# What the downloader sends, so what the separator works on and stores.
_STEM_RATE_HZ, _STEM_CHANNELS = 44_100, 2

Request = transcriber_pb2.TranscribeRequest
Response = transcriber_pb2.TranscribeResponse


async def inline(audio: media_pb2.InlineAudio, requests: AsyncIterator[Request]) -> AsyncGenerator[Block]:
    """The audio that follows on the same stream.

    Raises:
        InvalidInput: a format that cannot be read, or a message that has no place here.
        BrokenStream: the audio is damaged or has no end.
        TimedOut: nothing comes for five minutes.
    """
    sound = MonoReader(audio.format, SAMPLE_RATE_HZ)
    async for message in _audio(requests):
        if isinstance(message, media_pb2.AudioChunk):
            yield Block(sound.read(message))
        else:
            yield Block(sound.finish(message))
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
        yield Response(media=media_info(found))
        blocks = decode(path, sample_rate_hz=SAMPLE_RATE_HZ, channels=1, max_duration_s=max_duration_s)
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            yield Block(block[:, 0])


class StemsUnreadable(Rejected):
    """Stored stems are gone, damaged, or not those of one sound. They have to be made again."""

    reason = "STEMS_UNREADABLE"


async def stored_stems(
    stems: transcriber_pb2.StoredStems, store: ObjectStore, max_duration_s: float, *, with_mix: bool
) -> AsyncGenerator[Response | Block]:
    """The vocals, and the mix if wanted, of stems that a separator stored, after what was said of them then.

    Raises:
        StemsUnreadable.
        StorageUnavailable: they cannot be fetched now.
        UnsupportedFormat, NoAudio, DecodeFailed, TooLong: they cannot be used.
    """
    keys = [stems.vocals.key, *(stem.key for stem in stems.rest if with_mix)]
    with tempfile.TemporaryDirectory(prefix="singscript-") as folder:
        paths = [Path(folder) / str(index) for index in range(len(keys))]
        for key, path in zip(keys, paths, strict=True):
            try:
                await asyncio.to_thread(store.fetch, key, path)
            except (ObjectNotFound, ChecksumMismatch) as error:
                raise StemsUnreadable(f"The stems cannot be read again: {error.message}") from error
        if stems.HasField("media"):
            yield Response(media=stems.media)
        for event in stems.events:
            yield Response(event=event)
        sounds = [_as_separated(path, max_duration_s) for path in paths]
        waiting = [np.zeros(0, np.float32) for _ in sounds]
        while True:
            blocks = [await asyncio.to_thread(next, sound, None) for sound in sounds]
            if all(block is None for block in blocks):
                break
            waiting = [
                old if new is None else np.concatenate([old, new]) for old, new in zip(waiting, blocks, strict=True)
            ]
            count = min(map(len, waiting))
            vocals, *rest = (samples[:count] for samples in waiting)
            waiting = [samples[count:] for samples in waiting]
            yield Block(vocals, reduce(np.add, rest, vocals) if rest else None)
        if any(map(len, waiting)):
            raise StemsUnreadable("The stems are not of the same length, so not of one sound. Separate it again.")


def _as_separated(path: Path, max_duration_s: float) -> Generator[NDArray[np.float32]]:
    """A stem as 16 kHz mono by the same steps as one that comes from the separator."""
    resampler = Resampler(_STEM_RATE_HZ, _STEM_CHANNELS, SAMPLE_RATE_HZ, 1)
    for block in decode(path, sample_rate_hz=_STEM_RATE_HZ, channels=_STEM_CHANNELS, max_duration_s=max_duration_s):
        yield resampler.push(block)[:, 0]
    yield resampler.flush()[:, 0]


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
        async with aclosing(_received(call, "downloader", (media_pb2.STEM_UNSPECIFIED,))) as items:
            async for item in items:
                yield item


async def separated(
    config: separator_pb2.SeparateConfig,
    requests: AsyncIterator[Request],
    target: str,
    timeout_s: float | None,
    *,
    with_mix: bool,
) -> AsyncGenerator[Response | Block]:
    """The vocals that the separator at `target` finds, and the mix if wanted, between its events and media info.

    Args:
        config: its inline source means the audio that follows on this same stream.

    Raises:
        StageError: what the separator reports, or that it cannot be reached.
        BrokenStream: its audio is damaged or has no end.
    """
    wanted = separator_pb2.SeparateConfig()
    wanted.CopyFrom(config)
    stems = (media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL) if with_mix else (media_pb2.STEM_VOCALS,)
    wanted.stems[:] = stems

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
        async with aclosing(_received(call, "separator", stems)) as items:
            async for item in items:
                yield item


async def _received(
    call: AsyncIterable[downloader_pb2.DownloadResponse] | AsyncIterable[separator_pb2.SeparateResponse],
    service: str,
    stems: Sequence[media_pb2.Stem.ValueType],
) -> AsyncGenerator[Response | Block]:
    """What an upstream service sends: its sound, and what is relayed as it is.

    Args:
        stems: what the sound consists of: what is to be listened to, and the rest of the mix if that is wanted.
    """
    sound: _Sound | None = None
    async with aclosing(responses(call, service)) as answers:
        async for answer in answers:
            match answer.WhichOneof("payload"):
                case "event":
                    yield Response(event=answer.event)
                case "media":
                    yield Response(media=answer.media)
                case "format":
                    sound = _Sound(answer.format, stems)
                case "chunk" if sound:
                    yield sound.read(answer.chunk)
                case "trailer" if sound:
                    yield sound.finish(answer.trailer)
                case _:
                    raise BrokenStream(f"The {service} sent audio before its format. Try again.")
    if sound is None or not sound.finished:
        raise BrokenStream(f"The audio from the {service} was cut. Try again.")


class _Sound:
    """One or two stems as 16 kHz mono; of two, what is there of both."""

    def __init__(self, fmt: media_pb2.AudioFormat, stems: Sequence[media_pb2.Stem.ValueType]) -> None:
        # An attempt that goes on from stored stems hears the same, to the last bit.
        self._readers = {stem: MonoReader(fmt, SAMPLE_RATE_HZ, as_kept=True) for stem in stems}
        self._waiting = {stem: np.zeros(0, np.float32) for stem in stems}

    @property
    def finished(self) -> bool:
        return all(reader.finished for reader in self._readers.values())

    def read(self, chunk: media_pb2.AudioChunk) -> Block:
        return self._add(chunk.stem, self._reader(chunk.stem).read(chunk))

    def finish(self, trailer: media_pb2.AudioTrailer) -> Block:
        return self._add(trailer.stem, self._reader(trailer.stem).finish(trailer))

    def _reader(self, stem: media_pb2.Stem.ValueType) -> MonoReader:
        if stem not in self._readers:
            raise BrokenStream("Audio came of a stem that was not asked for. Try again.")
        return self._readers[stem]

    def _add(self, stem: media_pb2.Stem.ValueType, samples: NDArray[np.float32]) -> Block:
        self._waiting[stem] = np.concatenate([self._waiting[stem], samples])
        count = min(map(len, self._waiting.values()))
        first, *rest = (waiting[:count] for waiting in self._waiting.values())
        self._waiting = {stem: waiting[count:] for stem, waiting in self._waiting.items()}
        return Block(first, first + rest[0] if rest else None)


async def _audio(requests: AsyncIterator[Request]) -> AsyncGenerator[media_pb2.AudioChunk | media_pb2.AudioTrailer]:
    """The chunks and trailers that follow the config."""
    while (request := await next_request(requests)) is not None:
        match request.WhichOneof("payload"):
            case "chunk":
                yield request.chunk
            case "trailer":
                yield request.trailer
            case _:
                raise InvalidInput("After the config come chunks of audio and a trailer, and nothing else.")
