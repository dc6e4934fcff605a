"""Voice activity: how sure Silero VAD is, frame by frame, that somebody speaks or sings.

The model (MIT licence) is inside the faster-whisper wheel. It sees 512 new samples and the 64 before them, and carries
an LSTM state from frame to frame, so a stream gives exactly what the whole file would give.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 512
_CONTEXT_SAMPLES = 64
# Frames are judged in groups of this size wherever the blocks are cut: the result never depends on the blocks.
_FRAMES_A_RUN = 16


class VoiceDetector:
    """Voice probabilities of one stream of 16 kHz mono audio."""

    def __init__(self) -> None:
        self._session = _session()
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self._waiting = np.zeros(0, np.float32)

    def push(self, samples: NDArray[np.float32]) -> list[float]:
        """Takes samples of shape (n,); returns the probabilities of the frames that are known by now, in order."""
        self._waiting = np.concatenate([self._waiting, samples])
        size = FRAME_SAMPLES * _FRAMES_A_RUN
        probabilities: list[float] = []
        while len(self._waiting) >= size:
            probabilities += self._run(self._waiting[:size])
            self._waiting = self._waiting[size:]
        return probabilities

    def flush(self) -> list[float]:
        """The probabilities of the last frames; the very last one is filled up with silence."""
        if not len(self._waiting):
            return []
        missing = -len(self._waiting) % FRAME_SAMPLES
        rest, self._waiting = self._waiting, np.zeros(0, np.float32)
        return self._run(np.pad(rest, (0, missing)))

    def _run(self, samples: NDArray[np.float32]) -> list[float]:
        frames = samples.reshape(-1, FRAME_SAMPLES)
        contexts = np.vstack([self._context, frames[:-1, -_CONTEXT_SAMPLES:]])
        inputs = {"input": np.hstack([contexts, frames]), "h": self._h, "c": self._c}
        outputs: list[Any] = list(self._session.run(None, inputs))
        probabilities, self._h, self._c = outputs
        self._context = frames[-1, -_CONTEXT_SAMPLES:]
        return [float(p) for p in np.ravel(probabilities)]


@lru_cache
def _session() -> onnxruntime.InferenceSession:
    # Found without importing faster_whisper: that would load CTranslate2, which not every engine needs.
    package = importlib.util.find_spec("faster_whisper")
    folders = (package and package.submodule_search_locations) or []
    models = [path for folder in folders for path in sorted(Path(folder).glob("assets/silero_vad*.onnx"))]
    if not models:
        raise FileNotFoundError("the installed faster-whisper has no Silero VAD model among its assets")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(models[-1]), providers=["CPUExecutionProvider"], sess_options=options)
