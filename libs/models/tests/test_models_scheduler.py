"""Who computes when.

The networks here are fakes: they stand where the compute begins, so that a test decides when a call of theirs ends.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singscript_core import stopping
from singscript_core.errors import Cancelled
from singscript_models import scheduler as module
from singscript_models.scheduler import Lane, Scheduler

WAIT_S = 30.0  # for what must come


class Held:
    """Gives back what it is given; each call waits until it is let go.

    Attributes:
        calls: the items of each call, in the order in which they began.
        most: how many calls were under way at once, at most.
    """

    def __init__(self, parallel: int = 1, batch: int = 1) -> None:
        self.parallel, self.batch = parallel, batch
        self.calls: list[list[int]] = []
        self.most = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self._began = SimpleQueue[None]()
        self._go = threading.Semaphore(0)

    def estimate(self, items: Sequence[int]) -> list[int]:
        with self._lock:
            self.calls.append(list(items))
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        self._began.put(None)
        assert self._go.acquire(timeout=WAIT_S)
        with self._lock:
            self._under_way -= 1
        return list(items)

    def let_go(self, calls: int = 1) -> None:
        self._go.release(calls)

    def wait_for_call(self) -> None:
        self._began.get(timeout=WAIT_S)

    @property
    def order(self) -> list[int]:
        return [number for call in self.calls for number in call]


class Quick:
    """Gives back what it is given, after `work`, which may raise."""

    batch = 1

    def __init__(self, parallel: int = 1, work: Callable[[], object] = lambda: None) -> None:
        self.parallel = parallel
        self._work = work

    def estimate(self, items: Sequence[int]) -> list[int]:
        self._work()
        return list(items)


def result(future: Future[int]) -> int:
    return future.result(WAIT_S)


_of_others: set[threading.Thread] = set()


def compute_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "compute" and thread not in _of_others]


@pytest.fixture(autouse=True)
def no_thread_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test ends with no thread, as each ends when it has been idle for a moment."""
    _of_others.clear()  # those of tests before, in this process, that wait for more
    _of_others.update(compute_threads())
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    yield
    for thread in compute_threads():
        thread.join(WAIT_S)
    assert compute_threads() == []


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-1, 3), max_size=40))
def test_no_stream_starves(actions: list[int]) -> None:
    """Lanes submit (0 to 3) while calls end (-1): while one waits, each other one has a turn at most."""
    scheduler, network = Scheduler(), Held()
    lanes = [scheduler.lane() for _ in range(4)]
    waiting: list[list[int]] = [[] for _ in lanes]  # numbers
    turns = [[0] * len(lanes) for _ in lanes]  # of the others, while this lane waits
    owner: list[int] = []
    computing = False

    def next_call() -> None:
        nonlocal computing
        computing = any(waiting)
        if not computing:
            return
        network.wait_for_call()
        served = owner[network.order[-1]]
        assert waiting[served].pop(0) == network.order[-1], "a lane keeps its own order"
        for lane in range(len(lanes)):
            turns[lane][served] += bool(waiting[lane]) and lane != served
            assert max(turns[lane]) <= 1, "another lane had two turns before this one"
        turns[served] = [0] * len(lanes)

    for action in [*actions, *[-1] * len(actions)]:
        if action >= 0:
            if not waiting[action]:
                turns[action] = [0] * len(lanes)
            waiting[action].append(len(owner))
            owner.append(action)
            lanes[action].submit(network, len(owner) - 1)
            if not computing:
                next_call()
        elif computing:
            network.let_go()
            next_call()
    assert sorted(network.order) == list(range(len(owner)))


def test_a_stream_that_comes_late_waits_for_one_turn_of_a_long_one() -> None:
    scheduler, network = Scheduler(), Held()
    long, late = scheduler.lane(), scheduler.lane()
    futures = [long.submit(network, number) for number in range(10)]
    network.wait_for_call()
    futures += [late.submit(network, number) for number in (100, 101)]
    network.let_go(12)
    assert sorted(map(result, futures)) == [*range(10), 100, 101]
    assert max(network.order.index(100), network.order.index(101) - 2) <= 2
    assert network.most == 1


