"""What is believed of what an engine heard. Whisper writes fluent text for noise and silence, or one line for ever.

No sign is enough alone: singers repeat lines, hold notes for seconds, and sing "thank you". So what could also be real
counts only together with what the voice detector heard, or with a pace that nobody can sing.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from singscript_transcriber import pace, phantoms
from singscript_transcriber.segments import Utterance, Word
from singscript_transcriber.vad import FRAME_SAMPLES, SAMPLE_RATE_HZ

NO_WORDS = "NO_WORDS"
NO_VOICE = "NO_VOICE"
UNSURE = "UNSURE"
NO_SPEECH = "NO_SPEECH"
ANOMALOUS = "ANOMALOUS"
REPEATED = "REPEATED"
REPETITIVE = "REPETITIVE"
PHANTOM = "PHANTOM"

REASONS = {
    NO_WORDS: "signs or a note about the sound, as in ♪ or [Music], and no words",
    NO_VOICE: "the voice detector heard next to nothing in its time",
    UNSURE: "the engine is not sure of it: its mean log-probability, or without one that of its words, is too low",
    NO_SPEECH: "the engine thinks it likely that nobody speaks, and is not sure of its words either",
    ANOMALOUS: "improbable, very short or very long words, where silence is beside or under them",
    REPEATED: "the same line more often than anybody could sing it in this time",
    REPETITIVE: "text that repeats itself, and too little voice under it to sing it",
    PHANTOM: "a phrase that Whisper is known to invent, where there is little voice",
}
"""Why text is dropped: each reason, and what it means."""

_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
# Engines' times are off by about this much at either end.
_TIMES_OFF_S = 0.15
# Loops are looked for in what was heard up to so long ago.
_MEMORY_S = 10.0
# Of an utterance with more words, only so many count for its anomaly (as faster-whisper has it).
_ANOMALY_WORDS = 8
# What is about the sound, as subtitles have it. Round brackets also hold what a choir sings.
_NOTE = re.compile(r"\[[^]]*]|\*[^*]*\*|【[^】]*】")


@dataclass(frozen=True, slots=True)
class Guards:
    """Text is believed when it passes all of these.

    The first four are Whisper's own thresholds (Radford et al., 2022: it decodes again what fails them; what still does
    is dropped here), the next four those of faster-whisper's word anomaly score; the rest are our own.

    Attributes:
        min_log_probability: mean over the tokens.
        max_no_speech: probability that there is no speech, for text that is not sure either.
        unsure_log_probability: below this, text is not sure.
        max_compression_ratio: of text by zlib; more repeats itself.
        min_word_confidence: a word below is improbable; all of a text are, where their mean is and there is no
            log-probability.
        short_word_s: a word below is very short.
        long_word_s: a word above is very long, where there is not voice under most of it: singers hold notes.
        max_anomaly: the sum over the words from which text is anomalous.
        silence_s: a pause of the voice this long before and after text is silence beside it.
        some_voice: a probability of the detector from which voice is possible.
        sure_voice: a probability of the detector from which there is voice.
        min_voice_share: the least voice that text must have under it, in parts of its time and of the least time that
            it takes to sing.
        weak_voice_share: sure voice is weak below this part of the text's time...
        enough_voice_share: ...unless it lasts this many times as long as the least time the text takes to sing.
    """

    min_log_probability: float = -1.0
    max_no_speech: float = 0.6
    unsure_log_probability: float = -0.7
    max_compression_ratio: float = 2.4
    min_word_confidence: float = 0.15
    short_word_s: float = 0.133
    long_word_s: float = 2.0
    max_anomaly: float = 3.0
    silence_s: float = 1.0
    some_voice: float = 0.35
    sure_voice: float = 0.5
    min_voice_share: float = 0.25
    weak_voice_share: float = 0.5
    enough_voice_share: float = 2.0


@dataclass(frozen=True, slots=True)
class _Line:
    """What was heard shortly before: units of `pace.units`; when it began, in the stream."""

    said: list[str]
    start_s: float
    end_s: float


class Judge:
    """Decides for one stream, utterance by utterance. Remembers what was heard in its last seconds."""

    def __init__(self, guards: Guards | None = None) -> None:
        self._guards = guards or Guards()
        self._lines: deque[_Line] = deque()

    def reason(self, utterance: Utterance, voice: NDArray[np.float32], start_s: float) -> str:
        """Why an utterance is not believed, one of `REASONS`; empty when it is.

        Utterances come in order of time. What an engine does not say (None, no words), decides nothing.

        Args:
            utterance: its times count from the start of its window.
            voice: float32 (n,), the probability of voice in each frame of 512 samples at 16 kHz of its window.
            start_s: where its window starts in the stream.
        """
        if not pace.units(_NOTE.sub(" ", utterance.text)):
            return NO_WORDS
        guards, said = self._guards, pace.units(utterance.text)
        sung_s = sum(map(pace.least_s, said))
        start, end = utterance.start_s - _TIMES_OFF_S, utterance.end_s + _TIMES_OFF_S
        voiced_s = _voiced_s(voice, start, end, guards.some_voice)
        if voiced_s < guards.min_voice_share * min(sung_s, end - start):
            return NO_VOICE
        is_weak = self._is_weak(utterance, voice, sung_s)
        if self._is_improbable(utterance):
            return UNSURE
        sureness = utterance.log_probability
        is_unsure = is_weak if sureness is None else sureness < guards.unsure_log_probability
        if is_unsure and utterance.no_speech is not None and utterance.no_speech > guards.max_no_speech:
            return NO_SPEECH
        if self._is_anomalous(utterance.words, voice) and (is_weak or self._is_between_silence(utterance, voice)):
            return ANOMALOUS
        if self._is_too_often(_Line(said, start_s + start, start_s + end)):
            return REPEATED
        # Choruses repeat themselves as much as loops do; only the voice under them tells which it is.
        if voiced_s < sung_s and _compression_ratio(utterance.text) > guards.max_compression_ratio:
            return REPETITIVE
        if is_weak and phantoms.are_all(said):
            return PHANTOM
        return ""

    def _is_improbable(self, utterance: Utterance) -> bool:
        if utterance.log_probability is not None:
            return utterance.log_probability < self._guards.min_log_probability
        confidences = [word.confidence for word in utterance.words if word.confidence is not None]
        return bool(confidences) and sum(confidences) / len(confidences) < self._guards.min_word_confidence

    def _is_weak(self, utterance: Utterance, voice: NDArray[np.float32], sung_s: float) -> bool:
        """Whether there is little voice in its time: in parts of that time, and of what its words take."""
        guards = self._guards
        sure_s = _voiced_s(voice, utterance.start_s, utterance.end_s, guards.sure_voice)
        duration_s = max(utterance.end_s - utterance.start_s, _FRAME_S)
        return sure_s < guards.weak_voice_share * duration_s and sure_s < guards.enough_voice_share * sung_s

    def _is_between_silence(self, utterance: Utterance, voice: NDArray[np.float32]) -> bool:
        """Whether the window has a pause before it and after it, whole inside of the window."""
        guards = self._guards
        before_s, after_s = utterance.start_s - guards.silence_s, utterance.end_s + guards.silence_s
        if before_s < 0.0 or after_s > len(voice) * _FRAME_S:
            return False
        return not any(
            _voiced_s(voice, start_s, end_s, guards.sure_voice)
            for start_s, end_s in ((before_s, utterance.start_s), (utterance.end_s, after_s))
        )

    def _is_anomalous(self, words: Sequence[Word], voice: NDArray[np.float32]) -> bool:
        """The word anomaly score of faster-whisper, which is 1 for a bad word; here held notes are none."""
        guards = self._guards
        words = [word for word in words if pace.units(word.text)][:_ANOMALY_WORDS]
        score = 0.0
        for word in words:
            duration_s = word.end_s - word.start_s
            if word.confidence is not None and word.confidence < guards.min_word_confidence:
                score += 1.0
            if duration_s < guards.short_word_s:
                score += (guards.short_word_s - duration_s) * 15.0
            silent_s = duration_s - _voiced_s(voice, word.start_s, word.end_s, guards.some_voice)
            if duration_s > guards.long_word_s and silent_s > duration_s / 2.0:
                score += duration_s - guards.long_word_s
        return bool(words) and score + 0.01 >= min(guards.max_anomaly, len(words))

    def _is_too_often(self, line: _Line) -> bool:
        """Whether a loop of lines, of which `line` is the last, is faster than anybody sings.

        A line that is too fast by itself is forgotten: what was sung in truth may follow it. Lines that are too fast
        only together are remembered: of a loop that goes on, all lines are too many.
        """
        while self._lines and self._lines[0].end_s < line.start_s - _MEMORY_S:
            self._lines.popleft()
        if _is_too_fast([line]):
            return True
        self._lines.append(line)
        return _is_too_fast(self._lines)


def _is_too_fast(lines: Sequence[_Line]) -> bool:
    """Whether a loop that goes on in the last line needs more time than there is since any line that it is in."""
    said = [unit for line in lines for unit in line.said]
    needed_s = list(accumulate(map(pace.least_s, said), initial=0.0))
    starts = list(accumulate((len(line.said) for line in lines), initial=0))[:-1]
    last = lines[-1]
    return any(
        needed_s[loop.end] - needed_s[max(loop.start, start)] > last.end_s - line.start_s
        for loop in pace.loops(said)
        # Another line may begin with the same word.
        if loop.end - max(loop.start, starts[-1]) >= min(loop.period, len(last.said))
        for line, start in zip(lines, starts, strict=True)
        if loop.holds_from(start)
    )


def _voiced_s(voice: NDArray[np.float32], start_s: float, end_s: float, least: float) -> float:
    """How long the probability of voice is `least` or more between two times of the window, in seconds."""
    first, last = max(round(start_s / _FRAME_S), 0), max(round(end_s / _FRAME_S), 0)
    return float(np.count_nonzero(voice[first:last] >= least)) * _FRAME_S


def _compression_ratio(text: str) -> float:
    """As Whisper computes it."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))
