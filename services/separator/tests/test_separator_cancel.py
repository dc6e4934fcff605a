"""Calls that are cancelled while a real network computes for them, through the real service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from copy import deepcopy
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_demucs
import torch
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_core import stopping
from singscript_core.errors import Cancelled
from singscript_core.stopping import Stop
from singscript_separator.engines import Block, backends, bag
from singscript_separator.engines.openvino_network import OpenVinoNetwork
from singscript_separator.engines.torch_network import TorchNetwork

RATE_HZ = 44_100
WAIT_S = 60.0
Tones = Callable[..., Block]
Served = Callable[..., AbstractAsyncContextManager[str]]


class SlowLayer:
    """The first layer of a network takes as long as somebody waits for its result; of the first call alone.

    Attributes:
        began: the slow call is under way.
        ended: how many calls have come to the last layer.
    """

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = 0

    def put_into(self, model: Any) -> None:
        model.encoder[0].register_forward_pre_hook(self._wait)
        model.decoder[-1].register_forward_hook(self._count)

    def _wait(self, *_: object) -> None:
        if self.began.is_set():
            return
        self.began.set()
        stop, stopped = stopping.current(), threading.Event()
        assert stop is not None
        stop.on_set(stopped.set)
        assert stopped.wait(WAIT_S)

    def _count(self, *_: object) -> None:
        self.ended += 1


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowLayer:
    slow, network = SlowLayer(), backends.network

    def slowed(model: Any, *rest: Any) -> Any:
        slow.put_into(model)
        return network(model, *rest)

    monkeypatch.setattr(bag, "network", slowed)
    return slow


def requests(sound: Block) -> Iterator[separator_pb2.SeparateRequest]:
    """All of it but the end."""
    inline = media_pb2.InlineAudio(format=audio_format(RATE_HZ, 2))
    yield separator_pb2.SeparateRequest(
        config=separator_pb2.SeparateConfig(inline=inline, engines=["demucs"], stems=[media_pb2.STEM_VOCALS])
    )
    for chunk in ChunkWriter(2).chunks(sound):
        yield separator_pb2.SeparateRequest(chunk=chunk)


async def first_sound(stub: separator_pb2_grpc.SeparatorServiceAsyncStub, sound: Block) -> bytes:
    """The vocals up to where a second segment is needed."""
    call = stub.Separate(timeout=WAIT_S)
    for message in requests(sound):
        await call.write(message)
    async for answer in call:
        if answer.WhichOneof("payload") == "chunk":
            call.cancel()
            return answer.chunk.pcm
    raise AssertionError("no sound came")


async def test_a_cancel_ends_the_computation_and_the_next_stream_gets_its_turn(
    served: Served, tones: Tones, slow: SlowLayer
) -> None:
    sound = tones(2 * RATE_HZ)
    async with served(max_streams=2) as address, grpc.aio.insecure_channel(address) as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        call = stub.Separate(timeout=WAIT_S)
        for message in requests(sound):
            await call.write(message)
        assert await asyncio.to_thread(slow.began.wait, WAIT_S)
        load = await stub.GetLoad(separator_pb2.GetLoadRequest(), timeout=WAIT_S)
        assert (load.open_streams, load.computing_segments) == (1, 1)
        call.cancel()
        first = await first_sound(stub, sound)
        assert await first_sound(stub, sound) == first
    assert slow.ended >= 2
    # What was interrupted has left nothing behind: another process would give the same.
    async with served() as address, grpc.aio.insecure_channel(address) as channel:
        assert await first_sound(separator_pb2_grpc.SeparatorServiceStub(channel), sound) == first


def test_torch_ends_within_a_layer_and_is_as_before() -> None:
    model, slow = tiny_demucs.htdemucs(), SlowLayer()
    plain = deepcopy(model)
    slow.put_into(model)
    network, stop = TorchNetwork(model, torch.device("cpu")), Stop()
    mix = np.random.default_rng(0).standard_normal((2, tiny_demucs.SEGMENT_SAMPLES), np.float32)
    threading.Thread(target=lambda: slow.began.wait(WAIT_S) and stop.set()).start()
    with stop.governing(), pytest.raises(Cancelled):
        network.estimate([mix])
    assert slow.ended == 0
    with torch.inference_mode():
        expected = plain(torch.from_numpy(mix[None]))[0].numpy()
    np.testing.assert_array_equal(network.estimate([mix])[0], expected)


def test_openvino_is_cancelled_and_is_as_before(tmp_path: Path) -> None:
    network, stop = OpenVinoNetwork(tiny_demucs.htdemucs(), tmp_path / "tiny.xml", threads=1), Stop()
    mix = np.random.default_rng(0).standard_normal((2, tiny_demucs.SEGMENT_SAMPLES), np.float32)
    before = network.estimate([mix])[0]
    stop.set()
    for _ in range(5):
        with stop.governing(), pytest.raises(Cancelled):
            network.estimate([mix])
    np.testing.assert_array_equal(network.estimate([mix])[0], before)
