from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side
sys.path.append(str(Path(__file__).parent))  # for aligner_testing and toy_whisper

import numpy as np
import pytest
from aligner_testing import DATA, RATE_HZ, Speech

from singscript_audio.decode import decode


@pytest.fixture(scope="session")
def speech() -> Speech:
    blocks = list(decode(DATA / "speech.flac", sample_rate_hz=RATE_HZ, channels=1))
    lines = json.loads((DATA / "speech.json").read_text())["lines"]
    return Speech(
        np.concatenate(blocks)[:, 0],
        [line["text"] for line in lines],
        [[(word["text"], word["start_s"], word["end_s"]) for word in line["words"]] for line in lines],
    )
