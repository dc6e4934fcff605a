"""Real words: the small Whisper of tests/support/models, on sounds whose truth is known."""

from __future__ import annotations

import json
import shutil
import statistics
import warnings
from pathlib import Path

import nano_whisper  # noqa: F401  # pyright: ignore[reportUnusedImport]  (reads Whisper's vocabulary as it should be)
import numpy as np
import pytest
import torch
from aligner_testing import RATE_HZ
from numpy.typing import NDArray

from singscript_aligner.engines import Times
from singscript_aligner.engines.whisper import WhisperEngine
from singscript_audio.decode import decode

SUPPORT = Path(__file__).parents[3] / "tests" / "support"
# In the words that nano-whisper knows, and not in what is said.
FOREIGN = ["green", "winter", "friend", "people", "garden"]

Samples = NDArray[np.float32]
# Words with their starts in seconds, by lines of six.
Lines = list[list[tuple[str, float]]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    models_dir = tmp_path_factory.mktemp("models")
    shutil.copy(SUPPORT / "models" / "nano-whisper.pt", models_dir)  # converted weights are kept beside it
    return WhisperEngine(models_dir, "nano-whisper", 0.0)


def spoken(name: str) -> tuple[Samples, Lines]:
    blocks = list(decode(SUPPORT / "spoken" / f"{name}.flac", sample_rate_hz=RATE_HZ, channels=1))
    truth = json.loads((SUPPORT / "spoken" / f"{name}.json").read_text("utf-8"))["words"]
    words = [(word["text"], word["start_s"]) for word in truth]
    return np.concatenate(blocks)[:, 0], [words[i : i + 6] for i in range(0, len(words), 6)]


def align(engine: WhisperEngine, samples: Samples, lines: list[list[str]], language: str = "en") -> Times:
    search = engine.align(samples, lines, language)
    while True:
        try:
            next(search)
        except StopIteration as stop:
            assert stop.value
            return stop.value


def texts(lines: Lines) -> list[list[str]]:
    return [[text for text, _ in line] for line in lines]


def start_errors_s(lines: Lines, times: Times) -> list[float]:
    pairs = [(word, time) for line, row in zip(lines, times, strict=True) for word, time in zip(line, row, strict=True)]
    assert all(time for _, time in pairs)
    return [time.start_s - start_s for (_, start_s), time in pairs if time]


@pytest.mark.parametrize("name", ["english", "sung", "german"])
def test_words_begin_where_they_are_said(engine: WhisperEngine, name: str) -> None:
    samples, lines = spoken(name)
    times = align(engine, samples, texts(lines), "de" if name == "german" else "en")
    errors_s = list(map(abs, start_errors_s(lines, times)))
    assert statistics.median(errors_s) < 0.04
    # Those after a pause begin in it: onsets mend them afterwards.
    assert statistics.quantiles(errors_s, n=10)[-1] < 0.55
    assert statistics.median(time.confidence for row in times for time in row if time) > 0.8


def test_how_a_text_is_written_does_not_matter(engine: WhisperEngine) -> None:
    samples, lines = spoken("german")
    written = [[f"„{word.upper()}!“" for word in line] for line in texts(lines)]
    assert align(engine, samples, written, "de") == align(engine, samples, texts(lines), "de")


def test_a_foreign_line_is_left_out(engine: WhisperEngine) -> None:
    samples, lines = spoken("sung")
    right = texts(lines)
    times = align(engine, samples, [right[0], FOREIGN, *right[1:4], FOREIGN, FOREIGN, *right[4:], FOREIGN])
    kept = [times[0], *times[2:5], *times[7:-1]]
    assert [times[i] for i in (1, 5, 6, -1)] == [[None] * 5] * 4
    assert kept == align(engine, samples, right)


def test_words_after_a_line_that_is_not_given_do_not_begin_with_it(engine: WhisperEngine) -> None:
    samples, lines = spoken("sung")
    given = [line for i, line in enumerate(lines) if i % 3 != 1]
    errors_s = sorted(map(abs, start_errors_s(given, align(engine, samples, texts(given)))))
    assert errors_s[len(errors_s) * 9 // 10] < 0.7  # a line takes 2.5 s


def test_a_text_of_another_song_is_not_found(engine: WhisperEngine) -> None:
    samples, _ = spoken("sung")
    search = engine.align(samples, [FOREIGN, FOREIGN[::-1]], "en")
    with pytest.raises(StopIteration) as stop:
        while True:
            next(search)
    assert stop.value.value is None


@pytest.mark.parametrize("lead_s", [0.0, 40.0])
def test_a_long_sound_with_a_pause(engine: WhisperEngine, lead_s: float) -> None:
    english, sung = spoken("english"), spoken("sung")
    pause, parts, lines, at_s = np.zeros(10 * RATE_HZ, np.float32), [], [], lead_s
    parts.append(np.zeros(round(lead_s * RATE_HZ), np.float32))
    for samples, own in (english, sung, english):
        parts += [samples, pause]
        lines += [[(text, at_s + start_s) for text, start_s in line] for line in own]
        at_s += len(samples) / RATE_HZ + 10.0
    times = align(engine, np.concatenate(parts), texts(lines))
    found = [i for i, row in enumerate(times) if all(row)]
    assert len(found) >= len(lines) - 1
    errors_s = start_errors_s([lines[i] for i in found], [times[i] for i in found])
    assert statistics.median(map(abs, errors_s)) < 0.04
    assert max(map(abs, errors_s)) < 10.0  # no word is taken from another piece
    ends_s = [time.end_s for row in times for time in row if time]
    starts_s = [time.start_s for row in times for time in row if time]
    assert all(end_s <= start_s for end_s, start_s in zip(ends_s, starts_s[1:], strict=False))


def test_one_line_of_any_length(engine: WhisperEngine) -> None:
    samples, lines = spoken("english")
    [row] = align(engine, np.concatenate([samples, samples]), [[word for line in texts(lines) * 2 for word in line]])
    assert sum(time is None for time in row) <= 12


def test_times_are_those_of_openai_whisper(engine: WhisperEngine) -> None:
    """The same network, by openai-whisper's own alignment; what differs is int8 and float32."""
    import whisper
    from whisper.timing import find_alignment
    from whisper.tokenizer import get_tokenizer

    torch.set_num_threads(1)
    samples, lines = spoken("sung")
    model = whisper.load_model(str(SUPPORT / "models" / "nano-whisper.pt"), device="cpu")
    tokenizer = get_tokenizer(True, language="en", task="transcribe")
    words = [word for line in texts(lines) for word in line]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openai-whisper's, of what it does without Triton
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples))
        tokens = [token for word in words for token in tokenizer.encode(f" {word}")]
        theirs = find_alignment(model, tokenizer, tokens, mel, len(samples) // 160)
    ours = [time for row in align(engine, samples, texts(lines)) for time in row if time]
    differences_s = [abs(one.start_s - float(other.start)) for one, other in zip(ours, theirs, strict=False)]
    assert len(ours) == len(words)
    assert statistics.median(differences_s) <= 0.02
