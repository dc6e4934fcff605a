"""The committed demo keeps its promises: stems, mix, lyrics and truth agree with each other."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

DEMO = Path(__file__).parents[3] / "demo"
SAMPLE_RATE_HZ = 44_100
EDGE_S = 0.02
"""A word's own sound may reach this far over its edge: the vocoder's window and the resampler's ringing."""


@dataclass(frozen=True)
class Word:
    """One word of truth.json."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Line:
    """One line of truth.json."""

    text: str
    start_s: float
    end_s: float
    words: list[Word]


def read(name: str) -> NDArray[np.int64]:
    """The samples (n, channels) of a 16-bit FLAC of the demo."""
    with av.open(str(DEMO / name)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "flac"
        assert stream.codec_context.sample_rate == SAMPLE_RATE_HZ
        channels = stream.codec_context.channels
        return np.concatenate([frame.to_ndarray().reshape(-1, channels) for frame in container.decode(stream)]).astype(
            np.int64
        )


def rms(sound: NDArray[np.int64]) -> float:
    """Of 16-bit samples; full scale is 32768."""
    return float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))


def within(sound: NDArray[np.int64], start_s: float, end_s: float) -> NDArray[np.int64]:
    """The samples between two moments."""
    return sound[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]


@pytest.fixture(scope="module")
def mix() -> NDArray[np.int64]:
    return read("demo.flac")


@pytest.fixture(scope="module")
def vocals() -> NDArray[np.int64]:
    return read("demo.vocals.flac")


@pytest.fixture(scope="module")
def instrumental() -> NDArray[np.int64]:
    return read("demo.instrumental.flac")


@pytest.fixture(scope="module")
def duration_s() -> float:
    truth = json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))
    assert truth["sample_rate_hz"] == SAMPLE_RATE_HZ
    return float(truth["duration_s"])


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    truth = json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))
    return [Line(**{**line, "words": [Word(**word) for word in line["words"]]}) for line in truth["lines"]]


@pytest.fixture(scope="module")
def words(lines: list[Line]) -> list[Word]:
    return [word for line in lines for word in line.words]


def test_shapes_and_durations_agree(
    mix: NDArray[np.int64], vocals: NDArray[np.int64], instrumental: NDArray[np.int64], duration_s: float
) -> None:
    samples = round(duration_s * SAMPLE_RATE_HZ)
    assert mix.shape == instrumental.shape == (samples, 2)
    assert vocals.shape == (samples, 1)
    assert 28.0 < duration_s < 36.0


def test_stems_add_up_to_the_mix(
    mix: NDArray[np.int64], vocals: NDArray[np.int64], instrumental: NDArray[np.int64]
) -> None:
    np.testing.assert_array_equal(vocals + instrumental, mix)


def test_mix_peaks_one_decibel_below_full_scale(mix: NDArray[np.int64]) -> None:
    peak_dbfs = 20.0 * np.log10(np.abs(mix).max() / 32768.0)
    assert peak_dbfs == pytest.approx(-1.0, abs=0.1)


def test_every_word_sounds_within_its_bounds(vocals: NDArray[np.int64], words: list[Word]) -> None:
    typical = rms(vocals)
    for word in words:
        assert rms(within(vocals, word.start_s, word.end_s)) > 0.2 * typical, word


def test_nobody_sings_between_the_lines(vocals: NDArray[np.int64], lines: list[Line], duration_s: float) -> None:
    ends_s = [0.0, *(line.end_s + EDGE_S for line in lines)]
    starts_s = [*(line.start_s - EDGE_S for line in lines), duration_s]
    for end_s, start_s in zip(ends_s, starts_s, strict=True):
        assert start_s > end_s
        assert rms(within(vocals, end_s, start_s)) < 0.001 * rms(vocals), (end_s, start_s)


def test_voice_begins_and_stops_where_each_line_does(vocals: NDArray[np.int64], lines: list[Line]) -> None:
    audible = 0.01 * np.abs(vocals).max()
    for line in lines:
        around = within(np.abs(vocals[:, 0]), line.start_s - 0.05, line.end_s + 0.05)
        heard_s = line.start_s - 0.05 + np.flatnonzero(around > audible) / SAMPLE_RATE_HZ
        assert heard_s[0] == pytest.approx(line.start_s, abs=0.06), line.text
        assert heard_s[-1] == pytest.approx(line.end_s, abs=0.06), line.text


def test_intro_and_break_are_the_band_alone(instrumental: NDArray[np.int64], lines: list[Line]) -> None:
    gaps = [(0.0, lines[0].start_s)]
    gaps += [(a.end_s, b.start_s) for a, b in itertools.pairwise(lines) if b.start_s - a.end_s > 2.0]
    assert gaps[0][1] >= 2.0
    assert len(gaps) == 2
    assert 3.0 < gaps[1][1] - gaps[1][0] < 4.5
    for start_s, end_s in gaps:
        assert rms(within(instrumental, start_s, end_s)) > 0.5 * rms(instrumental)


def test_words_are_in_order_and_do_not_overlap(lines: list[Line], words: list[Word], duration_s: float) -> None:
    assert words[0].start_s >= 0.0
    assert words[-1].end_s <= duration_s
    for word in words:
        assert 0.02 < word.end_s - word.start_s < 1.5, word
    for before, after in itertools.pairwise(words):
        assert before.end_s <= after.start_s, (before, after)
    for line in lines:
        assert (line.start_s, line.end_s) == (line.words[0].start_s, line.words[-1].end_s)


def test_times_are_those_of_samples(words: list[Word]) -> None:
    for word in words:
        for seconds in (word.start_s, word.end_s):
            assert seconds * SAMPLE_RATE_HZ == pytest.approx(round(seconds * SAMPLE_RATE_HZ), abs=0.03)


def test_lyrics_agree_with_the_truth_word_for_word(lines: list[Line]) -> None:
    written = [row for row in (DEMO / "lyrics.txt").read_text(encoding="utf-8").splitlines() if row]
    assert [line.text for line in lines] == written
    for line, row in zip(lines, written, strict=True):
        assert [word.text for word in line.words] == [w.strip(",.").lower() for w in row.split()]


def test_a_chorus_comes_back(lines: list[Line]) -> None:
    texts = [line.text for line in lines]
    assert len(set(texts)) < len(texts)


def test_the_demo_stays_small() -> None:
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 3.25e6
