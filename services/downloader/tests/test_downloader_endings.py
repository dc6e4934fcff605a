"""However a download ends, no process and no temporary folder is left: `nothing_left` looks after each test."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2

from singscript_core import stopping
from singscript_downloader.children import decode_file
from singscript_serving.channel import dial
from singscript_storage import FolderStore, Reader, StoredObject

Children = Callable[[], set[int]]


async def eventually(condition: Callable[[], bool], within_s: float = 20) -> None:
    """Waits until the condition holds; fails when it never does."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (what is waited for happens in other processes)
            await asyncio.sleep(0.02)


async def test_client_leaves_while_fetching(start: Any, site: Any, work_dir: Path, children: Children) -> None:
    link = site.stream("/drip.wav", bytes(1024), 0.05)
    async with start(download_allow_hosts=site.host) as client:
        before = children()
        call = client.stub.Download(downloader_pb2.DownloadRequest(url=link), timeout=60)
        async for response in call:
            if response.event.progress.done_bytes:
                break
        assert children() - before
        assert any(work_dir.iterdir())  # noqa: ASYNC240  (a small folder)
        call.cancel()
        await eventually(lambda: children() <= before and not list(work_dir.iterdir()))


async def test_client_leaves_while_decoding(
    start: Any, site: Any, media: Any, work_dir: Path, children: Children
) -> None:
    link = site.serve("/long.flac", media.long_flac, "audio/flac")
    async with start(download_allow_hosts=site.host) as client:
        before = children()
        call = client.stub.Download(downloader_pb2.DownloadRequest(url=link), timeout=60)
        async for response in call:
            if response.WhichOneof("payload") == "chunk":
                break
        # Nobody reads on, so the decoder waits: 5 minutes of sound do not fit into what lies between.
        assert children() - before
        call.cancel()
        await eventually(lambda: children() <= before and not list(work_dir.iterdir()))


async def test_r24_a_decoder_that_waits_for_its_reader_leaves_no_pipe(media: Any, tmp_path: Path) -> None:
    """More than fits into the pipe waits in it, so its end is not seen by itself."""
    file, work = tmp_path / "long.flac", tmp_path / "decoding"
    file.write_bytes(media.long_flac)
    work.mkdir()
    before = psutil.Process().num_fds()
    async with aclosing(decode_file(file, work, limit_s=600)) as items:
        await anext(items)
        (decoder,) = _commands("engines.decode")
        await eventually(_stands_still(decoder))
    await eventually(lambda: psutil.Process().num_fds() <= before)


async def test_deadline_of_the_client(start: Any, site: Any, work_dir: Path, children: Children) -> None:
    link = site.stream("/drip.wav", bytes(1024), 0.05)
    async with start(download_allow_hosts=site.host) as client:
        before = children()
        call = client.stub.Download(downloader_pb2.DownloadRequest(url=link), timeout=3)
        with pytest.raises(AioRpcError) as raised:
            async for _ in call:
                pass
        assert raised.value.code() is StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: children() <= before and not list(work_dir.iterdir()))


async def test_decoder_waits_for_the_client(start: Any, site: Any, media: Any) -> None:
    """Back-pressure: while the client does not read, the decoding process stands still."""
    link = site.serve("/long.flac", media.long_flac, "audio/flac")
    async with start(download_allow_hosts=site.host) as client:
        call = client.stub.Download(downloader_pb2.DownloadRequest(url=link), timeout=60)
        chunks = 0
        async for response in call:
            chunks += response.WhichOneof("payload") == "chunk"
            if chunks == 1:
                (decoder,) = _commands("engines.decode")
                await eventually(_stands_still(decoder))
                assert decoder.is_running()
        assert chunks >= 300 * 44_100 * 8 // (256 * 1024)


def _stands_still(process: psutil.Process) -> Callable[[], bool]:
    """True once the process has used no CPU time over ten looks; raises when it has ended."""
    seen: list[float] = []

    def look() -> bool:
        seen.append(sum(process.cpu_times()[:2]))
        return len(seen) >= 10 and seen[-10] == seen[-1]

    return look


