"""Windows that nobody waits for any more while a real engine hears them: the next stream gets its turn."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nano_whisper
import openai_server
import psutil
import pytest
from transcriber_sound import RATE, Speech

from singscript_core import stopping
from singscript_core.errors import Cancelled
from singscript_models.reach import Reach
from singscript_models.scheduler import Scheduler
from singscript_models.whisper.weights import Place
from singscript_transcriber.engines import Engine, Heard, Listener, Window, Wish, ct2_model
from singscript_transcriber.engines.faster_whisper import FasterWhisperEngine
from singscript_transcriber.engines.openai import OpenAIEngine
from singscript_transcriber.engines.sphinx import SphinxEngine
from singscript_transcriber.engines.whisper import WhisperEngine

WAIT_S = 60.0


def ready(engine: Engine) -> Listener:
    working = engine.ready(engine.model(""))
    while True:
        try:
            next(working)
        except StopIteration as end:
            return end.value


def heard_after_a_cancel(listener: Listener, window: Window, computes: Callable[[], object]) -> Heard:
    """What a second stream hears of a window whose first stream left once `computes` had returned."""
    scheduler = Scheduler()
    with scheduler.lane() as gone, scheduler.lane() as stays:
        dropped = [gone.submit(listener, window) for _ in range(listener.parallel)]  # no place is free
        kept = stays.submit(listener, window)
        until_s = time.monotonic() + WAIT_S
        while scheduler.load().computing < listener.parallel and time.monotonic() < until_s:
            time.sleep(0.001)
        computes()
        gone.close()
        assert all(isinstance(future.exception(timeout=0), Cancelled) for future in dropped)
        return kept.result(WAIT_S)


class Slow:
    """A step that takes as long as its call is wanted, the first `times` times."""

    def __init__(self, times: int) -> None:
        self.began = threading.Semaphore(0)
        self.ended: list[bool] = []
        self._lock = threading.Lock()
        self._left = times

    def __call__(self, *_: Any) -> None:
        with self._lock:
            self._left -= 1
            if self._left < 0:
                return
        stop, stopped = stopping.current(), threading.Event()
        assert stop is not None
        stop.on_set(stopped.set)
        self.began.release()
        self.ended.append(stopped.wait(WAIT_S))

    def wait(self) -> None:
        assert self.began.acquire(timeout=WAIT_S)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    nano_whisper.save_openai(tmp_path / "toy.pt", " the morning train", end_s=2.0)
    nano_whisper.convert(tmp_path / "toy.pt", tmp_path / "faster-whisper-toy")
    return Place(tmp_path, allow_download=False, reach=Reach())


@pytest.mark.parametrize("step", ["encoder", "decoder", "word times"])
def test_whisper(place: Place, speech: Speech, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, window, slow = WhisperEngine(place, "toy", 0.0), Window(speech.samples[: 2 * RATE], Wish()), Slow(1)
    listener = ready(engine)
    (expected,) = listener.estimate([window])
    assert expected.utterances
    with engine._keeper.use(place.models_dir / "toy.pt") as model:
        blocks: Any = model.decoder.blocks
        attention = blocks[0].cross_attn
        own_hooks = [len(module._forward_hooks) for module in model.modules()]
        if step == "encoder":
            model.encoder.conv1.register_forward_pre_hook(slow)
        else:  # whisper has hooks of its own while it looks for the times of words
            wanted = step == "word times"

            def wait(*_: Any) -> None:
                if bool(attention._forward_hooks) == wanted:
                    slow()

            attention.register_forward_pre_hook(wait)
        assert heard_after_a_cancel(listener, window, slow.wait) == expected
        assert slow.ended == [True]
        assert [len(module._forward_hooks) for module in model.modules()] == own_hooks
    engine.close()


def test_faster_whisper_is_left_behind_and_does_no_further_step(
    place: Place, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, window, decoded = FasterWhisperEngine(place, "toy", 0.0), Window(speech.samples[: 2 * RATE], Wish()), []
    listener = ready(engine)
    (expected,) = listener.estimate([window])
    go, began, ended = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)
    choose, decode, left = ct2_model.Model._choose_languages, ct2_model.Model._decode, [listener.parallel]

    def slow(self: ct2_model.Model, *arguments: Any) -> None:
        """CTranslate2 computes on, whether anybody waits for it or not."""
        left[0] -= 1
        if left[0] < 0:
            return choose(self, *arguments)
        began.release()
        assert go.wait(WAIT_S)
        ended.release()
        return choose(self, *arguments)

    monkeypatch.setattr(ct2_model.Model, "_choose_languages", slow)

    def counted(*arguments: Any) -> Any:
        found = decode(*arguments)
        decoded.append(found)
        return found

    monkeypatch.setattr(ct2_model.Model, "_decode", counted)

    def computes() -> None:
        for _ in range(listener.parallel):
            assert began.acquire(timeout=WAIT_S)

    assert heard_after_a_cancel(listener, window, computes) == expected
    assert len(decoded) == 1  # of the stream that stayed
    go.set()
    for _ in range(listener.parallel):
        assert ended.acquire(timeout=WAIT_S)
    engine.close()  # waits until they are done
    assert len(decoded) == 1


def test_sphinx_ends_its_process(speech: Speech) -> None:
    engine, window = SphinxEngine(1), Window(speech.samples[: 5 * RATE], Wish())
    (expected,) = engine.estimate([window])
    (child,) = [one for one in psutil.Process().children() if "sphinx_worker" in " ".join(one.cmdline())]
    child.send_signal(signal.SIGSTOP)  # it would never answer
    try:
        assert heard_after_a_cancel(engine, window, lambda: None) == expected
        assert not child.is_running()
    finally:
        engine.close()


@pytest.fixture
def server() -> Iterator[openai_server.Server]:
    with openai_server.serving() as server:
        yield server


def test_openai_closes_the_request(server: openai_server.Server, speech: Speech) -> None:
    server.replies = [openai_server.Reply(end="hang"), openai_server.Reply(body=openai_server.ANSWER)]
    engine, window = OpenAIEngine(openai_server.KEY, server.url, parallel=1), Window(speech.samples[: 2 * RATE], Wish())
    heard = heard_after_a_cancel(ready(engine), window, lambda: server.arrived.acquire(timeout=WAIT_S))
    assert heard.utterances
    assert len(server.asked) == 2
    assert server.left.wait(WAIT_S), "the first connection is still open"
    engine.close()
