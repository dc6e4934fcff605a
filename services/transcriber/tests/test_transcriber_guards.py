"""What the guards believe and drop. Voice is an array by script; what is sung, is sung at a pace that the test sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from singscript_transcriber.guards import (
    ANOMALOUS,
    NO_SPEECH,
    NO_VOICE,
    NO_WORDS,
    PHANTOM,
    REASONS,
    REPEATED,
    REPETITIVE,
    UNSURE,
    Guards,
    Judge,
)
from singscript_transcriber.segments import Utterance, Word
from singscript_transcriber.vad import FRAME_SAMPLES, SAMPLE_RATE_HZ

FRAMES_PER_S = SAMPLE_RATE_HZ / FRAME_SAMPLES
VERSE = "I walked along the river till the lights went out"


def voice(length_s: float, *parts_s: tuple[float, float], probability: float = 0.9) -> NDArray[np.float32]:
    """Voice in these parts of a window (start, end), and only noise elsewhere."""
    frames = np.full(round(length_s * FRAMES_PER_S), 0.02, np.float32)
    for start_s, end_s in parts_s:
        frames[round(start_s * FRAMES_PER_S) : round(end_s * FRAMES_PER_S)] = probability
    return frames


def sung(length_s: float) -> NDArray[np.float32]:
    """Voice all of the time."""
    return voice(length_s, (0.0, length_s))


def heard(text: str, start_s: float = 0.0, end_s: float = 3.0, log_probability: float | None = -0.2) -> Utterance:
    return Utterance(start_s, end_s, text, log_probability=log_probability, no_speech=0.1)


def words(*lengths_s: float, start_s: float = 0.0, confidence: float | None = 0.9) -> tuple[Word, ...]:
    """Words, one after the other, of these lengths."""
    ends_s = start_s + np.cumsum(lengths_s)
    return tuple(
        Word("word", float(end_s) - length_s, float(end_s), confidence)
        for length_s, end_s in zip(lengths_s, ends_s, strict=True)
    )


def judged(*utterances: Utterance, length_s: float = 30.0) -> list[str]:
    """Reasons for the utterances of one window, sung throughout."""
    judge = Judge()
    return [judge.reason(utterance, sung(length_s), 0.0) for utterance in utterances]


def test_what_is_sung_is_believed() -> None:
    assert judged(heard(VERSE)) == [""]


def test_an_engine_that_says_nothing_about_itself_is_believed_where_there_is_voice() -> None:
    assert Judge().reason(Utterance(0.0, 3.0, VERSE), sung(3.0), 12.0) == ""


@pytest.mark.parametrize(
    "text", ["", "  ", "...", "♪♪♪", "♪ [Music] ♪", "[BLANK_AUDIO]", "*applause*", "【音楽】", "[Music] [Noise]"]
)
def test_signs_and_notes_are_no_words_whatever_the_voice(text: str) -> None:
    assert judged(heard(text)) == [NO_WORDS]


@pytest.mark.parametrize("text", ["♪ I walked along the river ♪", "(ooh) la la", "[Chorus] I walked along [Music]"])
def test_words_among_signs_stay(text: str) -> None:
    assert judged(heard(text)) == [""]


def test_text_without_voice_is_dropped() -> None:
    judge, silence_then_voice = Judge(), voice(20.0, (10.0, 20.0))
    assert judge.reason(heard(VERSE, 2.0, 6.0), silence_then_voice, 0.0) == NO_VOICE
    # The detector's hits at its edges are not enough for so many words.
    assert judge.reason(heard(VERSE, 6.0, 10.1), silence_then_voice, 0.0) == NO_VOICE
    # Nor is there any voice beyond the end of the sound, which Whisper fills up with silence.
    assert judge.reason(heard(VERSE, 21.0, 24.0), silence_then_voice, 0.0) == NO_VOICE
    assert judge.reason(heard(VERSE, 11.0, 14.0), silence_then_voice, 0.0) == ""


def test_a_voice_that_the_detector_half_hears_is_believed() -> None:
    # Of held and rough notes Silero is often unsure.
    assert Judge().reason(heard(VERSE, 0.0, 6.0), voice(6.0, (2.0, 3.5), probability=0.4), 0.0) == ""


def test_text_that_its_engine_is_not_sure_of_is_dropped() -> None:
    assert judged(heard(VERSE, log_probability=-1.2)) == [UNSURE]
    assert judged(heard(VERSE, log_probability=-0.9)) == [""]


def test_without_a_log_probability_the_words_say_how_sure_it_is() -> None:
    unsure = Utterance(0.0, 1.0, "word word", words(0.5, 0.5, confidence=0.1))
    assert judged(unsure) == [UNSURE]
    assert judged(Utterance(0.0, 1.0, "word word", words(0.5, 0.5, confidence=0.2))) == [""]


@pytest.mark.parametrize(("log_probability", "no_speech", "reason"), [
    (-0.8, 0.7, NO_SPEECH),
    (-0.8, 0.5, ""),
    (-0.5, 0.99, ""),  # singing is no speech to Whisper, which hears its words all the same
    (-0.8, None, ""),
    (None, 0.99, ""),
])  # fmt: skip
def test_likely_no_speech_counts_for_text_that_is_not_sure(
    log_probability: float | None, no_speech: float | None, reason: str
) -> None:
    utterance = Utterance(0.0, 3.0, VERSE, log_probability=log_probability, no_speech=no_speech)
    assert judged(utterance) == [reason]


def test_likely_no_speech_counts_without_log_probability_where_voice_is_weak() -> None:
    assert Judge().reason(Utterance(0.0, 6.0, VERSE, no_speech=0.9), voice(6.0, (0.0, 1.5)), 0.0) == NO_SPEECH


def test_anomalous_words_are_dropped_beside_or_above_silence_only() -> None:
    improbable = words(0.4, 0.4, 0.4, start_s=5.0, confidence=0.1)
    utterance = Utterance(5.0, 6.2, "word word word", improbable, log_probability=-0.5)
    assert Judge().reason(utterance, voice(12.0, (5.0, 6.2)), 0.0) == ANOMALOUS  # between pauses
    assert Judge().reason(utterance, voice(12.0, (5.0, 5.5)), 0.0) == ANOMALOUS  # over one
    assert Judge().reason(utterance, voice(12.0, (0.0, 12.0)), 0.0) == ""
    assert Judge().reason(utterance, voice(12.0, (5.0, 12.0)), 0.0) == ""


def test_very_short_words_are_anomalous() -> None:
    utterance = Utterance(5.0, 5.6, "word word word", words(0.0, 0.0, 0.6, start_s=5.0), log_probability=-0.5)
    assert Judge().reason(utterance, voice(12.0, (5.0, 5.6)), 0.0) == ANOMALOUS


def test_held_notes_are_not_anomalous_but_words_that_last_through_silence_are() -> None:
    utterance = Utterance(5.0, 13.0, "word word", words(4.0, 4.0, start_s=5.0), log_probability=-0.5)
    assert Judge().reason(utterance, voice(20.0, (5.0, 13.0)), 0.0) == ""
    assert Judge().reason(utterance, voice(20.0, (5.0, 5.6)), 0.0) == ANOMALOUS


@pytest.mark.parametrize(("text", "seconds"), [
    ("la la la la la la la la la la la la la la la la", 2.5),
    ("yeah yeah yeah yeah yeah yeah", 2.0),
    ("na na na na na na na na hey hey hey goodbye " * 4, 20.0),
    ("one two three four five six seven eight " * 3, 8.0),
    ("around the world, around the world, " * 15, 30.0),
    ("work work work work work ", 1.6),
    ("gucci gang " * 7, 3.5),
    ("I never want to let you go, " * 8, 30.0),
    ("no no no no no no no no no no", 1.5),
    ("no no no no", 0.2),  # engines' times may be off
    ("ちゃちゃちゃちゃちゃちゃちゃちゃ", 1.0),
    ("ha ha ha ha ha ha ha ha staying alive, staying alive", 6.0),
    ("ラララララララララララララララ", 2.0),
    ("好きだよ好きだよ好きだよ好きだよ", 3.0),
    ("爱你爱你爱你爱你爱你爱你", 2.0),
    ("랄랄라 랄랄라 랄랄라 랄랄라", 2.0),
    ("รักเธอรักเธอรักเธอรักเธอรักเธอ", 2.5),
    ("да да да да да да да", 1.2),
])  # fmt: skip
def test_what_singers_do_repeat_survives(text: str, seconds: float) -> None:
    assert judged(heard(text, 0.0, seconds), length_s=seconds) == [""]


@pytest.mark.parametrize(("text", "seconds"), [
    ("the " * 200, 3.0),
    ("the " * 200, 29.0),
    ("I'm going to be a bad person, " * 12, 10.0),
    ("Thank you very much. " * 12, 8.0),
    ("thank you thank you thank you thank you", 0.8),
    ("We start with a verse of its own and then I love you so" + " I love you so" * 30, 6.0),
    ("ご視聴ありがとうございました " * 12, 10.0),
    ("谢谢大家" * 30, 5.0),
    ("감사합니다 " * 30, 5.0),
    ("ขอบคุณครับ" * 30, 5.0),
    ("спасибо за просмотр " * 15, 8.0),
])  # fmt: skip
def test_a_decoder_that_runs_in_a_circle_is_dropped(text: str, seconds: float) -> None:
    assert judged(heard(text, 0.0, seconds), length_s=seconds) == [REPEATED]


def test_a_loop_over_many_utterances_is_dropped_from_its_third_line_on() -> None:
    judge = Judge()
    reasons = [
        # Windows of 5 s; the loop goes on from one to the next.
        judge.reason(heard("I'm going to be a bad person", at_s % 5.0, at_s % 5.0 + 0.7), sung(5.0), at_s // 5.0 * 5.0)
        for at_s in np.arange(0.0, 10.0, 0.75).tolist()
    ]
    assert reasons[:2] == ["", ""]
    assert set(reasons[2:]) == {REPEATED}


def test_a_loop_of_two_lines_is_one() -> None:
    lines = ["I never want to let you go", "so come a little closer now"] * 6
    reasons = judged(*(heard(line, 0.6 * i, 0.6 * i + 0.6) for i, line in enumerate(lines)))
    assert reasons[-4:] == [REPEATED] * 4


def test_the_same_line_sung_after_a_loop_of_it_is_believed() -> None:
    line = "I never want to let you go "
    assert judged(heard(line * 30, 0.0, 3.0), heard(line, 3.2, 6.0), heard(line, 6.0, 9.0)) == [REPEATED, "", ""]


def test_another_line_after_a_loop_of_many_utterances_is_believed() -> None:
    loop = [heard("I never want to let you go", 0.5 * i, 0.5 * i + 0.5) for i in range(6)]
    assert judged(*loop, heard(VERSE, 3.0, 5.5))[-2:] == [REPEATED, ""]


def test_a_fast_verse_that_does_not_repeat_is_believed() -> None:
    # As fast as the record for rap: 7.5 words a second.
    rap = "Every single syllable is spitting like a semi automatic battery of batty bits that rattle through the night"
    assert judged(heard(rap, 0.0, len(rap.split()) / 7.5)) == [""]


def test_text_that_repeats_itself_needs_the_voice_to_sing_it() -> None:
    chorus = "I never want to let you go, " * 8
    assert Judge().reason(heard(chorus, 0.0, 30.0), voice(30.0, (0.0, 4.0)), 0.0) == REPETITIVE
    assert Judge().reason(heard(chorus, 0.0, 30.0), voice(30.0, (0.0, 14.0)), 0.0) == ""


# Words as they are sung: at most 18 letters a second, and no more than 8 words.
WORD = st.text("abcdefghijklmnopqrstuvwxyzäéñöüабвгдежзи", min_size=1, max_size=9)
LINE = st.lists(WORD, min_size=1, max_size=8)


def least_s(line: list[str]) -> float:
    return sum(max(len(word) / 18.0, 0.125) for word in line)


@settings(deadline=None, max_examples=50)
@given(
    line=LINE,
    times=st.integers(1, 40),
    a_utterance=st.integers(1, 6),
    slower=st.floats(1.0, 4.0),
    pause_s=st.floats(0.0, 2.0),
    start_s=st.floats(0.0, 5000.0),
)
def test_a_text_sung_at_a_plausible_pace_is_never_dropped_for_repetition(
    line: list[str], times: int, a_utterance: int, slower: float, pause_s: float, start_s: float
) -> None:
    judge = Judge()
    text = " ".join(line * a_utterance)
    length_s = least_s(line) * a_utterance * slower
    for index in range(times):
        utterance = heard(text, pause_s, pause_s + length_s)
        window = voice(2 * pause_s + length_s, (pause_s, pause_s + length_s))
        assert judge.reason(utterance, window, start_s + index * (length_s + pause_s)) == ""


@settings(deadline=None, max_examples=50)
@given(line=LINE, faster=st.floats(2.0, 50.0), a_utterance=st.integers(1, 12))
def test_a_text_that_repeats_faster_than_anybody_sings_is_dropped(
    line: list[str], faster: float, a_utterance: int
) -> None:
    judge = Judge()
    length_s = least_s(line) * a_utterance / faster
    times = 2 + round(10.0 / least_s(line))  # long enough that the engine's times may be off
    utterance = heard(" ".join(line * a_utterance), 0.0, length_s)
    reasons = [judge.reason(utterance, sung(length_s + 1.0), index * length_s) for index in range(times)]
    assert reasons[-1] == REPEATED


@settings(deadline=None)
@given(
    text=st.text(max_size=80),
    times=st.tuples(st.floats(-1.0, 40.0), st.floats(-1.0, 40.0)),
    log_probability=st.none() | st.floats(-5.0, 0.0),
    no_speech=st.none() | st.floats(0.0, 1.0),
    frames=st.integers(0, 1000),
)
def test_whatever_comes_gets_a_reason_that_is_explained(
    text: str,
    times: tuple[float, float],
    log_probability: float | None,
    no_speech: float | None,
    frames: int,
) -> None:
    said = tuple(Word(word, *times) for word in text.split())
    utterance = Utterance(*times, text, said, log_probability, no_speech)
    judge = Judge()
    for probability in (0.0, 1.0):
        reason = judge.reason(utterance, np.full(frames, probability, np.float32), 0.0)
        assert not reason or REASONS[reason]


@pytest.mark.parametrize("text", ["Thank you.", "Thanks for watching!", "ご視聴ありがとうございました", "Bye. Bye."])
def test_a_phantom_is_dropped_only_where_voice_is_weak(text: str) -> None:
    # A cough in a pause, a shout in applause; and a singer who sings it.
    assert Judge().reason(heard(text, 0.0, 4.0), voice(4.0, (1.0, 1.4)), 0.0) in (PHANTOM, NO_VOICE)
    assert Judge().reason(heard(text, 0.0, 4.0), voice(4.0, (0.0, 4.0), probability=0.4), 0.0) == PHANTOM
    assert Judge().reason(heard(text, 0.0, 4.0), voice(4.0, (0.5, 3.5)), 0.0) == ""


def test_a_short_phrase_sung_somewhere_in_a_long_time_is_believed() -> None:
    # Whisper's own times, without those of words, often span the pause after the line too.
    assert Judge().reason(heard("Thank you", 0.0, 6.0), voice(6.0, (0.0, 1.2)), 0.0) == ""


def test_thresholds_can_be_changed() -> None:
    assert Judge(Guards(min_log_probability=-0.1)).reason(heard(VERSE), sung(3.0), 0.0) == UNSURE
