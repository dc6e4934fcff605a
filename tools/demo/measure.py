"""How well the demo can be understood: `python tools/demo/measure.py [FOLDER]`.

Prints, for the clean vocals and for the mix, the word error rate of PocketSphinx as a dictation engine, the error of
its forced alignment of the known lyrics, and how well Silero's voice detector tells voice from band. The band alone
must give no voice. What it needs is in the development set-up.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper.vad import get_speech_timestamps
from numpy.typing import NDArray
from pocketsphinx import Decoder

from singscript_audio.decode import decode

_RATE_HZ = 16_000
_FRAMES_PER_S = 100
_DEFAULT_FOLDER = Path(__file__).parents[2] / "demo"

Word = tuple[str, float, float]
"""Text, start and end in seconds."""


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else _DEFAULT_FOLDER
    truth = read_truth(folder / "truth.json")
    for name in ("demo.vocals.flac", "demo.flac", "demo.instrumental.flac"):
        audio = read_mono(folder / name)
        print(f"{name}\n  voice detected: {detected(audio, truth)}")
        heard = dictate(audio)
        if name == "demo.instrumental.flac":
            print(f"  dictation heard {len(heard)} words where there are none")
            continue
        print(f"  dictation: word error rate {word_error_rate([word for word, _, _ in truth], heard):.2f}")
        print(f"    {' '.join(heard)}")
        print(f"  forced alignment: {alignment_errors(align(audio, [word for word, _, _ in truth]), truth)}")


def read_truth(path: Path) -> list[Word]:
    """All words of truth.json."""
    truth: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [(word["text"], word["start_s"], word["end_s"]) for line in truth["lines"] for word in line["words"]]


def read_mono(path: Path) -> NDArray[np.float32]:
    """The file as mono float32 (n,) at 16 kHz."""
    return np.concatenate(list(decode(path, sample_rate_hz=_RATE_HZ, channels=1)))[:, 0]


def detected(audio: NDArray[np.float32], truth: list[Word]) -> str:
    """What Silero's detector finds: its spans and the shares of sung and of other time that they cover."""
    sung = np.zeros(len(audio), dtype=bool)
    for _, start_s, end_s in truth:
        sung[round(start_s * _RATE_HZ) : round(end_s * _RATE_HZ)] = True
    found = np.zeros(len(audio), dtype=bool)
    spans = get_speech_timestamps(audio)
    for span in spans:
        found[span["start"] : span["end"]] = True
    listed = ", ".join(f"{span['start'] / _RATE_HZ:.2f}-{span['end'] / _RATE_HZ:.2f}" for span in spans)
    return f"{found[sung].mean():.0%} of the singing, {found[~sung].mean():.0%} of the rest ({listed or 'nothing'})"


def dictate(audio: NDArray[np.float32]) -> list[str]:
    """What PocketSphinx hears with its large vocabulary."""
    decoder = Decoder(loglevel="FATAL")
    _decode(decoder, audio)
    return [word for word, _, _ in _segments(decoder)]


def align(audio: NDArray[np.float32], words: list[str]) -> list[Word]:
    """When PocketSphinx thinks that the given words are sung."""
    decoder = Decoder(loglevel="FATAL")
    decoder.set_align_text(" ".join(words))
    _decode(decoder, audio)
    return _segments(decoder)


def _decode(decoder: Decoder, audio: NDArray[np.float32]) -> None:
    decoder.start_utt()
    decoder.process_raw((audio * 32767.0).clip(-32768, 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()


def _segments(decoder: Decoder) -> list[Word]:
    """The words of the result: no silences and noises, no marks of alternative pronunciations."""
    return [
        (
            re.sub(r"\(\d+\)$", "", item.word),
            item.start_frame / _FRAMES_PER_S,
            (item.end_frame + 1) / _FRAMES_PER_S,
        )
        for item in (decoder.seg() if decoder.hyp() is not None else ())
        if item.word[0] not in "<["
    ]


def alignment_errors(found: list[Word], truth: list[Word]) -> str:
    """Median and 95th percentile of the distances between found and true starts."""
    if [word for word, _, _ in found] != [word for word, _, _ in truth]:
        return "failed"
    errors_ms = [1000.0 * abs(got[1] - true[1]) for got, true in zip(found, truth, strict=True)]
    return (
        f"start off by {np.median(errors_ms):.0f} ms (median), {np.percentile(errors_ms, 95):.0f} ms (95th percentile)"
    )


def word_error_rate(truth: list[str], heard: list[str]) -> float:
    """Substituted, missing and extra words per true word."""
    distances = list(range(len(heard) + 1))
    for row, true_word in enumerate(truth, start=1):
        diagonal, distances[0] = distances[0], row
        for column, heard_word in enumerate(heard, start=1):
            substituted = diagonal + (true_word != heard_word)
            diagonal = distances[column]
            distances[column] = min(substituted, diagonal + 1, distances[column - 1] + 1)
    return distances[-1] / len(truth)


if __name__ == "__main__":
    main()
