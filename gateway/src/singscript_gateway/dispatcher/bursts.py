"""Items that come faster than they are taken are taken together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from typing import TypeVar

T = TypeVar("T")


async def bursts(items: AsyncIterable[T], most: int) -> AsyncGenerator[list[T]]:
    """Yields what has come since the last time, in order: at least one, `most` at most.

    No more than `most` are read ahead. What `items` raises comes after all items before it.
    """
    come: asyncio.Queue[T] = asyncio.Queue(most)

    async def read() -> None:
        async for item in items:
            await come.put(item)

    reader = asyncio.create_task(read())
    try:
        while True:
            first = asyncio.create_task(come.get())
            try:
                await asyncio.wait({first, reader}, return_when=asyncio.FIRST_COMPLETED)
                if not first.done() and come.empty():
                    break
                burst = [await first]
            finally:
                first.cancel()
            while not come.empty() and len(burst) < most:
                burst.append(come.get_nowait())
            yield burst
        # Raises what has ended it.
        await reader
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
