from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side
sys.path.append(str(Path(__file__).parent))  # for the modules that are no tests

import json

import numpy as np
import pytest
from transcriber_sound import RATE, Sound, Speech

from singscript_audio.decode import decode
from singscript_transcriber.engines.sphinx import SphinxEngine

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def speech() -> Speech:
    blocks = list(decode(DATA / "speech.flac", sample_rate_hz=RATE, channels=1))
    truth = json.loads((DATA / "speech.json").read_text())["words"]
    words = [(word["text"], word["start_s"], word["end_s"]) for word in truth]
    return Speech(np.concatenate(blocks)[:, 0], words)


@pytest.fixture(scope="session")
def music() -> Sound:
    """20 s of a band without a singer: drums, bass, chords, and a lead with vibrato."""
    rng, seconds = np.random.default_rng(0), 20
    out = np.zeros(seconds * RATE)
    t = np.arange(RATE // 2) / RATE
    chords = [[220, 277, 330], [196, 247, 294], [175, 220, 262], [165, 208, 247]]
    for beat in range(seconds * 2):
        chord = chords[beat // 4 % 4]
        pad = sum(np.sin(2 * np.pi * f * h * t) / h for f in chord for h in range(1, 6)) * np.exp(-2 * t) * 0.3
        bass = np.sin(2 * np.pi * chord[0] / 4 * t) * np.exp(-3 * t)
        drum = rng.standard_normal(len(t)) * np.exp(-t / 0.02) * 0.8
        phase = 2 * np.pi * np.cumsum(chord[beat % 3] * 2 * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * t))) / RATE
        lead = sum(np.sin(phase * h) / h for h in range(1, 8)) * np.minimum(1, t * 20) * 0.4
        out[beat * len(t) : (beat + 1) * len(t)] = pad + bass + drum + lead
    return (out / np.abs(out).max() * 0.7).astype(np.float32)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two toy models in both formats: `nano` says three words, `babble` one word too often."""
    import nano_whisper  # brings PyTorch: only for the tests that need it

    folder = tmp_path_factory.mktemp("models")
    for model, text in (("nano", " the morning train"), ("babble", " la" * 25)):
        nano_whisper.save_openai(folder / f"{model}.pt", text, end_s=2.0)
        nano_whisper.convert(folder / f"{model}.pt", folder / f"faster-whisper-{model}")
    return folder


@pytest.fixture(scope="session")
def sphinx() -> Iterator[SphinxEngine]:
    engine = SphinxEngine(processes=1)
    yield engine
    engine.close()
