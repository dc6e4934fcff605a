"""One model for all: loaded once, exchanged when nobody uses it, given back after a while, never while in use."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singscript_models import keeper as module
from singscript_models.keeper import Keeper, ModelBusy

WAIT_S = 30.0  # for what must come
SHORT_S = 0.02


class Model:
    """Knows whether it can be used."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.usable = True


class Shelf:
    """Loads models, at most one at a time.

    Attributes:
        loads: the name of each load.
        alive: every model that was loaded.
        there: how many are loaded now.
    """

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.alive: list[weakref.ref[Model]] = []
        self.there = 0

    def load(self, name: str) -> Model:
        self.there += 1
        assert self.there == 1, "two models are loaded"
        model = Model(name)
        self.loads.append(name)
        self.alive.append(weakref.ref(model))
        return model

    def unload(self, model: Model) -> None:
        model.usable = False
        self.there -= 1

    def keeper(self, idle_s: float = 0.0) -> Keeper[str, Model]:
        return Keeper(self.load, self.unload, idle_s)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "idle model"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    for thread in watchers():
        thread.join(WAIT_S)
    assert watchers() == []


def eventually(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.001)


def used(keeper: Keeper[str, Model], name: str) -> str:
    with keeper.use(name) as model:
        assert model.usable
        return model.name


def test_a_model_is_loaded_once(shelf: Shelf) -> None:
    keeper = shelf.keeper()
    assert [used(keeper, "a") for _ in range(3)] == ["a", "a", "a"]
    assert shelf.loads == ["a"]


def test_threads_at_once_share_one_load(shelf: Shelf) -> None:
    keeper, together = shelf.keeper(), threading.Barrier(4)

    def use() -> None:
        with keeper.use("a") as model:
            together.wait(WAIT_S)  # all four are in
            assert model.usable

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(use) for _ in range(4)]:
            done.result(WAIT_S)
    assert shelf.loads == ["a"]


def test_another_model_takes_its_place_and_the_first_is_gone(shelf: Shelf) -> None:
    keeper = shelf.keeper()
    assert [used(keeper, name) for name in "aba"] == ["a", "b", "a"]
    assert shelf.loads == ["a", "b", "a"]
    assert [ref() is None for ref in shelf.alive] == [True, True, False]


def test_another_model_waits_for_those_who_use_the_first_and_those_who_come_later_wait_behind_it(shelf: Shelf) -> None:
    keeper = shelf.keeper()
    with ThreadPoolExecutor(2) as threads:
        with keeper.use("a") as first:
            other = threads.submit(used, keeper, "b")
            eventually(keeper._door.locked)
            behind = threads.submit(used, keeper, "a")
            with pytest.raises(TimeoutError):
                other.result(10 * SHORT_S)
            assert first.usable and not behind.done()
        assert (other.result(WAIT_S), behind.result(WAIT_S)) == ("b", "a")
    assert shelf.loads == ["a", "b", "a"]


