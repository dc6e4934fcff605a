"""Train the small HTDemucs that tests separate with, from scratch, on songs made by script.

    apt-get install flite espeak-ng && pip install pyworld    # beside the project's own packages
    PYTHONPATH=tests/support python tools/nano/separator.py

Writes tests/support/models/nano-htdemucs.safetensors and tests/support/voices/ (the voices that tests mix in; not
trained on). Seeds are fixed; another machine or version still rounds differently and so trains another network.
With MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_TOP_PAD_=200000000 glibc makes a step a quarter faster.
`measure.py` says how good the result is.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import mixtures
import numpy as np
import speech
import torch
from av.audio.stream import AudioStream
from demucs.htdemucs import HTDemucs
from mixtures import SAMPLE_RATE_HZ, SOURCES, Band, FloatArray
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

SUPPORT = Path(__file__).parents[2] / "tests" / "support"
CHECKPOINT = SUPPORT / "models" / "nano-htdemucs.safetensors"
VOICES = SUPPORT / "voices"

SEGMENT = Fraction(3)
ARGUMENTS: dict[str, Any] = {
    "sources": list(SOURCES),
    "channels": 12,
    "depth": 4,
    "bottom_channels": 0,
    "t_layers": 1,
    "t_heads": 4,
    "t_hidden_scale": 2,
    "dconv_mode": 1,
    "segment": SEGMENT,
}

_SEED = 7
_BANDS = 40
_BAND_S = 10.0
_CLIPS_PER_VOICE = 7
_BATCH = 2
_WARM_UP_STEPS = 30
_MAX_GRADIENT = 0.5


@dataclass(frozen=True)
class Phase:
    """A stretch of training: the rate falls to zero in it.

    Attributes:
        is_relative: the loss is the logarithm of the errors, so that what is nearly right is still made better; from
            the start it would get stuck at silence.
        source_weights: how much the parts count, in the order of SOURCES.
    """

    steps: int
    learning_rate: float
    is_relative: bool
    source_weights: tuple[float, ...]


PHASES = (
    Phase(1000, 4e-3, False, (1.0, 1.0, 1.0, 2.0)),
    Phase(400, 2e-3, True, (1.0, 1.0, 1.0, 4.0)),
)
# Errors this far below the mix count no more, so that silent parts do not drown the others.
_FLOOR = 0.05


def main() -> int:
    """Make the data, train, write; the exit status."""
    parser = argparse.ArgumentParser(description="Train the nano separator of the tests.")
    parser.add_argument("--skip", type=int, default=0, help="phases to leave out: go on from the checkpoint there is")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, help="an .npz that the training sounds are kept in, for the next time")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    try:
        write_held_out_voices()
        material = Material.kept(arguments.data) if arguments.data else Material.made()
    except speech.SpeechError as error:
        print(f"separator: {error}", file=sys.stderr)
        return 1
    torch.manual_seed(_SEED)
    network = HTDemucs(**ARGUMENTS)
    if arguments.skip:
        network.load_state_dict(load_file(CHECKPOINT))
    for index, phase in enumerate(PHASES[arguments.skip :], arguments.skip):
        train(network, material, phase, sum(before.steps for before in PHASES[:index]))
        write_checkpoint(network)
    return 0


class Material:
    """What training songs are put together from."""

    def __init__(self, bands: list[NDArray[np.float16]], clips: list[NDArray[np.float16]]) -> None:
        """`bands` are (drums, bass, other) as (3, n, 2), `clips` voices as (n,); all at SAMPLE_RATE_HZ."""
        self._bands = bands
        self._clips = clips

    @classmethod
    def made(cls) -> Material:
        """All of it made anew; takes minutes."""
        bands: list[NDArray[np.float16]] = []
        for seed in range(_BANDS):
            band = mixtures.play(np.random.default_rng(seed), round(_BAND_S * SAMPLE_RATE_HZ))
            bands.append(np.stack([band.drums, band.bass, band.other]).astype(np.float16))
        sung = speech.for_training(_SEED, _CLIPS_PER_VOICE)
        clips = [mixtures.resampled(clip, speech.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ).astype(np.float16) for clip in sung]
        print(f"{len(bands)} bands, {sum(map(len, clips)) / SAMPLE_RATE_HZ:.0f} s of voice", flush=True)
        return cls(bands, clips)

    @classmethod
    def kept(cls, file: Path) -> Material:
        """What `file` holds; made and kept there when there is no such file."""
        if not file.exists():
            made = cls.made()
            named = {f"band{i}": band for i, band in enumerate(made._bands)}
            named |= {f"clip{i}": clip for i, clip in enumerate(made._clips)}
            np.savez(file, allow_pickle=False, **named)
            return made
        with np.load(file) as arrays:
            names = list(arrays)
            return cls(
                [arrays[name] for name in names if name.startswith("band")],
                [arrays[name] for name in names if name.startswith("clip")],
            )

    def excerpt(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """A stretch of a new song: its parts (4, n, 2), n samples being SEGMENT.

        Sometimes a part is silent, and sometimes the song begins or ends within the stretch.
        """
        length = int(SEGMENT * SAMPLE_RATE_HZ)
        is_one_band = rng.random() < 0.5
        chosen = int(rng.integers(len(self._bands)))
        tracks: list[FloatArray] = []
        for part in range(3):
            band = self._bands[chosen if is_one_band else int(rng.integers(len(self._bands)))][part]
            start = int(rng.integers(band.shape[0] - length))
            track = band[start : start + length, :: 1 if rng.random() < 0.5 else -1].astype(np.float64)
            tracks.append(track * (rng.random() > 0.08))
        vocals = mixtures.in_a_room(rng, self._sung(rng, length))
        parts = mixtures.mixed(rng, Band(*tracks), vocals, rng.uniform(-6.0, 14.0), spread_db=8.0)
        edge = int(rng.uniform(0.1, 0.7) * length)
        kind = rng.random()
        if kind < 0.05:
            parts[:, :edge] = 0.0
        elif kind < 0.15:
            parts[:, -edge:] = 0.0
        return parts

    def _sung(self, rng: np.random.Generator, length: int) -> FloatArray:
        """A voice that begins and pauses anywhere, or (one time in twelve) says nothing."""
        voice = np.zeros(length)
        if rng.random() < 1 / 12:
            return voice
        at = int(rng.uniform(-2.5, 1.0) * SAMPLE_RATE_HZ)
        while at < length:
            clip = self._clips[int(rng.integers(len(self._clips)))]
            heard = clip[max(-at, 0) : length - at]
            voice[max(at, 0) : max(at, 0) + len(heard)] += heard
            at += len(clip) + int(rng.uniform(0.1, 1.2) * SAMPLE_RATE_HZ)
        return voice


def train(network: HTDemucs, material: Material, phase: Phase, first_step: int) -> None:
    """Trains `network`; the songs of a step depend on its number alone."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=phase.learning_rate)

    def rate(step: int) -> float:
        return min((step + 1) / _WARM_UP_STEPS, 0.5 * (1.0 + math.cos(math.pi * step / phase.steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    since_s, losses, gains_db = time.monotonic(), list[float](), list[float]()
    for step in range(first_step, first_step + phase.steps):
        rng = np.random.default_rng((_SEED, step))
        parts = np.stack([material.excerpt(rng) for _ in range(_BATCH)])
        truth = torch.from_numpy(parts.transpose(0, 1, 3, 2).copy())
        estimate = network(truth.sum(1))
        loss = _loss(estimate, truth, phase)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        gains_db.append(_vocals_gain_db(estimate.detach(), truth))
        if step % 50 == 49:
            figures = f"loss {np.mean(losses[-50:]):.3f}, vocals {np.mean(gains_db[-50:]):+.1f} dB"
            print(f"step {step + 1}: {figures}, {time.monotonic() - since_s:.0f} s", flush=True)


def _loss(estimate: torch.Tensor, truth: torch.Tensor, phase: Phase) -> torch.Tensor:
    """The RMS of each part's error over that of the mix (mean absolute errors learn slower)."""
    mix = (truth.sum(1) ** 2).mean((1, 2))[:, None]
    error = torch.sqrt(((estimate - truth) ** 2).mean((2, 3)) / mix + 1e-8)
    weights = torch.tensor(phase.source_weights)
    return ((torch.log(error + _FLOOR) if phase.is_relative else error) * weights).sum(1).mean() / weights.sum()


def _vocals_gain_db(estimate: torch.Tensor, truth: torch.Tensor) -> float:
    """By how much the estimated vocals of a batch are nearer to the truth than the mix is, by energy."""
    vocals = SOURCES.index("vocals")
    left = ((estimate[:, vocals] - truth[:, vocals]) ** 2).sum()
    return float(10.0 * torch.log10(((truth.sum(1) - truth[:, vocals]) ** 2).sum() / left))


def write_checkpoint(network: HTDemucs) -> None:
    """In the layout of Demucs' released safetensors, in half precision."""
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    segment = {"_type": "fraction", "numerator": SEGMENT.numerator, "denominator": SEGMENT.denominator}
    metadata = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": "[]",
        "kwargs": json.dumps(ARGUMENTS | {"segment": segment}),
    }
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, CHECKPOINT, metadata)


def write_held_out_voices() -> None:
    """The voices for tests as FLAC, mono, peak 0.9, in the upper 12 of 16 bits: 72 dB are plenty and half the size."""
    VOICES.mkdir(parents=True, exist_ok=True)
    for name, sound in speech.held_out():
        pcm = (np.rint(sound * (0.9 * 2047.0 / np.abs(sound).max())) * 16).astype(np.int16)
        with av.open(str(VOICES / f"{name}.flac"), "w", container_options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream("flac", rate=speech.SAMPLE_RATE_HZ, layout="mono", format="s16")
            assert isinstance(stream, AudioStream)
            stream.codec_context.options = {"compression_level": "12", "flags": "+bitexact"}
            frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
            frame.sample_rate = speech.SAMPLE_RATE_HZ
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)


if __name__ == "__main__":
    sys.exit(main())
