"""The aim of alignment, on sound whose words have known times, and lyrics that are not what is sung."""

from __future__ import annotations

from collections.abc import Iterator

import alignment_truth as truth
import numpy as np
import pytest
from alignment_truth import SAMPLE_RATE_HZ, Piece

from singscript_aligner.align import align_lyrics
from singscript_aligner.engines.sphinx import SphinxEngine
from singscript_aligner.lines import LineRules
from singscript_aligner.lyrics.reading import read_lyrics
from singscript_aligner.search import Engines
from singscript_aligner.spool import Spool
from singscript_aligner.words import HeardSegment, HeardWord, Line, Unlisted, Unsung

AIM_MEDIAN_S, AIM_S, AIM_SHARE = 0.04, 0.2, 0.95
# A transcriber's times are this late.
LATE_S = 0.15

Out = Line | Unsung | Unlisted


@pytest.fixture(scope="module")
def spoken() -> Piece:
    return truth.read("held_out_voices")


@pytest.fixture(scope="module")
def sung() -> Piece:
    return truth.read("held_out_sung")


def aligned(piece: Piece, *, with_transcript: bool) -> list[Out]:
    def items() -> Iterator[np.ndarray | HeardSegment]:
        yield piece.samples
        for line in piece.lines if with_transcript else ():
            words = tuple(HeardWord(w.text, w.start_s + LATE_S, w.end_s + LATE_S, 0.9) for w in line.words)
            text = " ".join(word.text for word in words)
            yield HeardSegment(text, words[0].start_s, words[-1].end_s, words, "en")

    with Spool() as spool:
        out = align_lyrics(
            items(), read_lyrics(piece.lyrics, "en"), spool, Engines([SphinxEngine()], "en"), LineRules()
        )
        return [item for item in out if isinstance(item, Out)]


def check_aim(piece: Piece, out: list[Out]) -> None:
    """Each word of the lyrics that is sung comes once, in order, and on its moment."""
    words = [word for item in out if isinstance(item, Line) for word in item.words]
    assert [word.text for word in words] == [word.text for word in piece.known]
    errors_s = np.abs([a.start_s - b.start_s for a, b in zip(words, piece.known, strict=True)])
    assert np.median(errors_s) <= AIM_MEDIAN_S
    assert np.mean(errors_s <= AIM_S) >= AIM_SHARE


def test_known_lyrics_of_unknown_voices_are_on_their_moments(spoken: Piece) -> None:
    check_aim(spoken, aligned(spoken, with_transcript=False))


def test_pauses_of_ten_seconds_move_no_word(spoken: Piece) -> None:
    piece = truth.with_pauses(spoken)
    check_aim(piece, aligned(piece, with_transcript=False))


def test_singing_with_a_transcript_is_on_its_moments(sung: Piece) -> None:
    check_aim(sung, aligned(sung, with_transcript=True))


def test_lines_that_nobody_sings_are_reported_and_not_smeared(sung: Piece) -> None:
    piece = truth.with_wrong_lines(sung)
    out = aligned(piece, with_transcript=True)
    check_aim(piece, out)
    given = {line.given for line in piece.lines}
    unsung = {item.lyrics_line: item.text for item in out if isinstance(item, Unsung)}
    lyrics = piece.lyrics.split("\n")
    assert unsung == {number: text for number, text in enumerate(lyrics) if number not in given}


def test_lines_that_are_not_written_are_reported(sung: Piece) -> None:
    piece = truth.with_missing_lines(sung)
    out = aligned(piece, with_transcript=True)
    check_aim(piece, out)
    unlisted = [item.text for item in out if isinstance(item, Unlisted)]
    unwritten = [" ".join(word.text for word in line.words) for line in piece.lines if line.given is None]
    assert unlisted == unwritten


def test_a_chorus_written_once_comes_each_time_it_is_sung() -> None:
    verses = truth.read("verses")
    chorus = truth.sung_in_order(verses, [4, 5, 6, 4, 5])
    piece = truth.with_lyrics(chorus, "chorus once", [4, 5, 6])
    out = aligned(piece, with_transcript=True)
    check_aim(piece, out)
    assert [item.lyrics_line for item in out if isinstance(item, Line)] == [0, 1, 2, 0, 1]


def test_truth_and_sound_stay_together(spoken: Piece, sung: Piece) -> None:
    made = [
        truth.with_pauses(spoken, 1.0, 1),
        truth.repeated(sung, 2, 0.5),
        truth.sung_in_order(spoken, [3, 0, 3]),
        truth.with_noise(sung, 30.0),
    ]
    for piece in made:
        assert all(word.start_s < word.end_s <= piece.duration_s for word in piece.words)
        loud = [
            np.abs(piece.samples[round(w.start_s * SAMPLE_RATE_HZ) : round(w.end_s * SAMPLE_RATE_HZ)]).max()
            for w in piece.words
        ]
        assert min(loud) > 0.05, piece.name
