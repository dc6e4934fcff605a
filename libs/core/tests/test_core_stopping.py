from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from singscript_core import stopping
from singscript_core.errors import Cancelled
from singscript_core.stopping import Stop


def test_actions_run_once_in_their_order_when_it_is_set() -> None:
    stop, ran = Stop(), list[int]()
    for number in range(3):
        stop.on_set(lambda number=number: ran.append(number))
    assert not stop.is_set and ran == []
    stop.set()
    stop.set()
    assert stop.is_set and ran == [0, 1, 2]


def test_an_action_that_comes_late_runs_at_once() -> None:
    stop, ran = Stop(), list[str]()
    stop.set()
    stop.on_set(lambda: ran.append("late"))
    assert ran == ["late"]


def test_an_action_may_use_what_it_belongs_to() -> None:
    stop, ran = Stop(), list[str]()
    stop.on_set(lambda: stop.on_set(lambda: ran.append("inner")))
    stop.on_set(stop.set)
    stop.set()
    assert ran == ["inner"]


def test_every_action_runs_exactly_once_whoever_is_first() -> None:
    def register(stop: Stop, together: threading.Barrier, action: Callable[[], None]) -> None:
        together.wait(30)
        stop.on_set(action)

    for _ in range(200):
        stop, ran, together = Stop(), list[str](), threading.Barrier(3)
        actions = [lambda name=name, ran=ran: ran.append(name) for name in "ab"]
        threads = [threading.Thread(target=register, args=(stop, together, action)) for action in actions]
        for thread in threads:
            thread.start()
        together.wait(30)
        stop.set()
        for thread in threads:
            thread.join()
        assert sorted(ran) == ["a", "b"]


def test_a_check_ends_only_what_is_governed_by_a_stop_that_is_set() -> None:
    outer, inner = Stop(), Stop()
    stopping.check()
    with outer.governing():
        stopping.check()
        with inner.governing():
            outer.set()
            stopping.check()  # the innermost one counts
            inner.set()
            with pytest.raises(Cancelled):
                stopping.check()
        with pytest.raises(Cancelled):
            stopping.check()
        elsewhere: list[Stop | None] = []
        thread = threading.Thread(target=lambda: elsewhere.append(stopping.current()))
        thread.start()
        thread.join()
        assert elsewhere == [None]
    stopping.check()


def test_what_was_governed_before_is_so_again_after_an_error() -> None:
    outer = Stop()
    with outer.governing():
        with pytest.raises(KeyError), Stop().governing():
            raise KeyError
        assert stopping.current() is outer
    assert stopping.current() is None
