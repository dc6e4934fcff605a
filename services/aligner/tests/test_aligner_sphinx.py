"""Real forced alignment on speech whose word times are known."""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from aligner_testing import RATE_HZ, Speech

from singscript_aligner.engines import Times
from singscript_aligner.engines.sphinx import SphinxEngine

UNSUNG = ["A", "silver", "bird", "was", "singing", "in", "the", "tree"]


def align(samples: np.ndarray, lines: list[list[str]]) -> Times | None:
    search: Generator[float, None, Any] = SphinxEngine().align(samples, lines, "en")
    seconds: list[float] = []
    while True:
        try:
            seconds.append(next(search))
        except StopIteration as stop:
            assert all(0 < s <= len(samples) / RATE_HZ for s in seconds)
            return stop.value


def texts(speech: Speech) -> list[list[str]]:
    return [[text for text, _, _ in line] for line in speech.lines]


def start_errors(times: Times, truth: list[list[tuple[str, float, float]]]) -> np.ndarray:
    """Of all words, which must have been found."""
    pairs = [
        (time, word) for line, known in zip(times, truth, strict=True) for time, word in zip(line, known, strict=True)
    ]
    assert all(time for time, _ in pairs), [word for time, word in pairs if not time]
    return np.array([abs(time.start_s - start_s) for time, (_, start_s, _) in pairs if time])


def test_each_word_is_found_on_its_moment(speech: Speech) -> None:
    """Among them a number, a word that no dictionary has, punctuation, a repeated line and a pause of 3 s."""
    times = align(speech.samples, texts(speech))
    assert times
    errors = start_errors(times, speech.lines)
    assert np.median(errors) < 0.03
    assert np.quantile(errors, 0.95) < 0.1
    found = dict(zip((text for text, _, _ in speech.words), (time for line in times for time in line), strict=True))
    assert found["25"] and found["25"].end_s - found["25"].start_s > 0.4
    assert found["Zorblefax,"]
    flat = [time for line in times for time in line if time]
    assert all(a.end_s <= b.start_s for a, b in pairwise(flat))
    assert np.median([time.confidence for time in flat]) > 0.8


def test_a_line_that_is_not_said_is_left_out(speech: Speech) -> None:
    words = texts(speech)
    times = align(speech.samples, [*words[:2], UNSUNG, *words[2:]])
    assert times
    assert times[2] == [None] * len(UNSUNG)
    assert np.quantile(start_errors(times[:2] + times[3:], speech.lines), 0.95) < 0.1


def test_a_line_that_is_not_given_does_not_move_the_others(speech: Speech) -> None:
    times = align(speech.samples, texts(speech)[:2] + texts(speech)[3:])
    assert times
    assert np.quantile(start_errors(times, speech.lines[:2] + speech.lines[3:]), 0.95) < 0.1


def test_of_two_equal_lines_the_one_that_is_said_is_found(speech: Speech) -> None:
    part = speech.part(0, 2)
    times = align(part.samples, [*texts(part), texts(part)[0]])
    assert times
    assert times[2] == [None] * len(times[2])
    assert np.median(start_errors(times[:2], part.lines)) < 0.03


def test_a_long_window_is_searched_in_pieces(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are cut by the end of a piece, or not said at all, included."""
    monkeypatch.setattr("singscript_aligner.engines.sphinx._PIECE_S", 7.0)
    monkeypatch.setattr("singscript_aligner.engines.sphinx._MARGIN_S", 1.0)
    monkeypatch.setattr("singscript_aligner.engines.sphinx._WORDS_A_PIECE", 25)
    words = texts(speech)
    times = align(speech.samples, [*words[:2], UNSUNG, *words[2:]])
    assert times
    assert times[2] == [None] * len(UNSUNG)
    assert np.quantile(start_errors(times[:2] + times[3:], speech.lines), 0.95) < 0.1


def test_the_sound_may_end_long_before_the_words(speech: Speech) -> None:
    samples = speech.part(0, 3).samples
    times = align(np.concatenate([speech.samples[: RATE_HZ // 2] * 0, samples]), texts(speech))
    assert times
    assert all(all(line) for line in times[:3])
    assert not any(any(line) for line in times[3:])


def test_other_words_than_those_said_are_not_found(speech: Speech) -> None:
    wrong = ["Ten thousand horses running through a valley", "my father bought a yellow motor car"]
    times = align(speech.samples, [line.split() for line in wrong])
    assert times is None or not any(time for line in times for time in line)


def test_under_noise_the_words_are_found_with_less_confidence(speech: Speech) -> None:
    part = speech.part(0, 2)
    level = np.sqrt(np.mean(part.samples**2)) * 10 ** (-10 / 20)
    noise = np.random.default_rng(0).normal(0.0, level, len(part.samples)).astype(np.float32)
    times = align(part.samples + noise, texts(part))
    assert times
    assert np.median(start_errors(times, part.lines)) < 0.06
    assert np.median([time.confidence for line in times for time in line if time]) < 0.8


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(RATE_HZ, np.float32)])
def test_nothing_is_found_in_silence(samples: np.ndarray) -> None:
    assert align(samples, [["hello", "there"]]) is None


def test_words_without_a_sound_have_no_time(speech: Speech) -> None:
    part = speech.part(0, 1)
    times = align(part.samples, [["♪", *texts(part)[0], "—"]])
    assert times and times[0][0] is None and times[0][-1] is None
    assert np.median(start_errors([times[0][1:-1]], part.lines)) < 0.03
    assert align(part.samples, [["♪", "—"], []]) == [[None, None], []]
