"""Where the sound of a request comes from: this same stream, the storage, or the downloader."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2

from singscript_audio.chunks import ChunkReader, media_info
from singscript_audio.decode import decode, probe
from singscript_core.errors import BrokenStream, InvalidInput
from singscript_separator.engines import Block
from singscript_serving.bridge import Relay
from singscript_serving.calls import responses
from singscript_serving.channel import dial
from singscript_serving.events import seconds
from singscript_serving.requests import next_request
from singscript_storage import ObjectStore

STORED_SAMPLE_RATE_HZ = 44_100
STORED_CHANNELS = 2


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """What the blocks that follow are.

    Attributes:
        duration_s: None while unknown.
        media: what is known of the sound, when nobody has told it yet.
    """

    sample_rate_hz: int
    channels: int
    duration_s: float | None = None
    media: media_pb2.MediaInfo | None = None


# One SoundFormat, then blocks.
Sound = SoundFormat | Block


async def inline(
    audio: media_pb2.InlineAudio, requests: AsyncIterator[separator_pb2.SeparateRequest]
) -> AsyncGenerator[Sound]:
    """The audio that follows on the same stream.

    Raises:
        InvalidInput: not mono or stereo at 8 to 192 kHz, or a message that has no place here.
        BrokenStream: the audio is damaged or has no end.
        TimedOut: nothing comes for minutes.
    """
    reader = _reader(audio.format)
    yield SoundFormat(audio.format.sample_rate_hz, audio.format.channels)
    while (request := await next_request(requests)) is not None:
        match request.WhichOneof("payload"):
            case "chunk":
                yield reader.read(request.chunk)
            case "trailer":
                reader.finish(request.trailer)
                return
            case _:
                raise InvalidInput("After the config come chunks of audio and a trailer, and nothing else.")
    raise BrokenStream("The audio was cut: its stream ended without a trailer. Try again.")


async def downloaded(
    request: downloader_pb2.DownloadRequest, target: str, timeout_s: float | None
) -> AsyncGenerator[Sound | Relay[separator_pb2.SeparateResponse]]:
    """What the downloader at `target` fetches; its events and media info are relayed as they are.

    Raises:
        StageError: what the downloader reports, or that it cannot be reached.
        BrokenStream: its audio is damaged or has no end.
    """
    reader: ChunkReader | None = None
    duration_s: float | None = None
    async with dial(target) as channel:
        call = downloader_pb2_grpc.DownloaderServiceStub(channel).Download(request, timeout=timeout_s)
        async with aclosing(responses(call, "downloader")) as answers:
            async for answer in answers:
                match answer.WhichOneof("payload"):
                    case "event":
                        yield Relay(separator_pb2.SeparateResponse(event=answer.event))
                    case "media":
                        duration_s = seconds(answer.media.duration) if answer.media.HasField("duration") else None
                        yield Relay(separator_pb2.SeparateResponse(media=answer.media))
                    case "format":
                        reader = _reader(answer.format)
                        yield SoundFormat(answer.format.sample_rate_hz, answer.format.channels, duration_s)
                    case "chunk" if reader:
                        yield reader.read(answer.chunk)
                    case "trailer" if reader:
                        reader.finish(answer.trailer)
                    case _:
                        raise BrokenStream("The downloader sent audio before its format. Try again.")
    if reader is None or not reader.finished:
        raise BrokenStream("The audio from the downloader was cut. Try again.")


def stored(key: str, store: ObjectStore, max_duration_s: float) -> Generator[Sound]:
    """An object of the storage, decoded; blocking.

    Raises:
        ObjectNotFound, StorageUnavailable: it cannot be fetched.
        UnsupportedFormat, NoAudio, DecodeFailed, TooLong: it cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="singscript-object-") as folder:
        path = Path(folder) / "object"
        store.fetch(key, path)
        found = probe(path)
        yield SoundFormat(STORED_SAMPLE_RATE_HZ, STORED_CHANNELS, found.duration_s, media_info(found))
        yield from decode(
            path,
            sample_rate_hz=STORED_SAMPLE_RATE_HZ,
            channels=STORED_CHANNELS,
            max_duration_s=max_duration_s,
        )


def _reader(fmt: media_pb2.AudioFormat) -> ChunkReader:
    if fmt.channels not in (1, 2) or not 8_000 <= fmt.sample_rate_hz <= 192_000:
        raise InvalidInput(
            f"Sound of {fmt.channels} channels at {fmt.sample_rate_hz} Hz cannot be separated. "
            f"Send mono or stereo at 8,000 to 192,000 Hz."
        )
    return ChunkReader(fmt)
