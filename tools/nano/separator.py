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
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
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
_SENTENCES_RECORDED, _TAKES_RECORDED = 48, 4
_SENTENCES_OF_OTHERS, _TAKES_OF_OTHERS = 2, 3
_BATCH = 2
_WARM_UP_STEPS = 30
_MAX_GRADIENT = 0.5


@dataclass(frozen=True)
class Phase:
    """A stretch of training: the rate falls to zero in it.

    Attributes:
        source_weights: how much the parts count, in the order of SOURCES.
        floor: the loss is the logarithm of the errors plus this (as a share of the mix), so that what is nearly right
            is still made better; from the start it would get stuck at silence. None: the errors themselves.
        voice_above_band_db: ranges, each as likely as the others.
        alone: how often there is a voice and no band.
        dwells: the songs are sung by speech.RECORDED half of the time, to other bands than before.
    """

    steps: int
    learning_rate: float
    source_weights: tuple[float, ...]
    floor: float | None = None
    voice_above_band_db: tuple[tuple[float, float], ...] = ((-6.0, 14.0),)
    alone: float = 0.0
    dwells: bool = False


PHASES = (
    Phase(1000, 4e-3, (1.0, 1.0, 1.0, 2.0)),
    Phase(400, 2e-3, (1.0, 1.0, 1.0, 4.0), floor=0.05),
    # What is loud is mostly right by now; what is lost of it is heard where the band is far below.
    Phase(
        420,
        1.5e-3,
        (1.0, 1.0, 1.0, 6.0),
        floor=0.02,
        voice_above_band_db=((-6.0, 6.0), (6.0, 16.0), (6.0, 16.0)),
        alone=0.12,
        dwells=True,
    ),
)


def main() -> int:
    """Make the data, train, write; the exit status."""
    parser = argparse.ArgumentParser(description="Train the nano separator of the tests.")
    parser.add_argument("--skip", type=int, default=0, help="phases to leave out: go on from the checkpoint there is")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, help="a folder that the training sounds are kept in, for the next time")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    try:
        write_held_out_voices()
        phases = PHASES[arguments.skip :]
        materials = {dwells: Material.of(dwells, arguments.data) for dwells in {phase.dwells for phase in phases}}
    except speech.SpeechError as error:
        print(f"separator: {error}", file=sys.stderr)
        return 1
    torch.manual_seed(_SEED)
    network = HTDemucs(**ARGUMENTS)
    if arguments.skip:
        network.load_state_dict(load_file(CHECKPOINT))
    for index, phase in enumerate(phases, arguments.skip):
        train(network, materials[phase.dwells], phase, sum(before.steps for before in PHASES[:index]))
        write_checkpoint(network)
    return 0


