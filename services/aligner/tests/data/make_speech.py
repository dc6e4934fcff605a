"""Makes speech.flac and speech.json: an original text spoken by flite, with the exact time of each word.

Run from the repository root, with flite installed: `python services/aligner/tests/data/make_speech.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[3] / "tools" / "demo"))
from flite import Flite  # noqa: E402  # pyright: ignore[reportMissingImports]  (the demo's tools are scripts)

RATE_HZ = 16_000
# What is written, how many words flite makes of a token where not one, and the pause before the line.
LINES: tuple[tuple[str, dict[str, int], float], ...] = (
    ("When the morning light comes over the hill,", {}, 0.6),
    ("I will count to 25 and then stand still.", {"25": 2}, 0.7),
    ("Tell old Zorblefax, tell the rest of the town:", {}, 0.9),
    ("nobody here wants to let you down.", {}, 0.5),
    ("When the morning light comes over the hill,", {}, 3.0),
    ("we'll be waiting by the water still!", {"we'll": 2}, 0.6),
)


def main() -> None:
    voice = Flite("slt")
    sound: list[np.ndarray] = []
    truth: list[dict[str, object]] = []
    at_s = 0.0

    def add(samples: np.ndarray) -> None:
        nonlocal at_s
        sound.append(samples)
        at_s += len(samples) / RATE_HZ

    for line, word_counts, pause_s in LINES:
        add(np.zeros(round(pause_s * RATE_HZ)))
        tokens = line.split()
        speech = voice.say(line)
        assert speech.sample_rate_hz == RATE_HZ
        spans: dict[int, list[float]] = {}
        start_s = 0.0
        for phone in speech.phones:
            if phone.word >= 0:
                spans.setdefault(phone.word, [start_s, phone.end_s])[1] = phone.end_s
            start_s = phone.end_s
        word = 0
        words: list[dict[str, object]] = []
        for token in tokens:
            last = word + word_counts.get(token, 1) - 1
            words.append({"text": token, "start_s": round(at_s + spans[word][0], 3),
                          "end_s": round(at_s + spans[last][1], 3)})  # fmt: skip
            word = last + 1
        assert word == len(spans), (line, word, len(spans))
        truth.append({"text": line, "words": words})
        add(speech.samples)
    add(np.zeros(RATE_HZ))

    samples = np.concatenate(sound)
    # Quiet enough to stay small as FLAC, with a little noise so that no stretch is digital silence.
    noise = np.random.default_rng(1).normal(0.0, 0.5, len(samples))
    pcm = np.rint(samples / np.abs(samples).max() * 1200.0 + noise).astype(np.int16)
    with av.open(str(HERE / "speech.flac"), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE_HZ, layout="mono")
        stream.codec_context.options = {"compression_level": "12"}
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (HERE / "speech.json").write_text(
        json.dumps({"duration_s": round(len(pcm) / RATE_HZ, 3), "lines": truth}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
