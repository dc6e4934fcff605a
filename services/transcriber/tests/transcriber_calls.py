"""Calls of the service over gRPC, and what came back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2 as pb
from singscript.transcriber.v1 import transcriber_pb2_grpc
from transcriber_sound import RATE

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_serving.calls import responses
from singscript_serving.channel import dial


def with_config(**values: Any) -> pb.TranscribeRequest:
    return pb.TranscribeRequest(config=pb.TranscribeConfig(**values))


async def ask(address: str, *requests: pb.TranscribeRequest, ends: bool = True) -> list[pb.TranscribeResponse]:
    """All answers to a stream of requests, which then ends or stays open."""

    async def sent() -> AsyncGenerator[pb.TranscribeRequest]:
        for request in requests:
            yield request
        if not ends:
            await asyncio.Event().wait()

    async with dial(address) as channel:
        call = transcriber_pb2_grpc.TranscriberServiceStub(channel).Transcribe(sent(), timeout=60)
        return [answer async for answer in responses(call, "transcriber")]


def inline(sound: np.ndarray, rate: int = RATE, **config: Any) -> list[pb.TranscribeRequest]:
    """Requests that send sound of shape (n, channels)."""
    writer = ChunkWriter(sound.shape[1])
    fmt = audio_format(rate, sound.shape[1])
    first = pb.TranscribeRequest(config=pb.TranscribeConfig(inline=media_pb2.InlineAudio(format=fmt), **config))
    blocks = [sound[start : start + rate // 2] for start in range(0, len(sound), rate // 2)]
    chunks = [pb.TranscribeRequest(chunk=chunk) for block in blocks for chunk in writer.chunks(block)]
    return [first, *chunks, pb.TranscribeRequest(trailer=writer.trailer())]


def heard(answers: list[pb.TranscribeResponse]) -> list[pb.Segment]:
    return [answer.segment for answer in answers if answer.WhichOneof("payload") == "segment"]


def warnings(answers: list[pb.TranscribeResponse]) -> list[str]:
    return [answer.event.warning.reason for answer in answers if answer.event.WhichOneof("event") == "warning"]
