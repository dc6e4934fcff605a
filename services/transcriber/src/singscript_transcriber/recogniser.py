"""One job's windows on their way through the engines: some are heard ahead, results come in order, and when an engine
fails the next one goes on with what is not done."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np

from singscript_core.errors import Cancelled, EngineUnavailable, StageError, Unavailable
from singscript_core.events import EngineChosen, StageEvent, Warned
from singscript_core.stopping import Stop
from singscript_models.scheduler import Lane
from singscript_transcriber import engines
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.engines import Engine, EngineOut, Heard, Listener, Wish
from singscript_transcriber.language import Vote, choose
from singscript_transcriber.listening import Listen, Listening, Sound
from singscript_transcriber.vad import SAMPLE_RATE_HZ
from singscript_transcriber.windows import Window

log = logging.getLogger(__name__)

# Windows that are heard ahead at least; more where the engine takes more at once.
_AHEAD = 4
# The language is settled once so much voice was heard, or so much sound has come since the first of it.
_ENOUGH_VOICE_S = 10.0
_LATEST_S = 35.0
# A window with less voice does not say what language it is in.
_TELLING_VOICE_S = 3.0


class EngineFailed(Unavailable):
    """Every engine that could start has failed in the middle."""

    reason = "ENGINE_FAILED"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for; empty: the service's own order, the default model."""

    engines: tuple[str, ...] = ()
    model: str = ""
    wish: Wish = field(default_factory=Wish)
    listen: Listen = "auto"


@dataclass(frozen=True, slots=True)
class Result:
    """What was heard in a window, and by whom."""

    window: Window
    heard: Heard
    engine: str
    model: str


@dataclass(slots=True)
class _AtWork:
    """The engine that is used now."""

    engine: Engine
    model: str
    listener: Listener
    lane: Lane


@dataclass(slots=True)
class _Pending:
    """A window that has been given to an engine.

    Attributes:
        sounds: what of it is heard.
        language: in which it must be heard; empty: as the wish has it.
        futures: one for each sound.
        heard: the chosen one, once all are there.
    """

    window: Window
    by: _AtWork
    sounds: tuple[Sound, ...]
    language: str = ""
    futures: dict[Sound, Future[Heard]] = field(default_factory=dict)
    heard: Heard | None = None

    @property
    def done(self) -> bool:
        return all(future.done() for future in self.futures.values())


