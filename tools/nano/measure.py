"""How well the nano separator separates: `PYTHONPATH=tests/support python tools/nano/measure.py [CHECKPOINT]`.

Prints, for songs that it was not trained on and for the demo, by how many dB each estimated part is nearer to the truth
than the mix is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mixtures
import numpy as np
import torch
from demucs.apply import Model, apply_model
from mixtures import SAMPLE_RATE_HZ, SOURCES
from numpy.typing import NDArray
from separator import CHECKPOINT, VOICES

from singscript_audio.decode import decode
from singscript_separator.engines import weights

DEMO = Path(__file__).parents[2] / "demo"
_ABOVE_BAND_DB = (-3.0, 0.0, 3.0, 9.0)


def main() -> None:
    """Print the table."""
    checkpoint = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKPOINT
    name = checkpoint.stem
    model = weights.load_models([name], weights.Recipe((name,)), checkpoint.parent)[name]
    rows: list[list[float]] = []
    print(f"{'song':34}" + "".join(f"{source:>15}" for source in SOURCES))
    for index, file in enumerate(sorted(VOICES.glob("*.flac"))):
        voice = read(file, 1)[:, 0].astype(np.float64)
        for above_db in _ABOVE_BAND_DB:
            parts = mixtures.song(mixtures.HELD_OUT_SEED + index, voice, above_db)
            estimates = separate(model, parts.sum(0))
            rows.append([])
            cells = ""
            for truth, estimate in zip(parts, estimates, strict=True):
                before, after = mixtures.sdr_db(truth, parts.sum(0)), mixtures.sdr_db(truth, estimate)
                rows[-1].append(after - before)
                cells += f"{before:+7.1f}{after - before:+8.1f}"
            print(f"{file.stem + f' {above_db:+.0f} dB':34}{cells}")
    print(f"{'mean improvement':34}" + "".join(f"{mean:+15.1f}" for mean in np.mean(rows, axis=0)))

    mix, vocals, band = (read(DEMO / f"demo{name}.flac", 2) for name in ("", ".vocals", ".instrumental"))
    estimate = separate(model, mix)[SOURCES.index("vocals")]
    for name, truth, got in (("vocals", vocals, estimate), ("instrumental", band, mix - estimate)):
        before, after = mixtures.sdr_db(truth, mix), mixtures.sdr_db(truth, got)
        print(f"{f'demo, {name}':34}{before:+7.1f}{after - before:+8.1f}")


def read(file: Path, channels: int) -> NDArray[np.float32]:
    """The file as (n, channels) at SAMPLE_RATE_HZ."""
    return np.concatenate(list(decode(file, sample_rate_hz=SAMPLE_RATE_HZ, channels=channels)))


def separate(model: Model, mix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The parts of `mix` (n, 2) as Demucs itself estimates them, (4, n, 2)."""
    level = float(mix.std())
    estimate = apply_model(model, torch.from_numpy(mix.T / level)[None], shifts=0)[0] * level
    return estimate.numpy().transpose(0, 2, 1)


if __name__ == "__main__":
    main()
