"""Voice activity: how sure Silero VAD is, frame by frame, that somebody speaks or sings, and that it is no bleed.

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
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 512
_CONTEXT_SAMPLES = 64
# Frames are judged in groups of this size wherever the blocks are cut: the result never depends on the blocks.
_FRAMES_A_RUN = 16
# Levels are taken over the last quarter of a second: a consonant between two vowels does not count as bleed.
_LEVEL_FRAMES = 8
# -60 dBFS
_SILENT_PEAK = 1e-3
# Vocals further below the mix are bleed. Measured with the small network of the tests: three bands alone came through
# at -25 to -29 dB (medians; their loudest 5 % at -9 to -20), the band of a song where nobody sings at -14 and -27, and
# a voice 6 dB below its band at -11 (quietest 1 % at -19). So this takes away what cannot be
# voice; the rest of the bleed is as loud as quiet singing, and only the model tells it (it took up to 4 % of a band
# alone for voice). An engine that passes everything on is at 0 dB, where nothing changes.
_BLEED_RATIO = 10.0 ** (-24.0 / 10.0)


class VoiceDetector:
    """Voice probabilities of one stream of 16 kHz mono audio.

    They are 0 where the sound is silent, and where it is so far below the mix that it is what a separator let through.
    """

    def __init__(self) -> None:
        self._session = _session()
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)
        # Vocals and mix that wait for their group to be full, and what is known of the frames before it: the energies
        # of both, and the peaks of the vocals.
        self._waiting = np.zeros((2, 0), np.float32)
        self._before = np.zeros((3, _LEVEL_FRAMES - 1), np.float32)

    def push(self, vocals: NDArray[np.float32], mix: NDArray[np.float32] | None = None) -> list[float]:
        """Takes samples of shape (n,); returns the probabilities of the frames that are known by now, in order.

        Args:
            vocals: where voice is listened for.
            mix: what the vocals were taken from, just as long; None where there is only one sound.
        """
        both = np.stack([vocals, vocals if mix is None else mix])
        self._waiting = np.concatenate([self._waiting, both], axis=1)
        size = FRAME_SAMPLES * _FRAMES_A_RUN
        probabilities: list[float] = []
        while self._waiting.shape[1] >= size:
            probabilities += self._judge(self._waiting[:, :size])
            self._waiting = self._waiting[:, size:]
        return probabilities

    def flush(self) -> list[float]:
        """The probabilities of the last frames; the very last one is filled up with silence."""
        rest, self._waiting = self._waiting, np.zeros((2, 0), np.float32)
        missing = -rest.shape[1] % FRAME_SAMPLES
        return self._judge(np.pad(rest, ((0, 0), (0, missing)))) if rest.size else []

    def _judge(self, both: NDArray[np.float32]) -> list[float]:
        """Vocals and mix (2, frames · 512) to one probability a frame."""
        frames = both.reshape(2, -1, FRAME_SAMPLES)
        energies, peaks = np.square(frames).mean(axis=2), np.abs(frames[:1]).max(axis=2)
        known = np.concatenate([self._before, np.concatenate([energies, peaks])], axis=1)
        self._before = known[:, 1 - _LEVEL_FRAMES :]
        recent = sliding_window_view(known, _LEVEL_FRAMES, axis=1)
        vocals, mix = recent[:2].mean(axis=2)
        heard = (recent[2].max(axis=1) >= _SILENT_PEAK) & (vocals >= _BLEED_RATIO * mix)
        return [float(p) for p in np.where(heard, self._run(both[0]), 0.0)]

    def _run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        frames = samples.reshape(-1, FRAME_SAMPLES)
        contexts = np.vstack([self._context, frames[:-1, -_CONTEXT_SAMPLES:]])
        inputs = {"input": np.hstack([contexts, frames]), "h": self._h, "c": self._c}
        outputs: list[Any] = list(self._session.run(None, inputs))
        probabilities, self._h, self._c = outputs
        self._context = frames[-1, -_CONTEXT_SAMPLES:]
        return np.ravel(probabilities)


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
