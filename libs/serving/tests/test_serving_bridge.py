"""The bridge between asynchronous streams and blocking engines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singscript_core import stopping
from singscript_core.errors import BrokenStream, Cancelled
from singscript_core.stopping import Stop
from singscript_serving.bridge import Relay, run_engine


async def source(items: list[int | Relay[str]]) -> AsyncGenerator[int | Relay[str]]:
    for one in items:
        await asyncio.sleep(0)
        yield one


async def endless(made: list[int]) -> AsyncGenerator[int | Relay[str]]:
    while True:
        made.append(len(made))
        yield len(made)
        await asyncio.sleep(0)


def double(numbers: Iterator[int]) -> Iterator[int]:
    for number in numbers:
        yield 2 * number


def no_engine_threads() -> bool:
    return not any(t.name == "engine" for t in threading.enumerate())


@settings(deadline=None)  # it is not about time, and machines are shared
@given(st.lists(st.one_of(st.integers(), st.text(max_size=3)), max_size=40), st.integers(1, 5))
def test_everything_arrives_in_order_and_relays_too(things: list[int | str], capacity: int) -> None:
    async def collect() -> list[int | Relay[str]]:
        items: list[int | Relay[str]] = [Relay(t) if isinstance(t, str) else t for t in things]
        async with aclosing(run_engine(double, source(items), capacity)) as results:
            return [r async for r in results]

    results = asyncio.run(collect())
    assert [r for r in results if not isinstance(r, Relay)] == [2 * t for t in things if isinstance(t, int)]
    assert [r.message for r in results if isinstance(r, Relay)] == [t for t in things if isinstance(t, str)]
    assert no_engine_threads()


async def test_an_error_of_the_engine_reaches_the_consumer_after_its_results() -> None:
    def fail(numbers: Iterator[int]) -> Iterator[int]:
        yield next(numbers)
        raise ValueError("engine")

    seen: list[object] = []
    with pytest.raises(ValueError, match="engine"):
        async with aclosing(run_engine(fail, source([1, 2, 3]))) as results:
            async for one in results:
                seen.append(one)
    assert seen == [1]


async def test_an_error_of_the_source_is_raised_inside_the_engine() -> None:
    async def cut() -> AsyncGenerator[int | Relay[str]]:
        yield 1
        raise BrokenStream("cut")

    ends: list[str] = []

    def careful(numbers: Iterator[int]) -> Iterator[int]:
        try:
            yield from numbers
        except BrokenStream as error:
            ends.append(error.message)
            raise

    with pytest.raises(BrokenStream):
        async with aclosing(run_engine(careful, cut())) as results:
            assert [one async for one in results] == [1]
    assert ends == ["cut"]


async def test_leaving_early_raises_cancelled_inside_the_engine_and_closes_the_source() -> None:
    ends: list[str] = []

    async def watched() -> AsyncGenerator[int | Relay[str]]:
        try:
            while True:
                yield 1
        finally:
            ends.append("source closed")

    def engine(numbers: Iterator[int]) -> Iterator[int]:
        try:
            for _ in numbers:
                pass
            yield 0
        except Cancelled:
            ends.append("engine cancelled")
            raise

    async def use() -> None:
        async with aclosing(run_engine(engine, watched())) as results:
            async for _ in results:
                pass

    task = asyncio.create_task(use())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ends) == ["engine cancelled", "source closed"]
    assert no_engine_threads()


async def test_a_consumer_that_waits_holds_the_source_back() -> None:
    made: list[int] = []
    async with aclosing(run_engine(double, endless(made), capacity=4)) as results:
        await anext(results)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(made) <= 2 * 4 + 4


async def test_an_engine_that_ends_early_ends_the_stream() -> None:
    def first_only(numbers: Iterator[int]) -> Iterator[int]:
        yield next(numbers)

    async with aclosing(run_engine(first_only, endless([]), capacity=2)) as results:
        assert [one async for one in results] == [1]


async def test_stop_is_set_when_all_has_been_given() -> None:
    stop = Stop()
    async with aclosing(run_engine(double, source([1, 2]), stop=stop)) as results:
        async for _ in results:
            assert not stop.is_set
        assert stop.is_set


async def test_stop_is_set_after_an_error() -> None:
    def fail(numbers: Iterator[int]) -> Iterator[int]:
        yield next(numbers)
        assert not stop.is_set
        raise ValueError("engine")

    stop = Stop()
    with pytest.raises(ValueError, match="engine"):
        async with aclosing(run_engine(fail, source([1, 2]), stop=stop)) as results:
            async for _ in results:
                pass
    assert stop.is_set


def elsewhere(stop: Stop, waits: threading.Event) -> Callable[[Iterator[int]], Iterator[int]]:
    """An engine that gives its first input and then waits for neither input nor output, but until it is stopped."""

    def engine(numbers: Iterator[int]) -> Iterator[int]:
        yield next(numbers)
        stopped = threading.Event()
        stop.on_set(stopped.set)
        waits.set()
        assert stopped.wait(30)
        raise Cancelled("The caller went away.")

    return engine


async def test_a_consumer_that_leaves_stops_an_engine_that_waits_for_something_else() -> None:
    stop, waits = Stop(), threading.Event()
    async with aclosing(run_engine(elsewhere(stop, waits), source([1, 2]), stop=stop)) as results:
        assert await anext(results) == 1
        await asyncio.to_thread(waits.wait, 30)
        assert not stop.is_set
    assert stop.is_set and no_engine_threads()


async def test_a_task_that_is_cancelled_stops_an_engine_that_waits_for_something_else() -> None:
    stop, waits = Stop(), threading.Event()

    async def use() -> None:
        async with aclosing(run_engine(elsewhere(stop, waits), source([1, 2]), stop=stop)) as results:
            async for _ in results:
                pass

    task = asyncio.create_task(use())
    await asyncio.to_thread(waits.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stop.is_set and no_engine_threads()


async def test_a_consumer_that_leaves_ends_what_the_engine_computes() -> None:
    computes = threading.Event()

    def engine(numbers: Iterator[int]) -> Iterator[int]:
        yield next(numbers)
        computes.set()
        while True:  # neither input nor output
            stopping.check()
            time.sleep(0.001)

    async with aclosing(run_engine(engine, source([1, 2]))) as results:
        assert await anext(results) == 1
        await asyncio.to_thread(computes.wait, 30)
    assert no_engine_threads()
