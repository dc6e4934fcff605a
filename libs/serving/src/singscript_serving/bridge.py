"""Between an asynchronous stream and a blocking engine: one thread, two bounded queues, and a clean end.

An engine is a plain function from an iterator to an iterator. It runs on a thread of its own, pulls its input as it
needs it, and waits when nobody takes its output: back-pressure reaches from the last client to the first source.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import janus

from singscript_core.errors import Cancelled
from singscript_core.stopping import Stop

In = TypeVar("In")
Out = TypeVar("Out")
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Relay(Generic[M]):
    """Goes past the engine, straight from the source to the output."""

    message: M


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _End:
    """The last item of a queue."""


_END = _End()


async def run_engine(
    engine: Callable[[Iterator[In]], Iterator[Out]],
    source: AsyncGenerator[In | Relay[M]],
    capacity: int = 8,
    *,
    stop: Stop | None = None,
) -> AsyncGenerator[Out | Relay[M]]:
    """Runs `engine` on a thread over what `source` yields; yields its results and, as they come, relayed messages.

    Ends when the engine ends: an engine that reads its input to the end has everything relayed before. An error of
    the source is raised inside the engine's input, and here. When the consumer stops early, or the task is cancelled,
    the engine's input iterator (or its next output) raises Cancelled inside the thread, and the thread ends; close
    this generator with `contextlib.aclosing`.

    Args:
        engine: blocking; from an iterator of inputs to an iterator of outputs.
        source: inputs, and Relay items that skip the engine; closed at the end.
        capacity: how many items each queue holds.
        stop: set when the generator ends in whatever way, for an engine that waits for more than its input and output.
            It, or one that is made here, also governs the engine's thread.
    """
    inputs: janus.Queue[In | _End | _Failed] = janus.Queue(capacity)
    outputs: janus.Queue[Out | Relay[M] | _End | _Failed] = janus.Queue(capacity)

    async def feed() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    if isinstance(item, Relay):
                        await outputs.async_q.put(item)
                    else:
                        await inputs.async_q.put(item)
            await inputs.async_q.put(_END)
        except janus.AsyncQueueShutDown:
            pass  # the engine ended before its input did
        except Exception as error:  # noqa: BLE001  (raised again, where the engine reads its input)
            with suppress(janus.AsyncQueueShutDown):
                await inputs.async_q.put(_Failed(error))

    def pull() -> Iterator[In]:
        while True:
            try:
                item = inputs.sync_q.get()
            except janus.SyncQueueShutDown:
                raise Cancelled("The caller went away.") from None
            if isinstance(item, _End):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item

    def work() -> None:
        with governor.governing():
            work_until_stopped()

    def work_until_stopped() -> None:
        last: _End | _Failed = _END
        results = engine(pull())
        try:
            for result in results:
                outputs.sync_q.put(result)
        except janus.SyncQueueShutDown:
            pass
        except BaseException as error:  # noqa: BLE001  (raised again, in the consumer)
            last = _Failed(error)
        finally:
            if isinstance(results, Generator):
                results.close()  # the engine's own clean-up runs on its own thread
        with suppress(janus.SyncQueueShutDown):
            outputs.sync_q.put(last)
        with suppress(RuntimeError):  # the loop is gone when the process is on its way out
            loop.call_soon_threadsafe(ended.set)

    governor = stop or Stop()
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    context = contextvars.copy_context()
    # A thread of its own, not one of a pool: a slow engine must not starve the short calls that share the pool.
    thread = threading.Thread(target=context.run, args=(work,), name="engine", daemon=True)
    feeder = asyncio.create_task(feed())
    thread.start()
    try:
        while True:
            item = await outputs.async_q.get()
            if isinstance(item, _End):
                break
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        inputs.shutdown(immediate=True)
        outputs.shutdown(immediate=True)
        governor.set()
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        # The engine sees the shutdown at its next input or output, or at its next `stopping.check`.
        await ended.wait()
        thread.join()  # it has nothing left to do
        await asyncio.gather(inputs.wait_closed(), outputs.wait_closed())