class Material:
    """What training songs are put together from."""

    def __init__(self, bands: list[NDArray[np.float16]], voices: list[list[NDArray[np.float16]]]) -> None:
        """`bands` are (drums, bass, other) as (3, n, 2), all at SAMPLE_RATE_HZ; `voices` are clips (n,) in groups that
        are heard equally often."""
        self._bands = bands
        self._voices = voices

    @classmethod
    def of(cls, dwells: bool, folder: Path | None) -> Material:
        """What `folder` holds for such phases; made (in minutes), and kept there, when it does not hold it."""
        file = folder / f"{'dwelling' if dwells else 'first'}.npz" if folder else None
        if file and file.exists():
            with np.load(file) as arrays:
                groups = sorted({name.split("-")[0] for name in arrays if name.startswith("voices")})
                return cls(
                    [arrays[name] for name in arrays if name.startswith("band")],
                    [[arrays[name] for name in arrays if name.startswith(f"{group}-")] for group in groups],
                )
        with ProcessPoolExecutor(_workers()) as pool:
            seeds = range(_BANDS, 2 * _BANDS) if dwells else range(_BANDS)
            bands = list(pool.map(_band, seeds))
            voices = _dwelling_voices(pool) if dwells else [_clips(speech.for_training(_SEED, _CLIPS_PER_VOICE))]
        lengths_s = [f"{sum(map(len, clips)) / SAMPLE_RATE_HZ:.0f} s" for clips in voices]
        print(f"{len(bands)} bands, {' and '.join(lengths_s)} of voices", flush=True)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            named = {f"band-{i}": band for i, band in enumerate(bands)}
            named |= {f"voices{i}-{k}": clip for i, clips in enumerate(voices) for k, clip in enumerate(clips)}
            np.savez(file, allow_pickle=False, **named)
        return cls(bands, voices)

    def excerpt(self, rng: np.random.Generator, phase: Phase) -> NDArray[np.float32]:
        """A stretch of a new song: its parts (4, n, 2), n samples being SEGMENT.

        Sometimes a part is silent, and sometimes the song begins or ends within the stretch.
        """
        length = int(SEGMENT * SAMPLE_RATE_HZ)
        is_alone = bool(phase.alone) and rng.random() < phase.alone
        is_one_band = rng.random() < 0.5
        chosen = int(rng.integers(len(self._bands)))
        tracks: list[FloatArray] = []
        for part in range(3):
            band = self._bands[chosen if is_one_band else int(rng.integers(len(self._bands)))][part]
            start = int(rng.integers(band.shape[0] - length))
            track = band[start : start + length, :: 1 if rng.random() < 0.5 else -1].astype(np.float64)
            tracks.append(track * (rng.random() > 0.08 and not is_alone))
        vocals = mixtures.in_a_room(rng, self._sung(rng, length))
        above_db = rng.uniform(*phase.voice_above_band_db[int(rng.integers(len(phase.voice_above_band_db)))])
        parts = mixtures.mixed(rng, Band(*tracks), vocals, above_db, spread_db=8.0)
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
            clips = self._voices[int(rng.integers(len(self._voices)))]
            clip = clips[int(rng.integers(len(clips)))]
            heard = clip[max(-at, 0) : length - at]
            voice[max(at, 0) : max(at, 0) + len(heard)] += heard
            at += len(clip) + int(rng.uniform(0.1, 1.2) * SAMPLE_RATE_HZ)
        return voice


def _workers() -> int:
    return max(1, (os.cpu_count() or 1) - 1)


def _band(seed: int) -> NDArray[np.float16]:
    band = mixtures.play(np.random.default_rng(seed), round(_BAND_S * SAMPLE_RATE_HZ))
    return np.stack([band.drums, band.bass, band.other]).astype(np.float16)


def _clips(sounds: Iterable[FloatArray]) -> list[NDArray[np.float16]]:
    """Speech as training takes it."""
    return [mixtures.resampled(sound, speech.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ).astype(np.float16) for sound in sounds]


def _dwelling_voices(pool: ProcessPoolExecutor) -> list[list[NDArray[np.float16]]]:
    """The clips of speech.RECORDED, and those of the others."""
    recorded = [(speech.RECORDED, (_SEED, 0, k), _TAKES_RECORDED) for k in range(_SENTENCES_RECORDED)]
    others = [
        (voice, (_SEED, 1 + index, k), _TAKES_OF_OTHERS)
        for index, voice in enumerate(speech.OTHERS)
        for k in range(_SENTENCES_OF_OTHERS)
    ]
    return [
        [clip for clips in pool.map(_takes, *zip(*jobs, strict=True)) for clip in clips] for jobs in (recorded, others)
    ]


def _takes(voice: str, seed: tuple[int, ...], count: int) -> list[NDArray[np.float16]]:
    return _clips(speech.takes(voice, seed, count))


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
        parts = np.stack([material.excerpt(rng, phase) for _ in range(_BATCH)])
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
            figures = f"loss {np.mean(losses[-50:]):.3f}, vocals {np.median(gains_db[-50:]):+.1f} dB"
            print(f"step {step + 1}: {figures}, {time.monotonic() - since_s:.0f} s", flush=True)


def _loss(estimate: torch.Tensor, truth: torch.Tensor, phase: Phase) -> torch.Tensor:
    """The RMS of each part's error over that of the mix (mean absolute errors learn slower)."""
    mix = (truth.sum(1) ** 2).mean((1, 2))[:, None] + 1e-6
    error = torch.sqrt(((estimate - truth) ** 2).mean((2, 3)) / mix + 1e-8)
    weights = torch.tensor(phase.source_weights)
    return ((error if phase.floor is None else torch.log(error + phase.floor)) * weights).sum(1).mean() / weights.sum()


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
