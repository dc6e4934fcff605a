"""The engines of this service: each is checked for what it needs, all at once, and what was found is kept for a while.

One scheduler for each engine says which window comes next, whichever stream it is of; one breaker for each keeps an
engine that fails from being tried for every job.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from singscript_core.errors import InvalidInput
from singscript_models.scheduler import Lane, Load, Scheduler
from singscript_transcriber.breaker import Breaker
from singscript_transcriber.engines import Engine

log = logging.getLogger(__name__)


class UnknownEngine(InvalidInput):
    """The request names an engine that does not exist."""

    reason = "UNKNOWN_ENGINE"


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
        self._schedulers = {name: Scheduler() for name in self._engines}
        self._breakers = {name: Breaker() for name in self._engines}
        for name in order:
            self._engine(name)
        self._used_last = ""

    def states(self) -> list[EngineState]:
        """Every engine with its default model, those of the usual order first. Takes up to `check_s`."""
        names = dict.fromkeys([*self._order, *self._engines])
        engines = [(self._engines[name], self._engines[name].model("")) for name in names]
        for engine, model in engines:
            self._check(engine, model)
        return [EngineState(engine.name, model, self.problem(engine, model)) for engine, model in engines]

    def candidates(self, names: Sequence[str], model: str) -> list[tuple[Engine, str]]:
        """The engines to try, each with its model.

        Args:
            names: in their order; empty: the usual order.
            model: empty: each engine's default.

        Raises:
            UnknownEngine: one of them does not exist.
        """
        engines = [self._engine(name) for name in dict.fromkeys(names or self._order)]
        return [(engine, engine.model(model)) for engine in engines]

    def check(self, candidates: Sequence[tuple[Engine, str]]) -> None:
        """Begins the checks of all of them at once."""
        for engine, model in candidates:
            self._check(engine, model)

    def problem(self, engine: Engine, model: str) -> str:
        """Why the engine cannot serve this model; empty when it can. Takes up to `check_s`, or no time when known."""
        if rests_for_s := self._breakers[engine.name].rests_for_s():
            failures = self._breakers[engine.name].failures
            return (
                f"it has failed {failures} times in a row and is left alone for {math.ceil(rests_for_s)} more seconds."
            )
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

    def lane(self, engine: Engine) -> Lane:
        """A place among the streams that this engine serves."""
        self._used_last = engine.name
        return self._schedulers[engine.name].lane()

    def succeeded(self, engine: Engine) -> None:
        """Takes note that it has served."""
        self._breakers[engine.name].succeeded()

    def failed(self, engine: Engine) -> None:
        """Takes note that it has not."""
        self._breakers[engine.name].failed()

    def load(self) -> Load:
        """How busy the engines are in all.

        The wait is that of the one that keeps its streams waiting longest; `parallel` is that of the one used last.
        """
        by_name = {name: scheduler.load() for name, scheduler in self._schedulers.items()}
        loads = by_name.values()
        used_last = by_name.get(self._used_last)
        waits_s = [load.expected_wait_s for load in loads if load.expected_wait_s is not None]
        return Load(
            sum(load.open_lanes for load in loads),
            sum(load.queued for load in loads),
            sum(load.computing for load in loads),
            max(waits_s, default=None),
            used_last and used_last.parallel,
        )

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
            except Exception:  # an engine may raise anything
                log.exception("an engine could not be checked", extra={"engine": engine.name, "model": model})
                problem = "its check failed; the log of the service says why."
            finding.problem.set_result(problem)

        # A daemon: a name server that never answers must not keep the process from ending.
        threading.Thread(target=work, name=f"check-{engine.name}", daemon=True).start()
        return finding
