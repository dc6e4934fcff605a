"""The stage: windows through engines, in order, once each. Engines that do as they are told stand in for the models."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from transcriber_engines import Scripted, in_turn, says
from transcriber_sound import RATE, Sound, Speech

from singscript_core.errors import Cancelled, EngineUnavailable
from singscript_core.events import EngineChosen, Progress, StageEvent, Usage, Warned
from singscript_core.stopping import Stop
from singscript_transcriber.chain import EngineChain, UnknownEngine
from singscript_transcriber.engines import EngineOut, Heard, Window, Wish
from singscript_transcriber.listening import Listen
from singscript_transcriber.recogniser import EngineFailed, Wanted
from singscript_transcriber.segments import Dropped, Segment, Utterance
from singscript_transcriber.transcribe import transcribe
from singscript_transcriber.windows import Block

WAIT_S = 30.0  # for what must come

Item = Segment | Dropped | StageEvent


def chain(*engines: Scripted) -> EngineChain:
    return EngineChain(engines, [engine.name for engine in engines])


def blocks(sound: np.ndarray, mix: np.ndarray | None = None) -> Iterator[Block]:
    for start in range(0, len(sound), RATE // 2):
        piece = slice(start, start + RATE // 2)
        yield Block(sound[piece].astype(np.float32), None if mix is None else mix[piece].astype(np.float32))


def run(
    sound: np.ndarray, engines: EngineChain, wanted: Wanted | None = None, mix: np.ndarray | None = None
) -> list[Item]:
    return list(transcribe(blocks(sound, mix), chain=engines, wanted=wanted or Wanted(), stop=Stop()))


def kinds(items: list[Item], kind: type) -> list:
    return [item for item in items if isinstance(item, kind)]


def reasons(items: list[Item]) -> list[str]:
    return [warning.reason for warning in kinds(items, Warned)]


def test_the_first_that_can_serve_does(speech: Speech):
    first, second = Scripted("first"), Scripted("second")
    items = run(speech.samples, chain(first, second))
    assert items[0] == EngineChosen("first", "default", "cpu")
    assert {segment.engine for segment in kinds(items, Segment)} == {"first"}
    assert second.windows == []
    assert kinds(items, Warned) == []
    assert items[-1] == Progress(len(speech.samples) / RATE, len(speech.samples) / RATE, finished=True)


def test_times_are_those_of_the_stream(speech: Speech):
    first, last = kinds(run(speech.samples, chain(Scripted("first"))), Segment)
    assert first.start_s == pytest.approx(1.0, abs=0.5)
    assert last.start_s == pytest.approx(10.4, abs=0.5)
    assert last.words[0].start_s == last.start_s


def test_every_skipped_engine_is_announced(speech: Speech):
    out = [
        Scripted("a", trouble="there is no key; set A_KEY."),
        Scripted("b", trouble="it is not installed; install b."),
    ]
    items = run(speech.samples, chain(*out, Scripted("c", warnings=(Warned("ODD", "c is odd."),))))
    assert items[:4] == [
        Warned("ENGINE_FALLBACK", "The engine a cannot be used: there is no key; set A_KEY."),
        Warned("ENGINE_FALLBACK", "The engine b cannot be used: it is not installed; install b."),
        EngineChosen("c", "default", "cpu"),
        Warned("ODD", "c is odd."),
    ]


def test_none_can_serve():
    with pytest.raises(EngineUnavailable, match=r"a: no key\. b: no weights\.") as caught:
        run(np.zeros(RATE), chain(Scripted("a", trouble="no key."), Scripted("b", trouble="no weights.")))
    assert caught.value.metadata == {"a": "no key.", "b": "no weights."}


def test_a_wish_that_an_engine_cannot_fulfil():
    with pytest.raises(EngineUnavailable, match="does not know it"):
        run(np.zeros(RATE), chain(Scripted("a")), Wanted(wish=Wish(language="xx")))


def test_weights_that_cannot_be_had_after_all(speech: Speech):
    class Lacks(Scripted):
        def ready(self, model: str):
            yield Progress(0.0, done_bytes=1, total_bytes=2)
            raise EngineOut("its download failed.")

    items = run(speech.samples, chain(Lacks("a"), Scripted("b")))
    assert items[:3] == [
        Progress(0.0, done_bytes=1, total_bytes=2),
        Warned("ENGINE_FALLBACK", "The engine a cannot be used: its download failed."),
        EngineChosen("b", "default", "cpu"),
    ]


def test_the_request_names_engines_and_model_and_wishes(speech: Speech):
    second = Scripted("b")
    engines = chain(Scripted("a"), second)
    wish = Wish("de", "translate", "A song.", ("Anna",))
    items = run(speech.samples, engines, Wanted(engines=("b",), model="large", wish=wish))
    assert items[0] == EngineChosen("b", "large", "cpu")
    assert {window.wish for window in second.windows} == {wish}
    assert {segment.language for segment in kinds(items, Segment)} == {"en"}  # translated
    with pytest.raises(UnknownEngine, match="Known engines: a, b"):
        run(speech.samples, engines, Wanted(engines=("c",)))


def test_a_failure_in_the_middle_goes_on_from_its_window(speech: Speech):
    first = Scripted("first", in_turn(says(), ValueError("broken")))
    second = Scripted("second")
    engines = chain(first, second)
    items = run(speech.samples, engines)
    assert [segment.engine for segment in kinds(items, Segment)] == ["first", "second"]
    assert [len(window.samples) for window in second.windows] == [len(first.windows[1].samples)]
    (warning,) = kinds(items, Warned)
    assert warning.reason == "ENGINE_FALLBACK"
    assert warning.message.startswith("The engine first stopped at 10.")
    assert EngineChosen("second", "default", "cpu") in items
    # The next job tries it again: only this sound was too much for it.
    assert run(speech.samples, engines)[0] == EngineChosen("first", "default", "cpu")


def test_what_later_windows_gave_before_a_failure_is_kept(speech: Speech):
    """Windows run at once; the second is done before the first fails, and is not computed again."""
    second_done = threading.Event()

    def hears(window: Window) -> Heard:
        if window.samples is first.windows[0].samples:
            assert second_done.wait(WAIT_S)
            raise ValueError("broken")
        second_done.set()
        return says("kept")

    first = Scripted("first", hears, parallel=2)
    second = Scripted("second", lambda window: says("new"))
    items = run(speech.samples, chain(first, second))
    assert [(segment.engine, segment.text) for segment in kinds(items, Segment)] == [
        ("second", "new"),
        ("first", "kept"),
    ]
    assert len(second.windows) == 1


def test_an_engine_that_is_out_stays_out_for_a_while(speech: Speech):
    engines = chain(Scripted("first", in_turn(EngineOut("the quota is used up."))), Scripted("second"))
    run(speech.samples, engines)
    items = run(speech.samples, engines)
    assert items[0] == Warned("ENGINE_FALLBACK", "The engine first cannot be used: the quota is used up.")


def test_an_engine_that_fails_job_after_job_is_skipped(speech: Speech):
    engines = chain(Scripted("first", in_turn(ValueError("broken"))), Scripted("second"))
    warnings = [kinds(run(speech.samples, engines), Warned)[0].message for _ in range(4)]
    assert all("failed on this sound" in message for message in warnings[:3])
    assert "3 times in a row" in warnings[3]


def test_all_fail_in_the_middle(speech: Speech):
    with pytest.raises(EngineFailed, match="quota"):
        run(speech.samples, chain(Scripted("first", in_turn(EngineOut("the quota is used up.")))))


def test_silence_and_music_are_told_apart(music: Sound):
    engine = Scripted("a")
    silent = run(np.zeros(3 * RATE), chain(engine))
    assert reasons(silent) == ["SILENT_AUDIO"]
    instrumental = run(music, chain(engine))
    assert reasons(instrumental) == ["NO_SPEECH"]
    assert kinds(silent + instrumental, Segment) == []
    assert engine.windows == []


def test_text_that_is_not_believed_is_handed_over_with_its_reason(speech: Speech):
    unsure = Heard((Utterance(0.3, 0.9, "la", (), -3.0),), "en")
    items = run(speech.samples, chain(Scripted("a", in_turn(unsure))))
    assert {(one.text, one.reason, one.engine, one.language) for one in kinds(items, Dropped)} == {
        ("la", "UNSURE", "a", "en")
    }
    assert kinds(items, Segment) == []
    assert reasons(items) == ["NO_SPEECH"]


def test_what_is_spent_is_reported(speech: Speech):
    usage = Usage("a", "default", 5.0)
    items = run(speech.samples, chain(Scripted("a", in_turn(Heard((), "en", {}, usage)))))
    assert kinds(items, Usage) == [usage, usage]


def test_an_empty_stream():
    items = list(transcribe(iter(()), chain=chain(Scripted("a")), wanted=Wanted(), stop=Stop()))
    assert items[-1] == Progress(0.0, 0.0, finished=True)


def test_a_segment_does_not_wait_for_the_next_block(speech: Speech):
    """After the first words nothing more comes for a while."""
    heard = threading.Event()

    def then_nothing() -> Iterator[Block | None]:
        yield from blocks(speech.samples[: 10 * RATE])
        while not heard.is_set():
            yield None

    for item in transcribe(then_nothing(), chain=chain(Scripted("a")), wanted=Wanted(), stop=Stop()):
        if isinstance(item, Segment):
            heard.set()
    assert heard.is_set()


def test_a_stop_ends_a_stream_while_its_engine_computes(speech: Speech):
    computes, go = threading.Event(), threading.Event()

    def hears(window: Window) -> Heard:
        computes.set()
        go.wait(WAIT_S)
        return says()

    stop, ended = Stop(), threading.Event()

    def work() -> None:
        with pytest.raises(Cancelled):
            list(transcribe(blocks(speech.samples), chain=engines, wanted=Wanted(), stop=stop))
        ended.set()

    engines = chain(Scripted("a", hears))
    thread = threading.Thread(target=work)
    thread.start()
    assert computes.wait(WAIT_S)
    stop.set()
    assert ended.wait(WAIT_S)
    assert engines.load().open_lanes == 0
    go.set()
    thread.join(WAIT_S)


def test_windows_are_heard_at_once_where_the_engine_can(speech: Speech):
    together = threading.Barrier(2)

    def hears(window: Window) -> Heard:
        together.wait(WAIT_S)
        return says()

    engine = Scripted("a", hears, parallel=2)
    run(speech.samples, chain(engine))
    assert engine.most == 2


def far_apart(speech: Speech, count: int) -> Sound:
    """The sentence of the first seconds, again and again, each with a window of its own."""
    one = np.concatenate([speech.samples[: 9 * RATE], np.zeros(2 * RATE, np.float32)])
    return np.tile(one, count)


class TestLanguage:
    def test_it_is_that_of_several_windows_not_of_the_first(self, speech: Speech):
        # The first window alone would say Welsh; nothing is sent before the vote.
        engine = Scripted("a", in_turn(says("ie", language="cy", cy=0.5, de=0.4), says("ja", language="de", de=0.95)))
        items = run(far_apart(speech, 3), chain(engine))
        assert [segment.language for segment in kinds(items, Segment)] == ["de", "de", "de"]
        # The first was heard again, in German.
        assert [window.wish.language for window in engine.windows].count("de") == 1

    def test_a_window_that_is_clearly_in_another_one_keeps_its_own(self, speech: Speech):
        outcomes = [says(language="de", de=0.9)] * 3 + [says(language="fr", fr=0.95)]
        items = run(far_apart(speech, 4), chain(Scripted("a", in_turn(*outcomes))))
        assert [segment.language for segment in kinds(items, Segment)] == ["de", "de", "de", "fr"]

    def test_once_settled_the_engine_is_told(self, speech: Speech):
        engine = Scripted("a", in_turn(says(language="de", de=0.9)))
        run(far_apart(speech, 8), chain(engine))
        assert engine.windows[0].expected == ""
        assert engine.windows[-1].expected == "de"

    def test_one_that_is_wished_is_not_asked_about(self, speech: Speech):
        engine = Scripted("a", in_turn(says(language="fr")))
        items = run(far_apart(speech, 2), chain(engine), Wanted(wish=Wish("fr")))
        assert {segment.language for segment in kinds(items, Segment)} == {"fr"}
        assert {(window.wish.language, window.expected) for window in engine.windows} == {("fr", "")}

    def test_the_first_segment_does_not_wait_for_ever(self, speech: Speech):
        """One word, then a minute of silence: it comes before the silence has ended."""
        given_s = 0.0

        def counted() -> Iterator[Block]:
            nonlocal given_s
            short = np.concatenate([speech.samples[: 2 * RATE], np.zeros(60 * RATE, np.float32)])
            for block in blocks(short):
                given_s += len(block.vocals) / RATE
                yield block

        engine = Scripted("a", in_turn(says(language="en", en=0.6)))
        for item in transcribe(counted(), chain=chain(engine), wanted=Wanted(), stop=Stop()):
            if isinstance(item, Segment):
                assert given_s <= 41.0
                break
        else:
            pytest.fail("no segment came")


class TestListening:
    """Vocals are told from the mix by their level: here the mix is twice as loud."""

    @staticmethod
    def hears(vocals: Heard, mix: Heard):
        return lambda window: mix if np.abs(window.samples).max() > 0.75 else vocals

    @pytest.mark.parametrize(
        ("vocals", "mix", "expected"),
        [(0.9, 0.5, "stem"), (0.5, 0.9, "all"), (0.9, 0.9, "stem"), (0.9, 0.92, "stem")],
    )
    def test_to_what_the_engine_is_surer_of(self, speech: Speech, vocals: float, mix: float, expected: str):
        engine = Scripted("a", self.hears(says("stem", vocals), says("all", mix)))
        sound = far_apart(speech, 6) * (0.5 / np.abs(speech.samples).max())
        items = run(sound, chain(engine), mix=2.0 * sound)
        assert {segment.text for segment in kinds(items, Segment)} == {expected}
        # Both were heard at first only.
        both = 2 * len(kinds(items, Segment))
        assert len(kinds(items, Segment)) < len(engine.windows) < both

    @pytest.mark.parametrize(("listen", "expected"), [("vocals", "stem"), ("mix", "all")])
    def test_to_what_is_wanted(self, speech: Speech, listen: Listen, expected: str):
        engine = Scripted("a", self.hears(says("stem"), says("all")))
        sound = far_apart(speech, 2) * (0.5 / np.abs(speech.samples).max())
        items = run(sound, chain(engine), Wanted(listen=listen), mix=2.0 * sound)
        assert {segment.text for segment in kinds(items, Segment)} == {expected}
        assert len(engine.windows) == len(kinds(items, Segment))

    def test_where_nothing_was_separated_there_is_one_sound(self, speech: Speech):
        engine = Scripted("a")
        items = run(speech.samples, chain(engine), mix=speech.samples)
        assert len(engine.windows) == len(kinds(items, Segment))
