"""Cuts a stream into the windows that are worth transcribing: where there is voice, at most so many seconds each.

A region of voice begins when the detector is sure of it and ends after a pause. Regions that follow each other closely
share a window, which is cut in their pauses. Where voice goes on beyond the limit, the cut is where it is silent for a
moment, else where it is quietest. Nobody can tell for sure a quiet place between words from one within a word, so both
windows then hear the second to either side of it, and `seams.py` says which of them has which word. Windows begin and
end between two frames of the detector, and all positions are counts, so times do not drift.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singscript_transcriber.vad import FRAME_SAMPLES, SAMPLE_RATE_HZ, VoiceDetector

# Voice begins above the first and goes on above the second. A synthesised band alone stays below 0.35; voice over that
# band at +6 dB is above 0.5 nine tenths of the time.
_BEGIN_PROBABILITY = 0.5
_GO_ON_PROBABILITY = 0.35


def _frames(seconds: float) -> int:
    return math.ceil(seconds * SAMPLE_RATE_HZ / FRAME_SAMPLES)


_MIN_VOICE = _frames(0.25)
_MIN_PAUSE = _frames(0.3)
# What a window may take in before and after voice: consonants are quieter than the detector hears.
_MARGIN = _frames(0.3)
# A pause of this length ends the window, so that its words come soon.
_LONG_PAUSE = _frames(1.5)
# Of voice without a pause, two windows share so much to either side of the cut: a word that it goes through is whole in
# one of them.
_OVERLAP = _frames(1.0)
# Where voice without a pause is cut: the last part of the window if that will do, never its beginning.
_LAST_PART = 0.6
_FIRST_PART = 0.2
# Between words it is this far below the mean level, over two frames (64 ms): stops within words are mostly shorter.
_SILENCE_DB, _SILENCE_FRAMES = -30.0, 2
# Over a band it never is. There a longer dip tells more, and voice that is sure counts as so much louder.
_DIP_FRAMES = 6
_VOICE_DB = 20.0


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a stream, 16 kHz: where voice is listened for, and what that was taken from; float32 (n,) each.

    `mix` is None where there is only one sound; it is so for all blocks of a stream or for none.
    """

    vocals: NDArray[np.float32]
    mix: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Sound with voice in it.

    Attributes:
        start_sample: counts from the start of the stream.
        begins_s, ends_s: between these its words are its own; what is before or after is in another window too.
        vocals, mix: float32 (n,), 16 kHz; no mix where there is only one sound.
        voice: float32, how probable voice is in each frame of 512 samples, from the first sample on; the last frame
            may be shorter.
    """

    start_sample: int
    begins_s: float
    ends_s: float
    vocals: NDArray[np.float32]
    mix: NDArray[np.float32] | None
    voice: NDArray[np.float32]

    @property
    def start_s(self) -> float:
        return self.start_sample / SAMPLE_RATE_HZ

    @property
    def length_s(self) -> float:
        return len(self.vocals) / SAMPLE_RATE_HZ

    @property
    def voice_s(self) -> float:
        """Seconds of voice in it."""
        return int(np.count_nonzero(self.voice >= _GO_ON_PROBABILITY)) * FRAME_SAMPLES / SAMPLE_RATE_HZ


class Windower:
    """Windows of one stream. Holds at most one window of audio, whatever the length of the stream.

    Args:
        max_window_s: the longest window at a place of the stream, in seconds; asked for each frame.

    Attributes:
        peak: the loudest sample of the whole sound so far, as an absolute value.
    """

    def __init__(self, max_window_s: Callable[[float], float]) -> None:
        self._max_window_s = max_window_s
        self.peak = 0.0
        self._detector = VoiceDetector()
        self._received = 0  # in samples; all that follows is in frames
        self._kept = 0  # the first frame of what is kept
        self._vocals = np.zeros(0, np.float32)
        self._mix: NDArray[np.float32] | None = None
        self._voice: list[float] = []
        self._position = 0  # judged up to here
        self._window_start: int | None = None
        self._window_floor = 0  # the end of the window before, or the seam with it
        self._begins = 0  # where the own words of the next window begin, at the earliest
        self._voice_end: int | None = None  # end of the last whole region of this window
        self._region_start: int | None = None  # set while voice goes on
        self._last_voice = 0

    @property
    def received_s(self) -> float:
        """Seconds of audio taken in."""
        return self._received / SAMPLE_RATE_HZ

    @property
    def judged_s(self) -> float:
        """Seconds of which it is known where voice is; it depends on the sound alone where a window was given out."""
        return self._position * FRAME_SAMPLES / SAMPLE_RATE_HZ

    @property
    def settled_s(self) -> float:
        """Seconds up to which every window has been given out."""
        settled = self._position if self._window_start is None else self._window_start
        return min(settled * FRAME_SAMPLES, self._received) / SAMPLE_RATE_HZ

    def push(self, block: Block) -> Iterator[Window]:
        """Takes a block of any length; yields the windows that are complete."""
        whole = block.vocals if block.mix is None else block.mix
        self.peak = max(self.peak, float(np.abs(whole).max(initial=0.0)))
        self._received += len(block.vocals)
        self._vocals = np.concatenate([self._vocals, block.vocals])
        if block.mix is not None:
            self._mix = block.mix if self._mix is None else np.concatenate([self._mix, block.mix])
        for probability in self._detector.push(block.vocals, block.mix):
            yield from self._judge(probability)
        self._forget()

    def flush(self) -> Iterator[Window]:
        """Yields what is left at the end of the stream."""
        for probability in self._detector.flush():
            yield from self._judge(probability)
        if self._region_start is not None:
            self._end_region()
        if self._voice_end is not None:
            yield self._close(min(self._voice_end + _MARGIN, self._position))
        self._forget()

    def _judge(self, probability: float) -> Iterator[Window]:
        """Takes in the next frame."""
        frame = self._position
        limit = int(self._max_window_s(self.judged_s) * SAMPLE_RATE_HZ) // FRAME_SAMPLES
        self._position += 1
        self._voice.append(probability)
        if self._region_start is None:
            if probability >= _BEGIN_PROBABILITY:
                self._region_start, self._last_voice = frame, self._position
                if self._window_start is None:
                    self._window_start = max(frame - _MARGIN, self._window_floor)
            elif self._voice_end is not None and self._position - self._voice_end >= _LONG_PAUSE:
                yield self._close(self._voice_end + _MARGIN)
        elif probability >= _GO_ON_PROBABILITY:
            self._last_voice = self._position
        elif self._position - self._last_voice >= _MIN_PAUSE:
            self._end_region()
        while self._window_start is not None and self._position - self._window_start >= limit:
            yield self._cut(self._window_start, self._window_start + limit)

    def _end_region(self) -> None:
        """Voice has stopped: keeps the region, or forgets it as too short to be voice."""
        assert self._region_start is not None
        length = self._last_voice - self._region_start
        continued = self._region_start == self._window_floor
        if length >= _MIN_VOICE or (continued and length > 0):
            self._voice_end = self._last_voice
        elif self._voice_end is None:
            self._window_start = None
        self._region_start = None

    def _cut(self, start: int, limit: int) -> Window:
        """Ends a window that starts at `start` and must end by `limit`."""
        if self._voice_end is None or self._voice_end + _MARGIN > limit:
            overlap = min(_OVERLAP, (limit - start) // 6)
            return self._close(self._quietest(start, limit - overlap), overlap)
        if self._region_start is None:
            return self._close(self._voice_end + _MARGIN)
        return self._close(min(self._voice_end + _MARGIN, (self._voice_end + self._region_start) // 2))

    def _quietest(self, start: int, limit: int) -> int:
        """Where it is silent in the last part of the window or else before that, or else quietest in the last part."""
        vocals = self._slice(self._vocals, start, limit)
        frames = np.pad(vocals, (0, -len(vocals) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        energies = np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12
        levels_db = 10.0 * np.log10(_around(energies, _SILENCE_FRAMES))
        silent = levels_db < 10.0 * np.log10(energies.mean()) + _SILENCE_DB
        places = np.linspace(0.0, 1.0, len(levels_db))
        for allowed in (silent & (places >= _LAST_PART), silent & (places >= _FIRST_PART)):
            if allowed.any():
                return start + 1 + int(np.argmin(np.where(allowed, levels_db, np.inf)))
        voice = np.array(self._voice[start - self._kept : limit - self._kept])
        dips_db = 10.0 * np.log10(_around(energies, _DIP_FRAMES)) + _VOICE_DB * _around(voice, _DIP_FRAMES)
        return start + 1 + int(np.argmin(np.where(places >= _LAST_PART, dips_db, np.inf)))

    def _close(self, end: int, overlap: int = 0) -> Window:
        """Gives out the window up to `end`, and goes on with what of it comes after that.

        Args:
            overlap: frames to either side of `end` that this window and the next one both have.
        """
        assert self._window_start is not None
        start, self._window_floor, begins = self._window_start, end, self._begins
        self._begins = end
        if overlap:
            self._voice_end = None
            self._region_start = end  # voice goes on
            self._window_start = end - overlap
        elif self._voice_end is not None and self._voice_end > end:
            self._window_start = end
        else:
            self._voice_end = self._window_start = None
        if self._region_start is not None:
            self._region_start = max(self._region_start, end)
            if self._window_start is None:
                self._window_start = max(self._region_start - _MARGIN, end)
        last = end + overlap
        return Window(
            start_sample=start * FRAME_SAMPLES,
            begins_s=max(begins - start, 0) * FRAME_SAMPLES / SAMPLE_RATE_HZ,
            ends_s=(end - start) * FRAME_SAMPLES / SAMPLE_RATE_HZ,
            vocals=self._slice(self._vocals, start, last).copy(),
            mix=None if self._mix is None else self._slice(self._mix, start, last).copy(),
            voice=np.array(self._voice[start - self._kept : last - self._kept], np.float32),
        )

    def _slice(self, sound: NDArray[np.float32], start: int, end: int) -> NDArray[np.float32]:
        return sound[(start - self._kept) * FRAME_SAMPLES : (end - self._kept) * FRAME_SAMPLES]

    def _forget(self) -> None:
        """Drops what no window will need."""
        needed = max(self._position - _MARGIN, 0) if self._window_start is None else self._window_start
        if needed > self._kept:
            self._vocals = self._slice(self._vocals, needed, self._received).copy()
            if self._mix is not None:
                self._mix = self._slice(self._mix, needed, self._received).copy()
            del self._voice[: needed - self._kept]
            self._kept = needed


def _around(values: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """The mean over so many frames (an even number) around each place between two of them: (n,) to (n - 1,)."""
    beyond = frames // 2 - 1
    return np.convolve(np.pad(values, beyond, mode="edge"), np.full(frames, 1.0 / frames), mode="valid")
