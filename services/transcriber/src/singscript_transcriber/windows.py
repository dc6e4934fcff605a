"""Cuts a stream into the windows that are worth transcribing: where there is voice, at most so many seconds each.

A region of voice begins when Silero is sure of it and ends after a pause. Regions that follow each other closely share
a window, which is cut in their pauses. Where voice goes on beyond the limit, the cut is at the quietest point of the
last seconds. All positions are sample counts, so times do not drift.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singscript_transcriber.vad import FRAME_SAMPLES, SAMPLE_RATE_HZ, VoiceDetector

# Voice begins above the first and goes on above the second. A synthesised band alone stays below 0.35; voice over that
# band at +6 dB is above 0.5 nine tenths of the time.
_BEGIN_PROBABILITY = 0.5
_GO_ON_PROBABILITY = 0.35


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


_MIN_VOICE = _samples(0.25)
_MIN_PAUSE = _samples(0.3)
# What a window may take in before and after voice: consonants are quieter than the detector hears.
_MARGIN = _samples(0.3)
# A pause of this length ends the window, so that its words come soon.
_LONG_PAUSE = _samples(1.5)
# Probabilities that are remembered: those of half a minute.
_RECENT_FRAMES = _samples(32.0) // FRAME_SAMPLES
# How far back a place to cut is looked for, as a part of the longest window, and how long it must be.
_LOOK_BACK = 0.4
_QUIET_FRAMES = 4
# A cut goes where voice is unlikely; loudness, against the mean, only decides between equals.
_ENERGY_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Window:
    """Audio with voice in it: `samples` float32 (n,), 16 kHz; `start_sample` counts from the start of the stream."""

    start_sample: int
    samples: NDArray[np.float32]

    @property
    def start_s(self) -> float:
        return self.start_sample / SAMPLE_RATE_HZ


class Windower:
    """Windows of one stream. Holds at most one window of audio, whatever the length of the stream.

    Attributes:
        max_window_s: the longest window; may be changed at any time.
        peak: the loudest sample so far, as an absolute value.
    """

    def __init__(self, max_window_s: float) -> None:
        self.max_window_s = max_window_s
        self.peak = 0.0
        self._detector = VoiceDetector()
        self._audio = np.zeros(0, np.float32)
        self._audio_start = 0
        self._received = 0
        self._position = 0  # judged up to here
        self._window_start: int | None = None
        self._window_floor = 0  # the end of the window before
        self._voice_end: int | None = None  # end of the last whole region of this window
        self._region_start: int | None = None  # set while voice goes on
        self._last_voice = 0
        self._recent: deque[float] = deque(maxlen=_RECENT_FRAMES)

    @property
    def received_s(self) -> float:
        """Seconds of audio taken in."""
        return self._received / SAMPLE_RATE_HZ

    @property
    def settled_s(self) -> float:
        """Seconds up to which every window has been given out."""
        settled = self._position if self._window_start is None else self._window_start
        return min(settled, self._received) / SAMPLE_RATE_HZ

    def push(self, samples: NDArray[np.float32]) -> Iterator[Window]:
        """Takes samples of shape (n,), float32 at 16 kHz; yields the windows that are complete."""
        if len(samples):
            self.peak = max(self.peak, float(np.abs(samples).max()))
        self._received += len(samples)
        self._audio = np.concatenate([self._audio, samples])
        for probability in self._detector.push(samples):
            yield from self._judge(probability)
        self._forget()

    def flush(self) -> Iterator[Window]:
        """Yields what is left at the end of the stream."""
        for probability in self._detector.flush():
            yield from self._judge(probability)
        if self._region_start is not None:
            self._end_region()
        if self._window_start is not None:
            yield self._close()
        self._position = self._received
        self._forget()

    def _judge(self, probability: float) -> Iterator[Window]:
        start, end = self._position, self._position + FRAME_SAMPLES
        self._position = end
        self._recent.append(probability)
        if self._region_start is None:
            if probability >= _BEGIN_PROBABILITY:
                self._region_start, self._last_voice = start, end
                if self._window_start is None:
                    self._window_start = max(start - _MARGIN, self._window_floor)
            elif self._voice_end is not None and end - self._voice_end >= _LONG_PAUSE:
                yield self._close()
        elif probability >= _GO_ON_PROBABILITY:
            self._last_voice = end
        elif end - self._last_voice >= _MIN_PAUSE:
            self._end_region()
        if self._window_start is not None and end - self._window_start > self._limit():
            yield from self._cut()

    def _limit(self) -> int:
        return _samples(self.max_window_s) - FRAME_SAMPLES

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

    def _cut(self) -> Iterator[Window]:
        """The window has reached its limit: ends it in its last pause or, without one, where it is quietest."""
        region = self._region_start
        if self._voice_end is None:
            yield self._close_at(self._quietest())
            self._region_start = self._window_start = self._window_floor
        elif region is None:
            yield self._close()
        else:
            middle = (self._voice_end + region) // 2
            yield self._close_at(min(self._voice_end + _MARGIN, middle))
            self._region_start = region
            self._window_start = max(region - _MARGIN, self._window_floor)

    def _quietest(self) -> int:
        """Where voice is least likely within the last part of the window; where it is equally likely, the quietest."""
        count = round(self.max_window_s * _LOOK_BACK * SAMPLE_RATE_HZ / FRAME_SAMPLES)
        start = self._position - count * FRAME_SAMPLES
        audio = np.zeros(count * FRAME_SAMPLES, np.float32)
        known = self._slice(start, self._received)[: len(audio)]
        audio[: len(known)] = known
        energy = np.square(audio, dtype=np.float64).reshape(count, FRAME_SAMPLES).mean(axis=1)
        score = np.array(list(self._recent)[-count:]) + _ENERGY_SHARE * energy / (energy.mean() + 1e-12)
        smooth = np.convolve(score, np.ones(_QUIET_FRAMES) / _QUIET_FRAMES, mode="valid")
        return start + (int(np.argmin(smooth)) * 2 + _QUIET_FRAMES) * FRAME_SAMPLES // 2

    def _close(self) -> Window:
        assert self._voice_end is not None
        return self._close_at(min(self._voice_end + _MARGIN, self._position, self._received))

    def _close_at(self, end: int) -> Window:
        """Gives out the window up to `end`, and is ready for the next."""
        assert self._window_start is not None
        window = Window(self._window_start, self._slice(self._window_start, end).copy())
        self._window_floor = end
        self._window_start = self._voice_end = self._region_start = None
        return window

    def _slice(self, start: int, end: int) -> NDArray[np.float32]:
        return self._audio[start - self._audio_start : end - self._audio_start]

    def _forget(self) -> None:
        needed = self._position - _MARGIN if self._window_start is None else self._window_start
        drop = needed - self._audio_start
        if drop > 0:
            self._audio = self._audio[drop:].copy()
            self._audio_start = needed