def test_one_who_waits_in_vain_is_told_and_harms_nobody(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", SHORT_S)
    keeper = shelf.keeper()
    with keeper.use("a") as model:
        with pytest.raises(ModelBusy, match="Another model is in use") as raised:
            used(keeper, "b")
        assert (raised.value.reason, raised.value.retryable) == ("MODEL_BUSY", True)
        assert model.usable
        assert used(keeper, "a") == "a"
    assert used(keeper, "b") == "b"


def test_one_who_waits_in_vain_at_the_door_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, go = threading.Event(), threading.Event()

    def slow(name: str) -> Model:
        loading.set()
        assert go.wait(WAIT_S)
        return shelf.load(name)

    keeper = Keeper(slow, shelf.unload, 0)
    with ThreadPoolExecutor(1) as threads:
        first: Future[str] = threads.submit(used, keeper, "a")
        assert loading.wait(WAIT_S)
        monkeypatch.setattr(module, "WAIT_S", SHORT_S)
        with pytest.raises(ModelBusy):
            used(keeper, "a")
        go.set()
        assert first.result(WAIT_S) == "a"


def test_after_idle_time_the_model_is_gone_and_comes_back_when_asked_for(shelf: Shelf) -> None:
    keeper = shelf.keeper(SHORT_S)
    for loads in (1, 2):
        assert used(keeper, "a") == "a"
        eventually(lambda: shelf.alive[-1]() is None)
        assert len(shelf.loads) == loads
    assert shelf.there == 0


def test_a_model_in_use_is_never_idle(shelf: Shelf) -> None:
    keeper = shelf.keeper(SHORT_S)
    with keeper.use("a") as model:
        time.sleep(10 * SHORT_S)
        assert used(keeper, "a") == "a"
        time.sleep(10 * SHORT_S)
        assert model.usable
        del model
    eventually(lambda: shelf.alive[0]() is None)
    assert shelf.loads == ["a"]


def test_one_thread_watches_and_ends_when_the_keeper_is_closed(shelf: Shelf) -> None:
    keeper = shelf.keeper(3600.0)
    for name in "aab":
        used(keeper, name)
    (thread,) = watchers()
    keeper.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert shelf.alive[-1]() is None


def test_without_idle_time_it_stays_until_closed_and_may_be_used_again(shelf: Shelf) -> None:
    keeper = shelf.keeper()
    used(keeper, "a")
    assert watchers() == []
    assert shelf.there == 1
    keeper.close()
    keeper.close()
    assert shelf.there == 0
    assert shelf.alive[0]() is None
    assert used(keeper, "a") == "a"


def test_closing_waits_for_those_who_use_it(shelf: Shelf) -> None:
    keeper = shelf.keeper()
    with ThreadPoolExecutor(1) as threads:
        with keeper.use("a") as model:
            closed = threads.submit(keeper.close)
            eventually(keeper._door.locked)
            assert model.usable
        closed.result(WAIT_S)
    assert shelf.there == 0


def test_closing_does_not_wait_for_ever(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_WAIT_S", SHORT_S)
    keeper = shelf.keeper()
    with keeper.use("a") as model:
        keeper.close()
        assert model.usable
    assert "still in use" in caplog.text
    keeper.close()
    assert shelf.there == 0


def test_a_load_that_fails_is_told_and_tried_again(shelf: Shelf) -> None:
    fails = [True]

    def load(name: str) -> Model:
        if fails.pop():
            raise MemoryError("no room")
        return shelf.load(name)

    keeper = Keeper(load, shelf.unload, 0)
    with pytest.raises(MemoryError, match="no room"):
        used(keeper, "a")
    fails.append(False)
    assert used(keeper, "a") == "a"


def test_what_goes_wrong_in_use_lets_go_of_the_model(shelf: Shelf) -> None:
    keeper = shelf.keeper()
    with pytest.raises(KeyError), keeper.use("a"):
        raise KeyError
    assert used(keeper, "b") == "b"


def test_a_model_that_cannot_be_unloaded_is_dropped(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    def fail(model: Model) -> None:
        shelf.unload(model)
        raise RuntimeError("it hangs on")

    keeper = Keeper(shelf.load, fail, SHORT_S)
    used(keeper, "a")
    eventually(lambda: shelf.there == 0)
    assert used(keeper, "b") == "b"
    eventually(lambda: shelf.there == 0)
    assert "could not be unloaded" in caplog.text


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=8), min_size=1, max_size=5), st.sampled_from([0.0, 0.001, 60.0])
)
def test_whatever_comes_and_goes(streams: list[list[str]], idle_s: float) -> None:
    """Threads want models in any order: one at a time is loaded, everyone gets the own one, and it stays usable."""
    shelf = Shelf()
    keeper = shelf.keeper(idle_s)

    def stream(names: list[str]) -> list[str]:
        found: list[str] = []
        for name in names:
            with keeper.use(name) as model:
                time.sleep(0.001)
                assert model.usable
                found.append(model.name)
        return found

    with ThreadPoolExecutor(len(streams)) as threads:
        for names, done in zip(streams, [threads.submit(stream, names) for names in streams], strict=True):
            assert done.result(WAIT_S) == names
    keeper.close()
    assert shelf.there == 0
    gc.collect()
    assert not [ref for ref in shelf.alive if ref() is not None]
