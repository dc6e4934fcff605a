"""A TCP proxy on loopback that delays, stops passing, or cuts: the network's faults between two real processes.

with FaultyProxy(("127.0.0.1", 5432)) as proxy:     # or the path of a Unix socket
    connect(proxy.address)
    proxy.hold()                                     # half-open: nothing passes, nobody is told
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType

_BLOCK_BYTES = 1 << 16
# What may be on its way while it is delayed; more than that holds the sender back.
_BLOCKS_ON_THE_WAY = 64


class FaultyProxy:
    """Passes bytes to `target` until it is told to misbehave. Runs on a thread of its own.

    Attributes:
        address: where it listens: "127.0.0.1:40000".
        delay_s: how late each block comes, in either direction.
    """

    def __init__(self, target: tuple[str, int] | Path) -> None:
        self._target = target
        self.delay_s = 0.0
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty proxy", daemon=True)
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def hold(self) -> None:
        """From now on nothing passes; connections stay open, and new ones are taken and not answered."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def release(self) -> None:
        """Passes again, also what was held."""
        self._loop.call_soon_threadsafe(self._passing.set)

    def cut(self) -> None:
        """Resets every connection, and refuses new ones until `mend`."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def mend(self) -> None:
        self._refusing = False

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return server

    async def _close(self) -> None:
        self._server.close()
        await self._end_connections()

    async def _cut(self) -> None:
        self._refusing = True
        await self._end_connections()

    async def _end_connections(self) -> None:
        ending = list(self._connections)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if not self._refusing:
                await self._passing.wait()
                await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # a cut is what this is for
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._target, Path):
            there, to_there = await asyncio.open_unix_connection(self._target)
        else:
            there, to_there = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as all_four:
                for source, sink in ((reader, to_there), (there, writer)):
                    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_BLOCKS_ON_THE_WAY)
                    all_four.create_task(self._take(source, queue))
                    all_four.create_task(self._give(queue, sink))
        except* OSError:
            pass  # one side was reset; the other is told by the end of its connection
        finally:
            to_there.transport.abort()

    async def _take(self, source: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        block = b"more"
        while block:
            block = await source.read(_BLOCK_BYTES)
            await queue.put((self._loop.time() + self.delay_s, block))

    async def _give(self, queue: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        while True:
            due_s, block = await queue.get()
            await asyncio.sleep(max(0.0, due_s - self._loop.time()))
            await self._passing.wait()
            if not block:
                sink.write_eof()
                return
            sink.write(block)
            await sink.drain()