def test_as_many_calls_at_once_as_a_network_allows_and_no_more() -> None:
    scheduler, network = Scheduler(), Held(parallel=3)
    lane = scheduler.lane()
    futures = [lane.submit(network, number) for number in range(7)]
    for _ in range(3):
        network.wait_for_call()
    load = scheduler.load()
    assert (load.computing, load.queued, len(compute_threads())) == (3, 4, 3)
    network.let_go(7)
    assert list(map(result, futures)) == list(range(7))
    assert network.most == 3


@pytest.mark.parametrize("lanes", [1, 4])
def test_no_wake_up_is_lost(lanes: int) -> None:
    """Each round needs all four calls at once; with one thread asleep the barrier would break."""
    together = threading.Barrier(4)
    scheduler, network = Scheduler(), Quick(4, lambda: together.wait(WAIT_S))
    opened = [scheduler.lane() for _ in range(lanes)]
    for start in range(200):
        futures = [opened[number % lanes].submit(network, start + number) for number in range(4)]
        assert list(map(result, futures)) == list(range(start, start + 4))


def test_networks_share_the_machine() -> None:
    scheduler, networks = Scheduler(), [Held(2) for _ in range(4)]
    lane = scheduler.lane()
    futures = [lane.submit(networks[number % 4], number) for number in range(12)]
    for number, future in enumerate(futures):
        networks[number % 4].wait_for_call()
        assert scheduler.load().computing <= 2
        networks[number % 4].let_go()
        assert result(future) == number


def test_a_network_that_needs_the_machine_for_itself_gets_its_turn() -> None:
    scheduler, many, alone = Scheduler(), Held(2), Held(1)
    first, second = scheduler.lane(), scheduler.lane()
    futures = [first.submit(many, number) for number in range(2)]
    for _ in range(2):
        many.wait_for_call()
    waits = second.submit(alone, 100)
    futures += [first.submit(many, number) for number in range(2, 20)]
    many.let_go(2)
    alone.wait_for_call()  # before the 18 that still came through a lane that had its turn
    alone.let_go()
    many.let_go(18)
    assert result(waits) == 100
    assert list(map(result, futures)) == list(range(20))
    assert many.most == 2


def test_what_waits_behind_a_lane_that_is_closed_starts_at_once() -> None:
    scheduler, many, alone = Scheduler(), Held(2), Quick(1)
    first, second, third = (scheduler.lane() for _ in range(3))
    held = first.submit(many, 1)
    many.wait_for_call()
    second.submit(alone, 2)
    behind = third.submit(many, 3)
    assert scheduler.load().queued == 2
    second.close()
    many.wait_for_call()
    many.let_go(2)
    assert (result(held), result(behind)) == (1, 3)


def test_a_batch_takes_from_all_lanes_in_turn() -> None:
    scheduler, network, other = Scheduler(), Held(batch=4), Held(batch=4)
    plug, a, b, c, d = (scheduler.lane() for _ in range(5))
    futures = [plug.submit(network, 0)]
    network.wait_for_call()
    futures += [a.submit(network, number) for number in (1, 2, 3, 4)]
    futures += [b.submit(network, number) for number in (11, 12)]
    futures += [c.submit(network, 21, like="other"), c.submit(network, 22)]
    futures += [d.submit(other, 31)]
    network.let_go(10)
    other.let_go()
    assert [result(future) for future in futures] == [0, 1, 2, 3, 4, 11, 12, 21, 22, 31]
    assert network.calls == [[0], [1, 11, 2, 12], [21], [3, 22, 4]]
    assert other.calls == [[31]]


def test_an_error_reaches_the_futures_of_its_call_and_no_others() -> None:
    class Failing(Held):
        def estimate(self, items: Sequence[int]) -> list[int]:
            found = super().estimate(items)
            if 1 in self.calls[-1]:
                raise MemoryError("too long")
            return found

    scheduler, network = Scheduler(), Failing(batch=2)
    plug, a, b = (scheduler.lane() for _ in range(3))
    first = plug.submit(network, 0)
    network.wait_for_call()
    failed = [a.submit(network, 1), b.submit(network, 2)]
    after = [a.submit(network, 3), b.submit(network, 4)]
    network.let_go(3)
    assert result(first) == 0
    for future in failed:
        with pytest.raises(MemoryError, match="too long"):
            future.result(WAIT_S)
    assert list(map(result, after)) == [3, 4]
    assert (scheduler.load().computing, scheduler.load().queued) == (0, 0)


