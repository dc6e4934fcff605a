"""How well the aligner's engine `ctc` places words with the nano CTC network, on sounds that it was not trained on.

PYTHONPATH=tests/support python tools/nano/measure_ctc.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from phrases import Word

from singscript_aligner.engines.ctc import CtcEngine
from singscript_audio.decode import decode

ROOT = Path(__file__).parents[2]
NETWORK = ROOT / "tests" / "support" / "models" / "nano-ctc"
_SAMPLE_RATE_HZ = 16_000
_PAUSE_S = 0.3


def main() -> int:
    """Print a table; the exit status."""
    print("| sound | words | found | start error | 95 % | end error | within 50 ms | 100 ms | confidence |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ctc-en").symlink_to(NETWORK)
        engine = CtcEngine(Path(folder))
        for name in ("english", "sung"):
            told = json.loads((ROOT / "tests" / "support" / "spoken" / f"{name}.json").read_text("utf-8"))
            lines = _phrases([Word(**word) for word in told["words"]])
            print(_row(engine, name, ROOT / "tests" / "support" / "spoken" / f"{name}.flac", lines))
        told = json.loads((ROOT / "demo" / "truth.json").read_text("utf-8"))
        lines = [[Word(w["text"], w["start_s"], w["end_s"]) for w in line["words"]] for line in told["lines"]]
        for name, file in (("demo, vocals", "demo.vocals.flac"), ("demo, mix", "demo.flac")):
            print(_row(engine, name, ROOT / "demo" / file, lines))
    return 0


def _phrases(words: Sequence[Word]) -> list[list[Word]]:
    """The words between two pauses make a line."""
    lines = [[words[0]]]
    for before, word in pairwise(words):
        if word.start_s - before.end_s > _PAUSE_S:
            lines.append([])
        lines[-1].append(word)
    return lines


def _row(engine: CtcEngine, name: str, file: Path, lines: Sequence[Sequence[Word]]) -> str:
    samples: NDArray[np.float32] = np.concatenate(list(decode(file, sample_rate_hz=_SAMPLE_RATE_HZ, channels=1)))[:, 0]
    search = engine.align(samples, [[word.text for word in line] for line in lines], "en")
    while True:
        try:
            next(search)
        except StopIteration as stop:
            times = stop.value or [[None] * len(line) for line in lines]
            break
    pairs = [pair for found, line in zip(times, lines, strict=True) for pair in zip(found, line, strict=True)]
    starts = np.array([abs(time.start_s - word.start_s) for time, word in pairs if time])
    ends = np.array([abs(time.end_s - word.end_s) for time, word in pairs if time])
    sure = np.median([time.confidence for time, _ in pairs if time])
    shares = [np.count_nonzero(starts < limit_s) / len(pairs) for limit_s in (0.05, 0.1)]
    return (
        f"| {name} | {len(pairs)} | {len(starts)} | {1000 * np.median(starts):.0f} ms | "
        f"{1000 * np.quantile(starts, 0.95):.0f} ms | {1000 * np.median(ends):.0f} ms | "
        f"{100 * shares[0]:.0f} % | {100 * shares[1]:.0f} % | {sure:.2f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
