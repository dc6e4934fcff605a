"""Write tests/support/spoken: phrases that the nano transcriber was not trained on, by the voices that it knows.

    PYTHONPATH=tests/support python tools/nano/held_out.py

Each file has its truth beside it: language, and words with their times. Needs what `transcriber.py` needs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import mixtures
import numpy as np
import phrases
from av.audio.stream import AudioStream
from mixtures import HELD_OUT_SEED, FloatArray
from phrases import SAMPLE_RATE_HZ, SUNG, Clip, Word
from windows import SEPARATOR, vocals

SPOKEN = Path(__file__).parents[2] / "tests" / "support" / "spoken"

_PAUSE_S = 0.5
_ENGLISH = ("flite:rms", "en-us", "en-us+f2", "flite:slt", "en-us+m3", "en-us+Annie", "en-gb-scotland", "en-us+m7")
_GERMAN = ("de", "de+f2", "de+m3")
_ABOVE_BAND_DB = 10.0


def main() -> int:
    """Write all files; the exit status."""
    SPOKEN.mkdir(parents=True, exist_ok=True)
    try:
        for name, language, voices, length_s in (("english", "en", _ENGLISH, 28.0), ("german", "de", _GERMAN, 13.0)):
            by_voice = [list(phrases.clips(voice, HELD_OUT_SEED, 5)) for voice in voices]
            sound, words = _in_turn([clip for some in zip(*by_voice, strict=True) for clip in some], length_s)
            _write(name, sound, words, language)
        sound, words = _in_turn(list(phrases.clips(SUNG, HELD_OUT_SEED, 16)), 22.0)
    except phrases.SynthesisError as error:
        print(f"held_out: {error}", file=sys.stderr)
        return 1
    wide = mixtures.resampled(sound, SAMPLE_RATE_HZ, mixtures.SAMPLE_RATE_HZ)
    stems = mixtures.song(HELD_OUT_SEED + 100, wide, _ABOVE_BAND_DB)
    separated = vocals(SEPARATOR, stems.sum(0)).mean(1, dtype=np.float64)
    _write("sung", mixtures.resampled(separated, mixtures.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ), words, "en")
    return 0


def _in_turn(clips: Sequence[Clip], length_s: float) -> tuple[FloatArray, list[Word]]:
    """As many of `clips` as fit, one after another with pauses, the silence at the end left out."""
    sound = np.zeros(round(length_s * SAMPLE_RATE_HZ))
    words: list[Word] = []
    start = round(_PAUSE_S * SAMPLE_RATE_HZ)
    for clip in clips:
        if start + len(clip.sound) > len(sound):
            break
        sound[start : start + len(clip.sound)] += clip.sound
        words += [word.later(start / SAMPLE_RATE_HZ) for word in clip.words]
        start += len(clip.sound) + round(_PAUSE_S * SAMPLE_RATE_HZ)
    return sound[:start], words


def _write(name: str, sound: FloatArray, words: Sequence[Word], language: str) -> None:
    """FLAC, mono, peak 0.9, in the upper 12 of 16 bits: 72 dB are plenty and half the size."""
    pcm = (np.rint(sound * (0.9 * 2047.0 / np.abs(sound).max())) * 16).astype(np.int16)
    with av.open(str(SPOKEN / f"{name}.flac"), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE_HZ, layout="mono", format="s16")
        assert isinstance(stream, AudioStream)
        stream.codec_context.options = {"compression_level": "12", "flags": "+bitexact"}
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    told = [{"text": w.text, "start_s": round(w.start_s, 3), "end_s": round(w.end_s, 3)} for w in words]
    truth = json.dumps({"language": language, "words": told}, indent=1, ensure_ascii=False)
    (SPOKEN / f"{name}.json").write_text(truth + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