def test_a_lane_that_is_closed_drops_what_waits_and_lets_go_of_the_rest() -> None:
    scheduler, network = Scheduler(), Held(batch=2)
    gone, stays = scheduler.lane(), scheduler.lane()
    futures = [gone.submit(network, 0)]
    network.wait_for_call()
    futures += [gone.submit(network, number) for number in (1, 2, 3)]
    kept = stays.submit(network, 100)
    gone.close()
    gone.close()
    for future in futures:
        assert isinstance(future.exception(timeout=0), Cancelled), "at once, though the network computes on"
    load = scheduler.load()
    assert (load.open_lanes, load.queued, load.computing) == (1, 1, 1)
    network.let_go(2)
    assert result(kept) == 100
    assert network.calls == [[0], [100]]
    assert isinstance(gone.submit(network, 4).exception(timeout=0), Cancelled)
    assert scheduler.load().queued == 0


class Checking(Held):
    """Computes until it is let go, or until its call is stopped."""

    def estimate(self, items: Sequence[int]) -> list[int]:
        with self._lock:
            self.calls.append(list(items))
        self._began.put(None)
        while not self._go.acquire(timeout=0.005):
            stopping.check()
        return list(items)


def test_a_call_that_nobody_waits_for_is_stopped_and_the_next_begins() -> None:
    scheduler, network = Scheduler(), Checking()
    gone, stays = scheduler.lane(), scheduler.lane()
    dropped = gone.submit(network, 0)
    network.wait_for_call()
    kept = stays.submit(network, 100)
    gone.close()
    assert isinstance(dropped.exception(timeout=0), Cancelled)
    network.wait_for_call()  # nobody has let the first one go
    network.let_go()
    assert result(kept) == 100
    assert scheduler.load().computing == 0
    assert scheduler.load().expected_wait_s is not None


def test_a_call_for_several_streams_goes_on_until_the_last_of_them_has_left() -> None:
    scheduler, network = Scheduler(), Checking(batch=2)
    plug, a, b = (scheduler.lane() for _ in range(3))
    first = plug.submit(network, 0)
    network.wait_for_call()
    futures = [a.submit(network, 1), b.submit(network, 2)]
    network.let_go()
    assert result(first) == 0
    network.wait_for_call()
    a.close()
    assert isinstance(futures[0].exception(timeout=0), Cancelled)
    assert not futures[1].done()
    network.let_go()
    assert result(futures[1]) == 2
    again = [plug.submit(network, 3), b.submit(network, 4)]
    network.wait_for_call()
    while sum(map(len, network.calls)) < 5:  # in one call, or in two
        network.let_go()
        network.wait_for_call()
    plug.close()
    b.close()
    assert all(future.exception(WAIT_S) is None or isinstance(future.exception(), Cancelled) for future in again)
    until_s = time.monotonic() + WAIT_S
    while scheduler.load().computing and time.monotonic() < until_s:
        time.sleep(0.001)
    assert scheduler.load().computing == 0


def test_load_tells_how_many_items_the_network_takes() -> None:
    scheduler = Scheduler()
    lane = scheduler.lane()
    few, many = Quick(2), Quick(3)
    many.batch = 4
    assert [result(lane.submit(few, 0)), scheduler.load().parallel] == [0, 2]
    assert [result(lane.submit(many, 0)), scheduler.load().parallel] == [0, 12]


def test_a_lane_is_closed_on_every_way_out() -> None:
    scheduler = Scheduler()
    with pytest.raises(KeyError), scheduler.lane() as lane:
        assert scheduler.load().open_lanes == 1
        raise KeyError
    assert scheduler.load().open_lanes == 0
    assert isinstance(lane.submit(Quick(), 0).exception(timeout=0), Cancelled)


