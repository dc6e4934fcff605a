"""Which engine serves: each is checked for what it needs, all at once, and what was found is kept for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from singscript_core.errors import EngineUnavailable, InvalidInput, StageError, Unavailable
from singscript_core.events import EngineChosen, Warned
from singscript_transcriber.engines import Engine, EngineOut
from singscript_transcriber.segments import Segment
from singscript_transcriber.windows import Window

log = logging.getLogger(__name__)


class UnknownEngine(InvalidInput):
    """The request names an engine that does not exist."""

    reason = "UNKNOWN_ENGINE"


class EngineFailed(Unavailable):
    """Every engine that could start has failed in the middle."""

    reason = "ENGINE_FAILED"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for; empty: the service's own order, the default model, the language detected."""

    engines: tuple[str, ...] = ()
    model: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class EngineState:
    """`problem` is empty when the engine can serve."""

    engine: str
    model: str
    problem: str


@dataclass(frozen=True, slots=True)
class _Finding:
    problem: Future[str]
    started_s: float


class EngineChain:
    """All engines, in the order in which they are tried.

    Args:
        engines: every engine that a request may name.
        order: the names tried when a request names none.
        keep_s: how long a finding is kept.
        check_s: an engine whose check takes longer is ruled out.
    """

    def __init__(
        self, engines: Sequence[Engine], order: Sequence[str], *, keep_s: float = 300.0, check_s: float = 5.0
    ) -> None:
        self._engines = {engine.name: engine for engine in engines}
        self._order = tuple(order)
        self._keep_s = keep_s
        self._check_s = check_s
        self._lock = threading.Lock()
        self._findings: dict[tuple[str, str], _Finding] = {}
        for name in order:
            self._engine(name)

    def states(self) -> list[EngineState]:
        """Every engine with its default model, those of the usual order first. Takes up to `check_s`."""
        names = dict.fromkeys([*self._order, *self._engines])
        engines = [(self._engines[name], self._engines[name].model("")) for name in names]
        for engine, model in engines:
            self._check(engine, model)
        return [EngineState(engine.name, model, self.problem(engine, model)) for engine, model in engines]

    def candidates(self, wanted: Wanted) -> list[tuple[Engine, str]]:
        """The engines to try, each with its model; checks of all of them begin.

        Raises:
            UnknownEngine: the request names one that does not exist.
        """
        engines = [self._engine(name) for name in dict.fromkeys(wanted.engines or self._order)]
        found = [(engine, engine.model(wanted.model)) for engine in engines]
        for engine, model in found:
            self._check(engine, model)
        return found

    def problem(self, engine: Engine, model: str) -> str:
        """Why the engine cannot serve this model; empty when it can. Takes up to `check_s`, or no time when known."""
        finding = self._check(engine, model)
        left_s = finding.started_s + self._check_s - time.monotonic()
        try:
            return finding.problem.result(max(0.0, left_s))
        except FutureTimeout:
            return f"it was not ready within {self._check_s:g} seconds; check the network."

    def rule_out(self, engine: Engine, model: str, problem: str) -> None:
        """Keeps what went wrong in the middle of a job, so that the next jobs do not run into it."""
        known: Future[str] = Future()
        known.set_result(problem)
        with self._lock:
            self._findings[engine.name, model] = _Finding(known, time.monotonic())

    def close(self) -> None:
        """Ends what the engines started."""
        for engine in self._engines.values():
            engine.close()

    def _engine(self, name: str) -> Engine:
        if name not in self._engines:
            raise UnknownEngine(f'There is no engine "{name}". Known engines: {", ".join(self._engines)}.')
        return self._engines[name]

    def _check(self, engine: Engine, model: str) -> _Finding:
        """The finding for this engine: a fresh one, or one that a thread is working out."""
        key = engine.name, model
        with self._lock:
            finding = self._findings.get(key)
            if finding is not None and time.monotonic() - finding.started_s < self._keep_s:
                return finding
            finding = self._findings[key] = _Finding(Future(), time.monotonic())

        def work() -> None:
            try:
                problem = engine.problem(model)
            except Exception:
                log.exception("an engine could not be checked", extra={"engine": engine.name, "model": model})
                problem = "its check failed; the log of the service says why."
            finding.problem.set_result(problem)

        # A daemon: a name server that never answers must not keep the process from ending.
        threading.Thread(target=work, name=f"check-{engine.name}", daemon=True).start()
        return finding


class Recogniser:
    """The engines of one job: the first that can serve, and the next ones when it fails."""

    def __init__(self, chain: EngineChain, wanted: Wanted) -> None:
        self._chain = chain
        self._language = wanted.language
        self._left = chain.candidates(wanted)
        self._skipped: dict[str, str] = {}
        self._current: tuple[Engine, str] | None = None

    @property
    def max_window_s(self) -> float:
        """The longest window that the engine at work takes."""
        return self._at_work()[0].max_window_s

    def start(self) -> Iterator[Warned | EngineChosen]:
        """Chooses an engine.

        Raises:
            EngineUnavailable: none can serve.
            EngineFailed: none is left after one failed.
        """
        while self._left:
            engine, model = self._left.pop(0)
            problem = engine.refusal(self._language) or self._chain.problem(engine, model)
            if not problem:
                self._current = engine, model
                yield EngineChosen(engine.name, model, engine.device())
                yield from engine.warnings
                return
            self._skipped[engine.name] = problem
            yield Warned("ENGINE_FALLBACK", f"The engine {engine.name} cannot be used: {problem}")
        problems = " ".join(f"{name}: {problem}" for name, problem in self._skipped.items())
        if self._current is not None:
            raise EngineFailed(f"Every engine has failed. {problems}", metadata=self._skipped)
        raise EngineUnavailable(f"No engine can transcribe. {problems}", metadata=self._skipped)

    def transcribe(self, window: Window) -> Iterator[Segment | Warned | EngineChosen]:
        """The segments of a window, with times of the whole stream; when the engine fails, the next one goes on."""
        while True:
            engine, model = self._at_work()
            try:
                segments = engine.transcribe(window.samples, model, self._language)
            except StageError:
                raise
            except EngineOut as error:
                problem = str(error)
                self._chain.rule_out(engine, model, problem)
            except Exception:
                log.exception("an engine failed", extra={"engine": engine.name, "model": model})
                problem = "it failed on this sound; the log of the service says why."
            else:
                yield from (segment.shifted(window.start_s) for segment in segments)
                return
            self._skipped[engine.name] = problem
            message = f"The engine {engine.name} stopped at {window.start_s:.1f} s: {problem}"
            yield Warned("ENGINE_FALLBACK", message)
            yield from self.start()

    def _at_work(self) -> tuple[Engine, str]:
        if self._current is None:
            raise RuntimeError("start() comes first")
        return self._current
