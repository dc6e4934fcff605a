"""One job's windows on their way through the engines: some are heard ahead, results come in order, and when an engine
fails the next one goes on with what is not done.

What comes out depends on the sound and on what engines hear in it, never on how fast they are: windows are heard ahead
by guesses at what the ones before will say, and again where a guess was wrong. So the journal of an earlier attempt
gives what that attempt gave. An engine is asked, and made ready, only for what is not in the journal.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np

from singscript_core.errors import Cancelled, EngineUnavailable, StageError, Unavailable
from singscript_core.events import EngineChosen, Progress, StageEvent, Warned
from singscript_core.stopping import Stop
from singscript_models.scheduler import Lane
from singscript_transcriber import engines
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.engines import Engine, EngineOut, Heard, Listener, Wish
from singscript_transcriber.journal import Failure, Hearing, Journal, Known, Outset
from singscript_transcriber.language import Vote, choose
from singscript_transcriber.listening import Listen, Listening, Sound
from singscript_transcriber.vad import SAMPLE_RATE_HZ
from singscript_transcriber.windows import Window

log = logging.getLogger(__name__)

# Windows that are heard ahead at least; more where the engine takes more at once.
_AHEAD = 4
# The language is settled by the first windows: so many, or fewer once they have so much voice, or those that were there
# when so much sound had come since the first of them.
_ELECTORS = _AHEAD
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
    """An engine that is used, or was.

    Attributes:
        listener: None until it is asked.
    """

    engine: Engine
    outset: Outset
    lane: Lane
    listener: Listener | None


class _FailedBefore(Exception):
    """An engine could not go on here in an earlier attempt."""

    def __init__(self, hearing: Hearing) -> None:
        super().__init__("as stored")
        self.hearing = hearing


@dataclass(slots=True)
class _Pending:
    """A window that has been given to an engine.

    Attributes:
        given_s: how much of the stream had been judged then.
        by: the engine.
        sounds: what of it is heard.
        language: in which it must be heard; empty: as the wish has it.
        known: what is stored of it, and `left` what of that was not used yet.
        futures: one for each sound.
        heard: the chosen one, once all are there.
        languages: how likely each is by this window alone.
        has_voted: on the language of the stream.
        hearings: all so far, for the journal.
        is_asked: whether an engine had to hear it.
    """

    window: Window
    given_s: float
    by: _AtWork
    sounds: tuple[Sound, ...]
    known: Known | None
    left: deque[Hearing] = field(default_factory=deque)
    language: str = ""
    futures: dict[Sound, Future[Heard]] = field(default_factory=dict)
    heard: Heard | None = None
    languages: Mapping[str, float] = field(default_factory=dict)
    has_voted: bool = False
    hearings: list[Hearing] = field(default_factory=list)
    is_asked: bool = False

    @property
    def is_done(self) -> bool:
        return all(future.done() for future in self.futures.values())

    @property
    def has_failed(self) -> bool:
        return any(future.done() and future.exception() for future in self.futures.values())


class Recogniser:
    """A context manager; used from one thread.

    Args:
        chain: the engines.
        candidates: those to try, each with its model.
        wanted: what the request asks for.
        journal: what an earlier attempt heard; takes in what is heard.
        stop: when it is set, whoever waits here gets Cancelled.

    Attributes:
        outset: the first engine, once it was chosen.
        asked_s: seconds of windows that an engine was asked for.
    """

    def __init__(
        self, chain: EngineChain, candidates: Sequence[tuple[Engine, str]], wanted: Wanted, journal: Journal, stop: Stop
    ) -> None:
        self.outset: Outset | None = None
        self.asked_s = 0.0
        self._chain = chain
        self._wish = wanted.wish
        self._journal = journal
        self._stop = stop
        self._left = list(candidates)
        self._skipped: dict[str, str] = {}
        self._used: dict[str, _AtWork] = {}
        self._current: _AtWork | None = None
        self._pending: deque[_Pending] = deque()
        self._listening = Listening(wanted.listen)
        self._vote = Vote()
        self._is_language_settled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._current is not None:
            self._current.lane.close()

    @property
    def is_full(self) -> bool:
        """Whether so many windows are under way that the next one has to wait."""
        listener = self._at_work.listener
        return len(self._pending) >= (_AHEAD if listener is None else max(_AHEAD, listener.parallel * listener.batch))

    @property
    def oldest_s(self) -> float | None:
        """Where the first window starts whose result has not been given out; None when there is none."""
        return self._pending[0].window.start_s if self._pending else None

    def max_window_s(self, now_s: float) -> float:
        """The longest window at this place of the stream."""
        engines_ = [used for used in self._used.values() if used.outset.from_s <= now_s]
        return (engines_[-1] if engines_ else self._at_work).engine.max_window_s

    def start(self) -> Iterator[StageEvent]:
        """Chooses an engine and gets it ready, or says which one it was where that is in the journal.

        Raises:
            EngineUnavailable: none can serve.
            EngineFailed: none is left after one failed.
        """
        self.outset = yield from self._next_engine(0.0, self._journal.outset)

    def submit(self, window: Window, now_s: float) -> Iterator[StageEvent]:
        """Has a window heard.

        Args:
            now_s: how much of the stream has been judged.

        Raises:
            EngineUnavailable, EngineFailed: no engine is left.
        """
        # Where nothing was separated the mix is the vocals.
        has_mix = window.mix is not None and not np.array_equal(window.mix, window.vocals)
        known = self._journal.find(window)
        pending = _Pending(window, now_s, self._at_work, self._listening.sounds(has_mix), known)
        pending.left.extend(known.record.hearings if known else ())
        # What the two sounds are compared by must not depend on what was known by then.
        if self._is_language_settled and len(pending.sounds) == 1 and window.voice_s < _TELLING_VOICE_S:
            pending.language = self._vote.winner
        yield from self._hear(pending, now_s)
        self._pending.append(pending)

    def results(self, now_s: float, *, wait: bool, is_end: bool = False) -> Iterator[Result | StageEvent]:
        """What is known by now, in order of time.

        Args:
            now_s: how much of the stream has been judged.
            wait: for the first result at least, unless it needs windows that have not come.
            is_end: no more windows come.

        Raises:
            EngineUnavailable, EngineFailed: an engine failed, and no other can go on.
            Cancelled: the stop was set.
        """
        while self._pending and (wait or self._pending[0].is_done):
            pending = self._pending[0]
            yield from self._await(pending, now_s)
            yield from self._take_in_ahead()
            if pending.languages and not self._is_language_settled:
                yield from self._settle_language(now_s, wait=wait, is_end=is_end)
                if not self._is_language_settled:
                    return
            heard = pending.heard
            assert heard is not None
            language = self._language_of(pending, heard)
            if language not in (heard.language, pending.language):
                pending.language, pending.heard = language, None
                yield from self._hear(pending, now_s)
                continue
            self._pending.popleft()
            if pending.is_asked:
                self._chain.succeeded(pending.by.engine)
            self._journal.add(pending.window, pending.hearings, pending.known)
            yield Result(pending.window, heard, pending.by.engine.name, pending.by.outset.model)
            wait = False

    @property
    def _at_work(self) -> _AtWork:
        if self._current is None:
            raise RuntimeError("start() comes first")
        return self._current

    def _next_engine(self, now_s: float, stored: Outset | None) -> Generator[StageEvent, None, Outset]:
        """Takes the next engine that can serve, or the one that did in an earlier attempt."""
        if stored is not None:
            names = [engine.name for engine, _ in self._left]
            if names[: len(stored.skipped) + 1] == [*(name for name, _ in stored.skipped), stored.engine]:
                for name, problem in stored.skipped:
                    yield self._skip(name, problem)
                yield from self._use(self._left[len(stored.skipped)][0], stored, None)
                del self._left[: len(stored.skipped) + 1]
                return stored
        self._chain.check(self._left)
        skipped: list[tuple[str, str]] = []
        while self._left:
            engine, model = self._left.pop(0)
            try:
                listener = yield from self._ready(engine, model)
            except EngineOut as out:
                skipped.append((engine.name, str(out)))
                yield self._skip(*skipped[-1])
                continue
            times_words = listener.times_words(self._wish)
            outset = Outset(tuple(skipped), engine.name, model, listener.device, times_words, now_s)
            yield from self._use(engine, outset, listener)
            return outset
        problems = " ".join(f"{name}: {problem}" for name, problem in self._skipped.items())
        if self._current is not None:
            raise EngineFailed(f"Every engine has failed. {problems}", metadata=self._skipped)
        raise EngineUnavailable(f"No engine can transcribe. {problems}", metadata=self._skipped)

    def _skip(self, name: str, problem: str) -> Warned:
        self._skipped[name] = problem
        return Warned("ENGINE_FALLBACK", f"The engine {name} cannot be used: {problem}")

    def _ready(self, engine: Engine, model: str) -> Generator[Progress, None, Listener]:
        """Gets an engine ready.

        Raises:
            EngineOut: it cannot serve.
        """
        if problem := engine.refusal(self._wish, model) or self._chain.problem(engine, model):
            raise EngineOut(problem)
        try:
            return (yield from engine.ready(model))
        except EngineOut as out:
            self._chain.rule_out(engine, model, str(out))
            raise

    def _use(self, engine: Engine, outset: Outset, listener: Listener | None) -> Iterator[StageEvent]:
        lane = self._chain.lane(engine)
        self._stop.on_set(lane.close)
        self._current = self._used[engine.name] = _AtWork(engine, outset, lane, listener)
        yield EngineChosen(outset.engine, outset.model, outset.device)
        yield from engine.warnings

    def _hear(self, pending: _Pending, now_s: float) -> Iterator[StageEvent]:
        """Takes what is stored of a window, or gives it to the engine at work."""
        if pending.known is not None:
            if pending.left and self._hear_stored(pending, pending.left.popleft()):
                return
            self._journal.distrust(pending.known.number)
            pending.left.clear()
        listener = yield from self._listener(pending, now_s)
        at_work = pending.by = self._at_work
        wish = replace(self._wish, language=pending.language or self._wish.language)
        is_alone = len(pending.sounds) == 1
        expected = self._vote.winner if self._is_language_settled and is_alone and not wish.language else ""
        if not pending.is_asked:
            pending.is_asked = True
            self.asked_s += pending.window.length_s
        pending.futures = {
            sound: at_work.lane.submit(
                listener,
                engines.Window(_samples(pending.window, sound, times_words=at_work.outset.times_words), wish, expected),
                like=wish,
            )
            for sound in pending.sounds
        }

    def _hear_stored(self, pending: _Pending, hearing: Hearing) -> bool:
        """Takes what came of a window in an earlier attempt, if it can be."""
        by = self._used.get(hearing.engine)
        if by is None or not (hearing.heard or hearing.failure):
            return False
        pending.by, pending.language = by, hearing.language
        if not hearing.failure:
            pending.sounds = tuple(hearing.heard)
        pending.futures = {sound: Future() for sound in pending.sounds}
        for sound, future in pending.futures.items():
            if hearing.failure:
                future.set_exception(_FailedBefore(hearing))
            else:
                future.set_result(hearing.heard[sound])
        return True

    def _listener(self, pending: _Pending, now_s: float) -> Generator[StageEvent, None, Listener]:
        """The engine at work, made ready if it is not; the next one where that cannot be."""
        at_work = self._at_work
        if at_work.listener is None:
            try:
                at_work.listener = yield from self._ready(at_work.engine, at_work.outset.model)
            except EngineOut as out:
                warning = self._skip(at_work.engine.name, str(out))
                yield warning
                yield from self._replace(pending, str(out), warning.message, now_s, None)
        listener = self._at_work.listener
        assert listener is not None
        return listener

    def _replace(
        self, pending: _Pending, problem: str, message: str, now_s: float, stored: Outset | None
    ) -> Iterator[StageEvent]:
        """Has the next engine go on; the user has been told."""
        failed = self._at_work
        failed.lane.close()
        outset = yield from self._next_engine(now_s, stored)
        failure = Failure(problem, message, outset)
        pending.hearings.append(Hearing(failed.engine.name, pending.language, {}, failure))

    def _await(self, pending: _Pending, now_s: float) -> Iterator[StageEvent]:
        """Waits for a window that comes after those that were taken in."""
        while pending.heard is None:
            try:
                for future in pending.futures.values():
                    future.result()
            except Cancelled:
                raise
            except Exception as error:  # noqa: BLE001  (an engine may raise anything; the next one takes over)
                yield from self._fall_back(pending, error, now_s)
            else:
                yield from self._take_in(pending)

    def _take_in_ahead(self) -> Iterator[StageEvent]:
        """Takes in the windows that are done, up to one that is not, or has failed."""
        for pending in self._pending:
            if pending.heard is None:
                if not pending.is_done or pending.has_failed:
                    return
                yield from self._take_in(pending)

    def _take_in(self, pending: _Pending) -> Iterator[StageEvent]:
        """Takes in a window that has been heard; in order of time."""
        heard: dict[Sound, Heard] = {sound: future.result() for sound, future in pending.futures.items()}
        for one in heard.values():
            if one.usage is not None:
                yield one.usage
        unpaid: dict[Sound, Heard] = {sound: replace(one, usage=None) for sound, one in heard.items()}
        pending.hearings.append(Hearing(pending.by.engine.name, pending.language, unpaid))
        if not pending.by.outset.times_words:
            heard = {sound: _later(one, pending.window.begins_s) for sound, one in heard.items()}
        sound = self._listening.choose(heard, pending.window.voice_s)
        pending.sounds, pending.heard = (sound,), heard[sound]
        pending.languages = pending.languages or pending.heard.languages

    def _fall_back(self, pending: _Pending, error: Exception, now_s: float) -> Iterator[StageEvent]:
        """Has the next engine go on from this window; what was heard of later ones stays."""
        engine, model = pending.by.engine, pending.by.outset.model
        stored: Outset | None = None
        if isinstance(error, _FailedBefore) and error.hearing.failure:
            failure = error.hearing.failure
            problem, message, stored = failure.problem, failure.message, failure.then
        else:
            problem = self._problem(engine, model, error)
            message = f"The engine {engine.name} stopped at {pending.window.start_s:.1f} s: {problem}"
        if pending.by is self._current:
            self._skipped[engine.name] = problem
            yield Warned("ENGINE_FALLBACK", message)
            yield from self._replace(pending, problem, message, now_s, stored)
        for other in tuple(self._pending):
            is_lost = not other.is_done or other.has_failed
            if other.heard is None and other.by is not self._current and is_lost:
                yield from self._hear(other, now_s)

    def _problem(self, engine: Engine, model: str, error: Exception) -> str:
        """What to tell of a failure; the chain takes note of it."""
        if isinstance(error, EngineOut):
            self._chain.rule_out(engine, model, str(error))
            return str(error)
        self._chain.failed(engine)
        if isinstance(error, StageError):
            return error.message
        log.error("an engine failed", exc_info=error, extra={"engine": engine.name, "model": model})
        return "it failed on this sound; the log of the service says why."

    def _settle_language(self, now_s: float, *, wait: bool, is_end: bool) -> Iterator[StageEvent]:
        """Has the first windows vote, as far as they are heard; which of them do depends on the sound alone."""
        latest_s = self._pending[0].window.start_s + _LATEST_S
        electors = [pending for pending in self._pending if pending.given_s < latest_s][:_ELECTORS]
        for elector in electors:
            if not (wait or elector.is_done):
                return
            yield from self._await(elector, now_s)
            if not elector.has_voted:
                elector.has_voted = True
                if elector.languages:
                    self._vote.add(elector.languages, elector.window.voice_s)
            if self._vote.heard_s >= _ENOUGH_VOICE_S:
                break
        self._is_language_settled = (
            self._vote.heard_s >= _ENOUGH_VOICE_S or len(electors) == _ELECTORS or now_s >= latest_s or is_end
        )

    def _language_of(self, pending: _Pending, heard: Heard) -> str:
        """In which language a window should have been heard; votes if it has not."""
        if self._wish.language or not (pending.languages or pending.language):
            return heard.language
        if pending.window.voice_s < _TELLING_VOICE_S or not pending.languages:
            return self._vote.winner
        if not pending.has_voted:
            pending.has_voted = True
            self._vote.add(pending.languages, pending.window.voice_s)
        return choose(pending.languages, self._vote.winner)


def _samples(window: Window, sound: Sound, *, times_words: bool) -> engines.Samples:
    """What is heard of a window; where words have no times, without what another window has of it too."""
    samples = window.mix if sound == "mix" and window.mix is not None else window.vocals
    if times_words:
        return samples
    return samples[round(window.begins_s * SAMPLE_RATE_HZ) : round(window.ends_s * SAMPLE_RATE_HZ)]


def _later(heard: Heard, by_s: float) -> Heard:
    """The same, with times that count from an earlier moment."""
    return replace(heard, utterances=tuple(utterance.shifted(by_s) for utterance in heard.utterances))
