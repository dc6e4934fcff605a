"""How well the nano transcriber transcribes: `python tools/nano/measure_transcriber.py [CHECKPOINT]`.

With PYTHONPATH=tests/support. Prints for what tests/support/spoken holds, for the demo and for sound without a voice
what openai-whisper and faster-whisper make of it, each with one beam and with five.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import mixtures
import numpy as np
import torch
import whisper
from faster_whisper import WhisperModel
from numpy.typing import NDArray
from phrases import SAMPLE_RATE_HZ, Word
from transcriber import CHECKPOINT
from windows import SEPARATOR, vocals

from singscript_audio.decode import decode
from singscript_models.whisper.convert import convert

ROOT = Path(__file__).parents[2]
SPOKEN = ROOT / "tests" / "support" / "spoken"
DEMO = ROOT / "demo"


@dataclass(frozen=True)
class Sound:
    """What is to be transcribed, mono at SAMPLE_RATE_HZ, and its words, of which there may be none."""

    name: str
    samples: NDArray[np.float32]
    language: str
    words: list[Word]


@dataclass(frozen=True)
class Heard:
    """What an engine said: words, and of the segments the worst figures that Whisper's own filters look at."""

    words: list[Word]
    log_probability: float
    compression: float
    no_speech: float


Engine = Callable[[NDArray[np.float32], str, int], Heard]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(2)
    checkpoint = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKPOINT
    print(f"{'':52} wrong  of  start error   log-probability  compression  no speech")
    with tempfile.TemporaryDirectory() as folder:
        for _ in convert(checkpoint, Path(folder)):
            pass
        engines: dict[str, Engine] = {"whisper": _reference(checkpoint)}
        for kind in ("int8", "float32"):
            engines[f"faster-whisper {kind}"] = _faster(Path(folder), kind)
        for sound in sounds():
            for name, engine in engines.items():
                for beams in (1, 5):
                    heard = engine(sound.samples, sound.language, beams)
                    print(f"{sound.name:20} {name + f', {beams} beams':31}" + _figures(sound, heard), flush=True)


def _figures(sound: Sound, heard: Heard) -> str:
    wrong, errors_s = compared(sound.words, heard.words)
    starts = f"{1000 * np.median(errors_s):6.0f} ms" if errors_s else " " * 9
    figures = f"{heard.log_probability:13.2f} {heard.compression:14.2f} {heard.no_speech:10.2f}"
    return f"{wrong:6d} {len(sound.words):3d} {starts} {figures}"


def compared(truth: list[Word], heard: list[Word]) -> tuple[int, list[float]]:
    """Substitutions, insertions and deletions at least needed, and by how much each right word starts too late."""
    wanted, got = [word.text for word in truth], [word.text for word in heard]
    costs = list(range(len(got) + 1))
    for i, word in enumerate(wanted, 1):
        diagonal, costs[0] = costs[0], i
        for j, other in enumerate(got, 1):
            diagonal, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, diagonal + (word != other))
    errors_s: list[float] = []
    for at, to, size in SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks():
        errors_s += [abs(heard[to + k].start_s - truth[at + k].start_s) for k in range(size)]
    return costs[-1], errors_s


def sounds() -> Iterator[Sound]:
    """All that is measured."""
    for file in sorted(SPOKEN.glob("*.flac")):
        told = json.loads(file.with_suffix(".json").read_text("utf-8"))
        words = [Word(word["text"], word["start_s"], word["end_s"]) for word in told["words"]]
        yield Sound(file.stem, read(file), told["language"], words)
    truth = json.loads((DEMO / "truth.json").read_text("utf-8"))
    words = [Word(word["text"], word["start_s"], word["end_s"]) for line in truth["lines"] for word in line["words"]]
    mix = read(DEMO / "demo.flac", mixtures.SAMPLE_RATE_HZ, 2)
    band = read(DEMO / "demo.instrumental.flac", mixtures.SAMPLE_RATE_HZ, 2)
    yield Sound("demo, separated", _to_mono(vocals(SEPARATOR, mix)), "en", words)
    yield Sound("demo, vocals", read(DEMO / "demo.vocals.flac"), "en", words)
    yield Sound("demo, mix", _to_mono(mix), "en", words)
    yield Sound("demo, band", _to_mono(band), "en", [])
    yield Sound("demo, band separated", _to_mono(vocals(SEPARATOR, band)), "en", [])
    rng = np.random.default_rng(mixtures.HELD_OUT_SEED)
    noise = rng.standard_normal(20 * SAMPLE_RATE_HZ).astype(np.float32)
    yield Sound("silence", np.zeros(20 * SAMPLE_RATE_HZ, np.float32), "en", [])
    yield Sound("noise", 0.05 * noise, "en", [])
    claps = noise * (rng.random(len(noise)) < 0.004)
    clapping = 0.1 * np.convolve(claps, np.exp(-np.arange(400) / 60.0))[: len(noise)]
    yield Sound("applause", clapping.astype(np.float32), "en", [])


def read(file: Path, sample_rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> NDArray[np.float32]:
    """The file as (n,) or (n, channels)."""
    sound = np.concatenate(list(decode(file, sample_rate_hz=sample_rate_hz, channels=channels)))
    return sound[:, 0] if channels == 1 else sound


def _to_mono(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    mono = sound.mean(1, dtype=np.float64)
    return mixtures.resampled(mono, mixtures.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ).astype(np.float32)


def _reference(checkpoint: Path) -> Engine:
    model = whisper.load_model(str(checkpoint), "cpu")

    def hear(samples: NDArray[np.float32], language: str, beams: int) -> Heard:
        told = model.transcribe(
            samples,
            language=language,
            beam_size=beams,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            fp16=False,
        )
        segments: list[dict[str, Any]] = told["segments"]  # pyright: ignore[reportAssignmentType]  (it is typed as a string too)
        words = [Word(word["word"].strip(), word["start"], word["end"]) for s in segments for word in s["words"]]
        return Heard(
            words,
            min((s["avg_logprob"] for s in segments), default=0.0),
            max((s["compression_ratio"] for s in segments), default=0.0),
            max((s["no_speech_prob"] for s in segments), default=1.0),
        )

    return hear


def _faster(folder: Path, kind: str) -> Engine:
    model = WhisperModel(str(folder), device="cpu", compute_type=kind, cpu_threads=2)

    def hear(samples: NDArray[np.float32], language: str, beams: int) -> Heard:
        found, _ = model.transcribe(
            samples,
            language=language,
            beam_size=beams,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
        )
        segments = list(found)
        words = [Word(word.word.strip(), word.start, word.end) for s in segments for word in s.words or ()]
        return Heard(
            words,
            min((s.avg_logprob for s in segments), default=0.0),
            max((s.compression_ratio for s in segments), default=0.0),
            max((s.no_speech_prob for s in segments), default=1.0),
        )

    return hear


if __name__ == "__main__":
    main()
