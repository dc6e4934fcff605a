"""Reading the requests of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2

from singscript_core.errors import InvalidInput, TimedOut
from singscript_serving import requests

Request = separator_pb2.SeparateRequest


async def stream(*messages: Request) -> AsyncGenerator[Request]:
    for message in messages:
        yield message


async def nothing_ever() -> AsyncGenerator[Request]:
    await asyncio.Event().wait()
    yield Request()


async def test_the_config_comes_first_and_the_rest_follows() -> None:
    config = Request(config=separator_pb2.SeparateConfig(model="x"))
    messages = stream(config, Request(chunk=media_pb2.AudioChunk(pcm=b"1234")))
    assert (await requests.first_config(messages)).model == "x"
    following = await requests.next_request(messages)
    assert following is not None
    assert following.chunk.pcm == b"1234"
    assert await requests.next_request(messages) is None


@pytest.mark.parametrize("messages", [(), (Request(),), (Request(chunk=media_pb2.AudioChunk()),)])
async def test_a_stream_without_a_config_is_refused(messages: tuple[Request, ...]) -> None:
    with pytest.raises(InvalidInput):
        await requests.first_config(stream(*messages))


async def test_a_silent_client_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "CONFIG_TIMEOUT_S", 0.05)
    with pytest.raises(TimedOut):
        await requests.first_config(nothing_ever())