def _commands(part: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(part in argument for argument in child.cmdline()):
                found.append(child)
    return found


class _SlowStore(FolderStore):
    """It takes and gives a little at a time, without end."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.busy = threading.Event()

    def _blocks(self) -> Iterator[bytes]:
        self.busy.set()
        for _ in range(6_000):  # a minute: longer than any test waits for
            time.sleep(0.01)
            yield bytes(1024)

    def put(self, key: str, path: Path, media_type: str) -> StoredObject:
        for _ in self._blocks():
            stopping.check()
        raise AssertionError("nobody stopped it")

    def stat(self, key: str) -> StoredObject:
        return StoredObject(key, 1024, "", "audio/wav")

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Reader:
        return Reader(self.stat(key), self._blocks(), lambda: None, whole=False)


@pytest.mark.parametrize("what", ["put", "fetch"])
async def test_client_leaves_while_the_storage_works(
    start: Any, site: Any, media: Any, work_dir: Path, tmp_path: Path, what: str
) -> None:
    store = _SlowStore(tmp_path / "slow")
    request = downloader_pb2.DownloadRequest(url=site.serve("/sine.wav", media.wav))
    if what == "fetch":
        request = downloader_pb2.DownloadRequest(object=media_pb2.StoredObject(key="x"))
    async with start(store=store, download_allow_hosts=site.host) as client:
        call = client.stub.Download(request, timeout=60)
        reading = asyncio.create_task(_read_all(call))
        await eventually(store.busy.is_set)
        call.cancel()
        await eventually(lambda: not list(work_dir.iterdir()))
        with pytest.raises(asyncio.CancelledError):
            await reading


async def _read_all(call: Any) -> None:
    async for _ in call:
        pass


@pytest.mark.parametrize("module", ["engines.fetch", "engines.decode"])
async def test_child_is_killed(start: Any, site: Any, media: Any, module: str) -> None:
    """A crash of the child (here: a kill) becomes an error of that one download."""
    if module == "engines.fetch":
        link = site.stream("/drip.wav", bytes(1024), 0.05)
    else:
        link = site.serve("/long.flac", media.long_flac, "audio/flac")
    async with start(download_allow_hosts=site.host) as client:
        download = asyncio.create_task(client.download(link))
        await eventually(lambda: bool(_commands(module)))
        for child in _commands(module):
            child.kill()
        result = await download
        assert result.error is not None
        assert result.error.reason == ("DOWNLOAD_FAILED" if module == "engines.fetch" else "DECODE_FAILED")
        # The service goes on.
        assert (await client.download(site.serve("/sine.wav", media.wav))).error is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_service_is_stopped(site: Any, tmp_path: Path, number: signal.Signals) -> None:
    """The real process, in the middle of a download. SIGKILL leaves it no time to clean up; its child ends anyway."""
    link = site.hang("/song.wav")
    folder = tmp_path / "downloads"
    folder.mkdir()
    settings = {"DOWNLOAD_ALLOW_HOSTS": site.host, "WORK_DIR": str(folder), "DRAIN_S": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "singscript_downloader"),
        env={f"SINGSCRIPT_{name}": value for name, value in settings.items()},
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(30):
            while not (address := re.search(rb'"address": "([^"]+)"', await process.stderr.readline())):
                pass
        async with dial(address[1].decode()) as channel:
            stub: Any = downloader_pb2_grpc.DownloaderServiceStub(channel)
            call = stub.Download(downloader_pb2.DownloadRequest(url=link), timeout=60)
            async for response in call:
                if response.event.progress.done_bytes:
                    break
            (fetching,) = psutil.Process(process.pid).children()
            process.send_signal(number)
            call.cancel()
            assert await asyncio.wait_for(process.wait(), 30) == (0 if number == signal.SIGTERM else -number)
        # By itself it would go on until its socket times out, after 15 s.
        await eventually(lambda: not fetching.is_running() or fetching.status() == psutil.STATUS_ZOMBIE, within_s=10)
        if number == signal.SIGTERM:
            assert not any(folder.iterdir())
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
