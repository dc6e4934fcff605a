"""The chain of engines. Engines that fail on command stand in here; the real ones have tests of their own."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from transcriber_sound import RATE, Sound, Speech

from singscript_core.errors import EngineUnavailable
from singscript_core.events import EngineChosen, Progress, Warned
from singscript_transcriber.chain import EngineChain, EngineFailed, UnknownEngine, Wanted
from singscript_transcriber.engines import EngineOut
from singscript_transcriber.segments import Segment, Word
from singscript_transcriber.transcribe import transcribe


@dataclass
class Scripted:
    """Hears "la" in each window; `failures` are raised first, one for each call, None for a success."""

    name: str
    trouble: str = ""
    failures: list[Exception | None] = field(default_factory=list)
    max_window_s: float = 30.0
    warnings: tuple[Warned, ...] = ()
    checks: int = 0
    windows: list[int] = field(default_factory=list)

    def device(self) -> str:
        return "cpu"

    def model(self, wanted: str) -> str:
        return wanted or "default"

    def refusal(self, language: str) -> str:
        return "it does not know it." if language == "xx" else ""

    def problem(self, model: str) -> str:
        self.checks += 1
        return self.trouble

    def transcribe(self, samples: Sound, model: str, language: str) -> list[Segment]:
        self.windows.append(len(samples))
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        words = (Word("la", 0.1, 0.2, 1.0),)
        return [Segment(0.1, 0.2, "la", words, "en", self.name, model)]

    def close(self) -> None:
        pass


def chain(*engines: Scripted, **options: float) -> EngineChain:
    return EngineChain(engines, [engine.name for engine in engines], **options)


def run(sound: np.ndarray, engines: EngineChain, wanted: Wanted | None = None):
    return list(transcribe(iter(np.array_split(sound.astype(np.float32), 10)), engines, wanted or Wanted()))


def kinds(items: list, kind: type) -> list:
    return [item for item in items if isinstance(item, kind)]


def test_the_first_that_can_serve_does(speech: Speech):
    first, second = Scripted("first"), Scripted("second")
    items = run(speech.samples, chain(first, second))
    assert items[0] == EngineChosen("first", "default", "cpu")
    assert {segment.engine for segment in kinds(items, Segment)} == {"first"}
    assert kinds(items, Warned) == []
    assert items[-1] == Progress(len(speech.samples) / RATE, len(speech.samples) / RATE, finished=True)


def test_times_are_those_of_the_stream(speech: Speech):
    first, last = kinds(run(speech.samples, chain(Scripted("first"))), Segment)
    assert first.start_s == pytest.approx(1.0, abs=0.2)
    assert last.start_s == pytest.approx(10.4, abs=0.2)
    assert last.words[0].start_s == last.start_s


def test_every_skipped_engine_is_announced(speech: Speech):
    out = [Scripted("a", "there is no key; set A_KEY."), Scripted("b", "it is not installed; install b.")]
    items = run(speech.samples, chain(*out, Scripted("c", warnings=(Warned("ODD", "c is odd."),))))
    assert items[:4] == [
        Warned("ENGINE_FALLBACK", "The engine a cannot be used: there is no key; set A_KEY."),
        Warned("ENGINE_FALLBACK", "The engine b cannot be used: it is not installed; install b."),
        EngineChosen("c", "default", "cpu"),
        Warned("ODD", "c is odd."),
    ]


def test_none_can_serve():
    with pytest.raises(EngineUnavailable, match=r"a: no key\. b: no weights\.") as caught:
        run(np.zeros(RATE), chain(Scripted("a", "no key."), Scripted("b", "no weights.")))
    assert caught.value.metadata == {"a": "no key.", "b": "no weights."}


def test_a_language_that_an_engine_does_not_know():
    with pytest.raises(EngineUnavailable, match="does not know it"):
        run(np.zeros(RATE), chain(Scripted("a")), Wanted(language="xx"))


def test_the_request_names_engines_and_model(speech: Speech):
    engines = chain(Scripted("a"), Scripted("b"))
    items = run(speech.samples, engines, Wanted(engines=("b",), model="large"))
    assert items[0] == EngineChosen("b", "large", "cpu")
    with pytest.raises(UnknownEngine, match="Known engines: a, b"):
        run(speech.samples, engines, Wanted(engines=("c",)))


def test_a_failure_in_the_middle_goes_on_from_its_window(speech: Speech):
    first = Scripted("first", failures=[None, ValueError("broken")])
    second = Scripted("second")
    engines = chain(first, second)
    items = run(speech.samples, engines)
    assert [segment.engine for segment in kinds(items, Segment)] == ["first", "second"]
    assert second.windows == first.windows[1:]
    (warning,) = kinds(items, Warned)
    assert warning.reason == "ENGINE_FALLBACK"
    assert warning.message.startswith("The engine first stopped at 10.")
    # The next job tries it again: only this sound was too much for it.
    assert run(speech.samples, engines)[0] == EngineChosen("first", "default", "cpu")


def test_an_engine_that_is_out_stays_out_for_a_while(speech: Speech):
    engines = chain(Scripted("first", failures=[EngineOut("the quota is used up.")]), Scripted("second"))
    run(speech.samples, engines)
    items = run(speech.samples, engines)
    assert items[0] == Warned("ENGINE_FALLBACK", "The engine first cannot be used: the quota is used up.")


def test_all_fail_in_the_middle(speech: Speech):
    with pytest.raises(EngineFailed, match="quota"):
        run(speech.samples, chain(Scripted("first", failures=[EngineOut("the quota is used up.")])))


def test_findings_are_kept_for_a_while():
    engine = Scripted("a", "no key.")
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


def test_silence_and_music_are_told_apart(music: Sound):
    engine = Scripted("a")
    silent = run(np.zeros(3 * RATE), chain(engine))
    assert [warning.reason for warning in kinds(silent, Warned)] == ["SILENT_AUDIO"]
    instrumental = run(music, chain(engine))
    assert [warning.reason for warning in kinds(instrumental, Warned)] == ["NO_SPEECH"]
    assert kinds(silent + instrumental, Segment) == []
    assert engine.windows == []


def test_an_empty_stream():
    items = list(transcribe(iter(()), chain(Scripted("a")), Wanted()))
    assert items[-1] == Progress(0.0, 0.0, finished=True)