class Recogniser:
    """A context manager; used from one thread.

    Args:
        chain: the engines.
        wanted: what the request asks for.
        stop: when it is set, whoever waits here gets Cancelled.

    Raises:
        UnknownEngine: the request names an engine that does not exist.
    """

    def __init__(self, chain: EngineChain, wanted: Wanted, stop: Stop) -> None:
        self._chain = chain
        self._wish = wanted.wish
        self._stop = stop
        self._left = chain.candidates(wanted.engines, wanted.model)
        self._skipped: dict[str, str] = {}
        self._current: _AtWork | None = None
        self._pending: deque[_Pending] = deque()
        self._listening = Listening(wanted.listen)
        self._vote = Vote()
        self._language_settled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._current is not None:
            self._current.lane.close()

    @property
    def max_window_s(self) -> float:
        """The longest window that the engine at work takes."""
        return self._at_work.engine.max_window_s

    @property
    def is_full(self) -> bool:
        """Whether so many windows are under way that the next one has to wait."""
        listener = self._at_work.listener
        return len(self._pending) >= max(_AHEAD, listener.parallel * listener.batch)

    @property
    def oldest_s(self) -> float | None:
        """Where the first window starts whose result has not been given out; None when there is none."""
        return self._pending[0].window.start_s if self._pending else None

    def start(self) -> Iterator[StageEvent]:
        """Chooses an engine and gets it ready.

        Raises:
            EngineUnavailable: none can serve.
            EngineFailed: none is left after one failed.
        """
        while self._left:
            engine, model = self._left.pop(0)
            problem = engine.refusal(self._wish, model) or self._chain.problem(engine, model)
            if not problem:
                try:
                    listener = yield from engine.ready(model)
                except EngineOut as out:
                    problem = str(out)
                    self._chain.rule_out(engine, model, problem)
                else:
                    lane = self._chain.lane(engine)
                    self._stop.on_set(lane.close)
                    self._current = _AtWork(engine, model, listener, lane)
                    yield EngineChosen(engine.name, model, listener.device)
                    yield from engine.warnings
                    return
            self._skipped[engine.name] = problem
            yield Warned("ENGINE_FALLBACK", f"The engine {engine.name} cannot be used: {problem}")
        problems = " ".join(f"{name}: {problem}" for name, problem in self._skipped.items())
        if self._current is not None:
            raise EngineFailed(f"Every engine has failed. {problems}", metadata=self._skipped)
        raise EngineUnavailable(f"No engine can transcribe. {problems}", metadata=self._skipped)

    def submit(self, window: Window) -> None:
        """Has a window heard."""
        # Where nothing was separated the mix is the vocals.
        has_mix = window.mix is not None and not np.array_equal(window.mix, window.vocals)
        pending = _Pending(window, self._at_work, self._listening.sounds(has_mix))
        if self._language_settled and window.voice_s < _TELLING_VOICE_S:
            pending.language = self._vote.winner
        self._hear(pending)
        self._pending.append(pending)

    def results(self, now_s: float, *, wait: bool) -> Iterator[Result | StageEvent]:
        """What is known by now, in order of time.

        Args:
            now_s: how much of the stream has come; inf at its end.
            wait: for the first result at least, unless nothing is under way.

        Raises:
            EngineFailed: an engine failed, and no other can go on.
            Cancelled: the stop was set.
        """
        while self._pending and (wait or self._pending[0].done):
            yield from self._collect()
            pending = self._pending[0]
            heard = pending.heard
            assert heard is not None
            if not self._settles_language(heard, math.inf if wait else now_s):
                return
            language = self._language_of(pending.window, heard)
            if language != heard.language:
                pending.language, pending.heard = language, None
                self._hear(pending)
                continue
            self._pending.popleft()
            self._chain.succeeded(pending.by.engine)
            yield Result(pending.window, heard, pending.by.engine.name, pending.by.model)
            wait = False

    @property
    def _at_work(self) -> _AtWork:
        if self._current is None:
            raise RuntimeError("start() comes first")
        return self._current

    def _hear(self, pending: _Pending) -> None:
        """Gives a window to the engine at work."""
        at_work = pending.by = self._at_work
        wish = replace(self._wish, language=pending.language or self._wish.language)
        expected = self._vote.winner if self._language_settled and not wish.language else ""
        times_words = at_work.listener.times_words(wish)
        pending.futures = {
            sound: at_work.lane.submit(
                at_work.listener,
                engines.Window(_samples(pending.window, sound, times_words=times_words), wish, expected),
                like=wish,
            )
            for sound in pending.sounds
        }

    def _collect(self) -> Iterator[StageEvent]:
        """Takes in the first window, which is waited for, and those after it that are done, up to one that failed."""
        for pending in tuple(self._pending):
            is_first = pending is self._pending[0]
            if pending.heard is not None:
                continue
            if not (is_first or pending.done):
                return
            try:
                heard: dict[Sound, Heard] = {sound: future.result() for sound, future in pending.futures.items()}
            except Cancelled:
                raise
            except Exception as error:  # noqa: BLE001  (an engine may raise anything; the next one takes over)
                if is_first:
                    yield from self._fall_back(pending, error)
                    yield from self._collect()
                return
            for one in heard.values():
                if one.usage is not None:
                    yield one.usage
            if not pending.by.listener.times_words(self._wish):
                heard = {sound: _later(one, pending.window.begins_s) for sound, one in heard.items()}
            sound = self._listening.choose(heard, pending.window.voice_s)
            pending.sounds, pending.heard = (sound,), heard[sound]
            if pending.heard.languages:
                self._vote.add(pending.heard.languages, pending.window.voice_s)

    def _fall_back(self, pending: _Pending, error: Exception) -> Iterator[StageEvent]:
        """Has the next engine go on from this window; what was heard of later ones stays."""
        engine, model, failed_s = pending.by.engine, pending.by.model, pending.window.start_s
        if isinstance(error, EngineOut):
            problem = str(error)
            self._chain.rule_out(engine, model, problem)
        elif isinstance(error, StageError):
            problem = error.message
            self._chain.failed(engine)
        else:
            log.error("an engine failed", exc_info=error, extra={"engine": engine.name, "model": model})
            problem = "it failed on this sound; the log of the service says why."
            self._chain.failed(engine)
        if pending.by is self._current:
            self._skipped[engine.name] = problem
            yield Warned("ENGINE_FALLBACK", f"The engine {engine.name} stopped at {failed_s:.1f} s: {problem}")
            pending.by.lane.close()
            yield from self.start()
        for other in self._pending:
            lost = any(not future.done() or future.exception() for future in other.futures.values())
            if other.heard is None and other.by is not self._current and lost:
                self._hear(other)

    def _settles_language(self, first: Heard, now_s: float) -> bool:
        """Whether the language of the stream is settled, or the engine does not say; `first` has not been given out."""
        if not self._language_settled and first.languages:
            since_s = now_s - self._pending[0].window.start_s
            self._language_settled = self._vote.heard_s >= _ENOUGH_VOICE_S or since_s >= _LATEST_S
            return self._language_settled
        return True

    def _language_of(self, window: Window, heard: Heard) -> str:
        """In which language a window should have been heard."""
        if not heard.languages:
            return heard.language
        if window.voice_s < _TELLING_VOICE_S:
            return self._vote.winner
        return choose(heard.languages, self._vote.winner)


def _samples(window: Window, sound: Sound, *, times_words: bool) -> engines.Samples:
    """What is heard of a window; where words have no times, without what another window has of it too."""
    samples = window.mix if sound == "mix" and window.mix is not None else window.vocals
    if times_words:
        return samples
    return samples[round(window.begins_s * SAMPLE_RATE_HZ) : round(window.ends_s * SAMPLE_RATE_HZ)]


def _later(heard: Heard, by_s: float) -> Heard:
    """The same, with times that count from an earlier moment."""
    return replace(heard, utterances=tuple(utterance.shifted(by_s) for utterance in heard.utterances))
