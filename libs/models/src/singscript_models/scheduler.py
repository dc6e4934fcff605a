"""Who computes when: items of all open streams take turns, as many at once as the network can."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from singscript_core.errors import Cancelled
from singscript_core.stopping import Stop

IDLE_S = 10.0  # after which a thread ends

_GONE = "The caller went away."

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Network(Protocol[Item_contra, Result_co]):
    """A loaded model, ready to compute."""

    @property
    def parallel(self) -> int:
        """How many calls of `estimate` may run at once."""
        ...

    @property
    def batch(self) -> int:
        """How many items one call takes at most."""
        ...

    def estimate(self, items: Sequence[Item_contra], /) -> Sequence[Result_co]:
        """One result for each item; the items are alike (see `Lane.submit`).

        Calls `stopping.check` now and then, which raises once nobody wants any of the results: within 2 s the call
        ends, and what it used is free for the next.
        """
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a scheduler is.

    Attributes:
        open_lanes: streams that are being computed.
        queued, computing: items that wait, and those under way.
        expected_wait_s: how long an item that came now would wait; None before the first was computed.
        parallel: how many items the network that was used last takes at once; None before any was.
    """

    open_lanes: int
    queued: int
    computing: int
    expected_wait_s: float | None
    parallel: int | None


@dataclass(slots=True, eq=False)
class _Job:
    lane: Lane
    network: Network[Any, Any]
    item: Any
    like: object
    future: Future[Any]


@dataclass(slots=True, eq=False)
class _Call:
    """Jobs that are computed together; `stop` is set once nobody waits for any of them."""

    jobs: list[_Job]
    stop: Stop = field(default_factory=Stop)

    @property
    def is_wanted(self) -> bool:
        return any(not job.future.done() for job in self.jobs)


class Lane:
    """The items of one stream; a context manager."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def submit(self, network: Network[Item, Result], item: Item, like: object = None) -> Future[Result]:
        """Queues an item, to be computed together only with others whose `like` is equal.

        The future raises Cancelled when the lane is closed first, and what the network raises.
        """
        return self._scheduler.submit(self, network, item, like)

    def close(self) -> None:
        """Drops all that waits and lets go of what is under way, at once; from any thread, more than once.

        A call that computes for no other lane is stopped.
        """
        self._scheduler.close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Scheduler:
    """Owns the compute. Lanes are served round robin, so a stream that comes late waits for one turn of each other.

    Networks share one machine: a call starts while fewer run, of whatever network, than its own network allows.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[Lane, deque[_Job]] = {}  # of all open lanes; the one to be served next comes first
        self._calls: list[_Call] = []  # under way
        self._idle_threads = 0
        self._item_s: float | None = None  # how long an item keeps one call busy; a running mean
        self._parallel: int | None = None  # as `Load` has it

    def lane(self) -> Lane:
        """A lane for one stream."""
        lane = Lane(self)
        with self._changed:
            self._waiting[lane] = deque()
        return lane

    def load(self) -> Load:
        with self._changed:
            waiting = [job for jobs in self._waiting.values() for job in jobs]
            wait_s = None
            if self._item_s is not None:
                wait_s = sum(self._item_s / job.network.parallel for job in waiting)
            computing = sum(len(call.jobs) for call in self._calls)
            return Load(len(self._waiting), len(waiting), computing, wait_s, self._parallel)

    def submit(self, lane: Lane, network: Network[Item, Result], item: Item, like: object) -> Future[Result]:
        job = _Job(lane, network, item, like, Future())
        with self._changed:
            if lane not in self._waiting:
                job.future.set_exception(Cancelled(_GONE))
                return job.future
            self._waiting[lane].append(job)
            self._parallel = network.parallel * network.batch
            self._call_thread()
        return job.future

    def close(self, lane: Lane) -> None:
        with self._changed:
            waiting = self._waiting.pop(lane, ())
            under_way = (job for call in self._calls for job in call.jobs if job.lane is lane)
            for job in (*waiting, *under_way):
                if not job.future.done():
                    job.future.set_exception(Cancelled(_GONE))
            unwanted = [call.stop for call in self._calls if not call.is_wanted]
            self._call_thread()  # what stood behind may have room
        for stop in unwanted:
            stop.set()

    def _head(self) -> _Job | None:
        """The job whose turn it is, if there is room for it; it goes before all others, or it might never fit."""
        job = next((jobs[0] for jobs in self._waiting.values() if jobs), None)
        return job if job and len(self._calls) < job.network.parallel else None

    def _call_thread(self) -> None:
        """Has one thread come if there is something to do; that one calls the next."""
        if self._head() is None:
            return
        if self._idle_threads:
            self._changed.notify()
            return
        try:
            threading.Thread(target=self._work, name="compute", daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            if not self._calls:
                raise
        else:
            self._idle_threads += 1

    def _work(self) -> None:
        """The life of a thread, which ends when there has been nothing to do for a while."""
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Computes what comes next; False where nothing came. A thread that waits keeps no results alive."""
        call = self._take()
        if call is None:
            return False
        started_s = time.monotonic()
        try:
            with call.stop.governing():
                results = call.jobs[0].network.estimate([job.item for job in call.jobs])
        except BaseException as error:  # noqa: BLE001  (raised again where the results are waited for)
            self._done(call, error, time.monotonic() - started_s)
        else:
            self._done(call, results, time.monotonic() - started_s)
        return True

    def _take(self) -> _Call | None:
        """What a thread computes next; None when it should end."""
        with self._changed:
            until_s = time.monotonic() + IDLE_S
            while not (jobs := self._next()):
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._idle_threads -= 1
            if not jobs:
                return None
            call = _Call(jobs)
            self._calls.append(call)
            self._call_thread()
            return call

    def _next(self) -> list[_Job]:
        """Takes one job of each lane in turn, and goes round again until the batch is full."""
        head = self._head()
        if head is None:
            return []
        jobs: list[_Job] = []
        lanes = deque(self._waiting)
        while lanes and len(jobs) < head.network.batch:
            lane = lanes.popleft()
            waiting = self._waiting[lane]
            if waiting and waiting[0].network is head.network and waiting[0].like == head.like:
                jobs.append(waiting.popleft())
                self._waiting[lane] = self._waiting.pop(lane)  # to the end
                lanes.append(lane)
        return jobs

    def _done(self, call: _Call, result: Sequence[Any] | BaseException, took_s: float) -> None:
        with self._changed:
            self._calls.remove(call)
            self._idle_threads += 1
            for place, job in enumerate(call.jobs):
                if job.future.done():
                    continue  # its lane was closed meanwhile
                if isinstance(result, BaseException):
                    job.future.set_exception(result)
                else:
                    job.future.set_result(result[place])
            if not isinstance(result, BaseException):
                each_s = took_s / len(call.jobs)
                self._item_s = each_s if self._item_s is None else 0.8 * self._item_s + 0.2 * each_s
