"""Make the demo song: `python tools/demo/make_demo.py [FOLDER]`.

Writes the mix, its two stems, the lyrics and the exact time of each word. The same machine always gives the same files.
Needs flite 2.2 (its shared libraries), pyworld, numpy and av.
"""

import argparse
import hashlib
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import band
import numpy as np
import score
import voice
from errors import DemoError
from flac import write_flac
from flite import Flite
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Pcm = NDArray[np.int16]

SAMPLE_RATE_HZ = band.SAMPLE_RATE_HZ
VOICE_ABOVE_BAND_DB = 12.0
"""RMS of the voice over RMS of the band, both taken while somebody sings (see the README for the choice)."""

PEAK_DBFS = -1.0
SAMPLE_BITS = 14
"""Kept of FLAC's 16: 84 dB are plenty here and the files shrink by almost half."""

_DEFAULT_FOLDER = Path(__file__).parents[2] / "demo"


def main() -> int:
    """Make the demo; the exit status."""
    parser = argparse.ArgumentParser(description="Make the demo song with its stems, lyrics and exact word times.")
    parser.add_argument("folder", type=Path, nargs="?", default=_DEFAULT_FOLDER, help="where to write (default: demo/)")
    folder: Path = parser.parse_args().folder
    try:
        make_demo(folder)
    except DemoError as error:
        print(f"make_demo: {error}", file=sys.stderr)
        return 1
    return 0


def make_demo(folder: Path) -> None:
    """Make everything and write it to `folder`."""
    voice.load_vocoder()
    flite = Flite(voice.FLITE_VOICE)
    pieces = [voice.sing(line, flite) for line in score.LINES]
    vocals, instrumental = balance(lay_out(pieces), band.play(), pieces)

    # The stems are rounded first and the mix is their sum, so they add up to it exactly.
    vocals_pcm, instrumental_pcm = to_pcm(vocals[:, None]), to_pcm(instrumental)
    mix_pcm = (vocals_pcm + instrumental_pcm).astype(np.int16)

    folder.mkdir(parents=True, exist_ok=True)
    for name, pcm in (
        ("demo.flac", mix_pcm),
        ("demo.vocals.flac", vocals_pcm),
        ("demo.instrumental.flac", instrumental_pcm),
    ):
        write_flac(folder / name, pcm, SAMPLE_RATE_HZ)
        print(f"{name}: {len(pcm) / SAMPLE_RATE_HZ:.3f} s, samples' sha256 {hashlib.sha256(pcm.tobytes()).hexdigest()}")
    (folder / "lyrics.txt").write_text(score.lyrics_text(), encoding="utf-8")
    truth = json.dumps(describe(pieces, len(mix_pcm)), indent=1, ensure_ascii=False)
    (folder / "truth.json").write_text(truth + "\n", encoding="utf-8")


def lay_out(pieces: list[voice.SungPiece]) -> FloatArray:
    """The vocal track (n,) at SAMPLE_RATE_HZ: every line at its place, nothing in between."""
    track = np.zeros(round(score.DURATION_S * voice.SAMPLE_RATE_HZ))
    for piece in pieces:
        track[piece.start_samples : piece.start_samples + len(piece.samples)] += piece.samples
    return voice.upsample(track, SAMPLE_RATE_HZ)


def balance(
    vocals: FloatArray, instrumental: FloatArray, pieces: list[voice.SungPiece]
) -> tuple[FloatArray, FloatArray]:
    """Vocals (n,) and band (n, 2) at the levels at which they are to be added."""
    sung = np.zeros(len(vocals), dtype=bool)
    for piece in pieces:
        first, last = piece.words[0], piece.words[-1]
        sung[round(first.start_s * SAMPLE_RATE_HZ) : round(last.end_s * SAMPLE_RATE_HZ)] = True
    voice_rms = np.sqrt(np.mean(vocals[sung] ** 2))
    band_rms = np.sqrt(np.mean(instrumental[sung] ** 2))
    instrumental = instrumental * (voice_rms / band_rms * 10.0 ** (-VOICE_ABOVE_BAND_DB / 20.0))
    peak = np.abs(vocals[:, None] + instrumental).max()
    gain = 10.0 ** (PEAK_DBFS / 20.0) / peak
    return vocals * gain, instrumental * gain


def to_pcm(sound: FloatArray) -> Pcm:
    """Round (n, channels) within ±1 to SAMPLE_BITS bits, in the upper bits of int16."""
    scale = 2 ** (SAMPLE_BITS - 1)
    return (np.rint(sound * (scale - 1)) * (32768 // scale)).astype(np.int16)


def describe(pieces: list[voice.SungPiece], duration_samples: int) -> dict[str, object]:
    """What truth.json says. Times are those of whole samples of the mix."""

    def on_sample(seconds: float) -> float:
        return round(round(seconds * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ, 6)

    lines = [
        {
            "text": line.text,
            "start_s": on_sample(piece.words[0].start_s),
            "end_s": on_sample(piece.words[-1].end_s),
            "words": [
                {"text": word.text, "start_s": on_sample(word.start_s), "end_s": on_sample(word.end_s)}
                for word in piece.words
            ],
        }
        for line, piece in zip(score.LINES, pieces, strict=True)
    ]
    return {
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "duration_s": duration_samples / SAMPLE_RATE_HZ,
        "lines": lines,
        "made_by": {
            "script": "tools/demo/make_demo.py",
            "voice": f"flite 2.x, cmu_us_{voice.FLITE_VOICE}",
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("numpy", "pyworld", "av")},
            "band_seed": band.SEED,
            "voice_above_band_db": VOICE_ABOVE_BAND_DB,
            "beats_per_minute": score.BEATS_PER_MINUTE,
        },
    }


if __name__ == "__main__":
    sys.exit(main())
