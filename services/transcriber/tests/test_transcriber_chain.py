"""The chain of engines. Engines that do as they are told stand in here; the real ones have tests of their own."""

from __future__ import annotations

import threading

import pytest
from transcriber_engines import Scripted

from singscript_transcriber.breaker import FAILURES, LONGEST_REST_S, REST_S, Breaker
from singscript_transcriber.chain import EngineChain, UnknownEngine


def chain(*engines: Scripted, **options: float) -> EngineChain:
    return EngineChain(engines, [engine.name for engine in engines], **options)


def test_an_engine_that_does_not_exist():
    with pytest.raises(UnknownEngine, match="Known engines: a"):
        EngineChain([Scripted("a")], ["a", "b"])
    with pytest.raises(UnknownEngine, match="Known engines: a"):
        chain(Scripted("a")).candidates(["b"], "")


def test_findings_are_kept_for_a_while():
    engine = Scripted("a", trouble="no key.")
    engines = chain(engine)
    for _ in range(3):
        assert [state.problem for state in engines.states()] == ["no key."]
    assert engine.checks == 1
    engines = chain(engine, keep_s=0.0)
    engines.states()
    engines.states()
    assert engine.checks > 2


def test_checks_run_at_once_and_slow_ones_rule_the_engine_out():
    gate = threading.Barrier(2)

    class Meets(Scripted):
        def problem(self, model: str) -> str:
            gate.wait(10)  # passes only while another check runs too
            return ""

    assert [state.problem for state in chain(Meets("a"), Meets("b")).states()] == ["", ""]

    release = threading.Event()

    class Hangs(Scripted):
        def problem(self, model: str) -> str:
            release.wait(30)
            return ""

    engines = chain(Hangs("hangs"), Scripted("serves"), check_s=0.05)
    hangs, serves = engines.states()
    release.set()
    assert "not ready within" in hangs.problem
    assert serves.problem == ""


def test_an_engine_that_fails_again_and_again_is_left_alone():
    engine, other = Scripted("a"), Scripted("b")
    engines = chain(engine, other)
    for _ in range(FAILURES):
        assert engines.problem(engine, "default") == ""
        engines.failed(engine)
    assert engines.problem(engine, "default").startswith(f"it has failed {FAILURES} times in a row")
    assert engines.problem(engine, "another model") != ""
    assert engines.problem(other, "default") == ""
    engines.succeeded(engine)
    assert engines.problem(engine, "default") == ""


def test_a_breaker_rests_longer_each_time_and_a_success_forgets_it():
    now_s = 0.0
    breaker = Breaker(lambda: now_s)
    rests_s: list[float] = []
    for _ in range(FAILURES - 1):
        breaker.failed()
        assert breaker.rests_for_s() == 0.0
    for _ in range(8):
        breaker.failed()
        rests_s.append(breaker.rests_for_s())
        now_s += rests_s[-1]
        assert breaker.rests_for_s() == 0.0
    assert rests_s[:4] == [REST_S, 2 * REST_S, 4 * REST_S, 8 * REST_S]
    assert rests_s[-1] == LONGEST_REST_S
    breaker.succeeded()
    assert breaker.failures == 0
    breaker.failed()
    assert breaker.rests_for_s() == 0.0


def test_the_load_is_that_of_all_engines():
    first, second = Scripted("a"), Scripted("b")
    engines = chain(first, second)
    assert engines.load().open_lanes == 0
    assert engines.load().expected_wait_s is None
    with engines.lane(first), engines.lane(second), engines.lane(second):
        assert engines.load().open_lanes == 3
    assert engines.load().open_lanes == 0