def test_threads_end_when_there_is_nothing_to_do_and_come_back() -> None:
    scheduler, network = Scheduler(), Quick()
    lane = scheduler.lane()
    for number in range(3):
        assert result(lane.submit(network, number)) == number
        (thread,) = compute_threads()
        thread.join(WAIT_S)
        assert compute_threads() == []


def test_a_thread_that_waits_keeps_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", WAIT_S)
    scheduler, seen = Scheduler(), list[weakref.ref[object]]()

    class Sound:
        pass

    class Watched:
        parallel, batch = 1, 1

        def estimate(self, items: Sequence[Sound]) -> list[Sound]:
            found = [Sound() for _ in items]
            seen.extend(map(weakref.ref, (*items, *found)))
            return found

    lane = scheduler.lane()
    assert isinstance(lane.submit(Watched(), Sound()).result(WAIT_S), Sound)
    until_s = time.monotonic() + WAIT_S / 2
    while [ref for ref in seen if ref() is not None] and time.monotonic() < until_s:
        gc.collect()  # the thread may be on its way to its next wait
        time.sleep(0.001)
    assert len(seen) == 2 and all(ref() is None for ref in seen)
    assert compute_threads(), "it waits for more"
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    assert result(lane.submit(Quick(), 2)) == 2


def test_load_tells_how_long_an_item_would_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    scheduler, network = Scheduler(), Held(parallel=2)
    lane = scheduler.lane()
    assert scheduler.load() == module.Load(open_lanes=1, queued=0, computing=0, expected_wait_s=None, parallel=None)
    first = lane.submit(network, 0)
    network.wait_for_call()
    assert scheduler.load().expected_wait_s is None
    clock.now_s = 3.0
    network.let_go()
    assert result(first) == 0
    rest = [lane.submit(network, 1), lane.submit(network, 2)]
    for _ in rest:
        network.wait_for_call()
    rest += [lane.submit(network, number) for number in range(3, 7)]
    load = scheduler.load()
    assert (load.queued, load.computing) == (4, 2)
    assert load.expected_wait_s == pytest.approx(4 * 3.0 / 2)
    network.let_go(6)
    assert list(map(result, rest)) == [1, 2, 3, 4, 5, 6]
    clock.now_s = 100.0  # for the threads that wait


def test_a_call_that_fails_says_nothing_about_the_speed() -> None:
    def fail() -> None:
        raise ValueError("no")

    scheduler = Scheduler()
    lane = scheduler.lane()
    with pytest.raises(ValueError, match="no"):
        lane.submit(Quick(work=fail), 0).result(WAIT_S)
    assert scheduler.load().expected_wait_s is None
    assert result(lane.submit(Quick(), 1)) == 1
    assert scheduler.load().expected_wait_s == 0


def test_where_no_more_threads_can_be_had_those_that_there_are_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, network = Scheduler(), Held(parallel=4)
    lane = scheduler.lane()
    first = lane.submit(network, 0)
    network.wait_for_call()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        futures = [first, *(lane.submit(network, number) for number in range(1, 4))]
        with pytest.raises(RuntimeError, match="new thread"), Scheduler().lane() as other:
            other.submit(network, 9)
    network.let_go(4)
    assert list(map(result, futures)) == [0, 1, 2, 3]
    assert network.most == 1


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_every_future_ends_whatever_comes_and_goes(streams: list[tuple[int, bool]], parallel: int, batch: int) -> None:
    """Streams on threads of their own; some are closed by another thread while they are under way."""
    scheduler, network = Scheduler(), Quick(parallel)
    network.batch = batch
    trouble: list[object] = []

    def stream(segments: int, lane: Lane, leaves: bool) -> None:
        with lane:
            futures = [lane.submit(network, number) for number in range(segments)]
            for number, future in enumerate(futures):
                error = future.exception(WAIT_S)
                if (error is None and result(future) != number) or (error is not None and not leaves):
                    trouble.append(error or number)

    threads: list[threading.Thread] = []
    for segments, leaves in streams:
        lane = scheduler.lane()
        threads.append(threading.Thread(target=stream, args=(segments, lane, leaves)))
        if leaves:
            threads.append(threading.Thread(target=lane.close))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not trouble
    load = scheduler.load()
    assert (load.open_lanes, load.queued) == (0, 0)
