"""A service as a process of its own: SIGTERM drains it, and a frozen one is noticed. R23, R26."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from singscript.downloader.v1 import downloader_pb2 as pb
from singscript.downloader.v1 import downloader_pb2_grpc as rpc

from singscript_core.errors import TimedOut
from singscript_serving.calls import responses
from singscript_serving.channel import dial
from singscript_serving.status import UpstreamUnavailable

# Sends one message on a stream, and the last one after a second: long enough to be told to stop in between.
SERVICE = """
import asyncio
from singscript.downloader.v1 import downloader_pb2 as pb, downloader_pb2_grpc as rpc
from singscript_core.logs import set_up_logging
from singscript_core.settings import ServiceSettings
from singscript_serving.server import Service, serve

class Servicer(rpc.DownloaderServiceServicer):
    async def Download(self, request, context):
        yield pb.DownloadResponse()
        await asyncio.sleep(3600 if request.url == "never" else 1)
        yield pb.DownloadResponse()

set_up_logging("downloader")
add = lambda server: rpc.add_DownloaderServiceServicer_to_server(Servicer(), server)
asyncio.run(serve(Service("singscript.downloader.v1.DownloaderService", add), ServiceSettings(drain_s=10)))
"""


@asynccontextmanager
async def process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The service, running, and its address."""
    started = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE, stderr=asyncio.subprocess.PIPE)
    assert started.stderr is not None
    try:
        async with asyncio.timeout(60):
            found = None
            while found is None:
                found = re.search(rb'"address": "([^"]+)"', await started.stderr.readline())
        yield started, found[1].decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.send_signal(signal.SIGCONT)
            started.kill()
        await started.communicate()


async def test_sigterm_lets_a_running_stream_end_and_then_the_process() -> None:
    async with process() as (server, address), dial(address) as channel:
        stream = responses(
            rpc.DownloaderServiceStub(channel).Download(pb.DownloadRequest(url="soon"), timeout=60), "downloader"
        )
        await anext(stream)
        server.terminate()
        assert [answer async for answer in stream] == [pb.DownloadResponse()]
        async with asyncio.timeout(20):
            assert await server.wait() == 0


async def test_a_frozen_peer_is_an_error_and_not_a_wait_for_ever() -> None:
    async with process() as (server, address), dial(address) as channel:
        stream = responses(
            rpc.DownloaderServiceStub(channel).Download(pb.DownloadRequest(url="never"), timeout=60), "downloader"
        )
        await anext(stream)
        os.kill(server.pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            with pytest.raises(UpstreamUnavailable):
                await anext(stream)


async def test_a_call_past_its_deadline_is_timed_out() -> None:
    async with process() as (_, address), dial(address) as channel:
        call = rpc.DownloaderServiceStub(channel).Download(pb.DownloadRequest(url="never"), timeout=0.5)
        with pytest.raises(TimedOut):
            async for _answer in responses(call, "downloader"):
                pass
