"""What OpenAI's API answers, and what servers answer that speak it more or less: whatever is there is used."""

from __future__ import annotations

from pydantic import BaseModel

from singscript_transcriber.languages import BY_NAME, LANGUAGES
from singscript_transcriber.segments import Utterance, Word


class _Part(BaseModel, allow_inf_nan=False):
    """What is read of an answer; the rest is left."""


class _Word(_Part):
    word: str
    start: float
    end: float
    probability: float | None = None  # not from OpenAI


class _Segment(_Part):
    text: str
    start: float
    end: float
    words: list[_Word] | None = None  # not from OpenAI, which has them beside the segments
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


class _Token(_Part):
    logprob: float | None = None


class _Language(_Part):
    code: str


class Used(_Part):
    """What is paid for: either seconds of sound, or tokens."""

    seconds: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class Answer(_Part):
    """All formats in one; only the text is in each of them."""

    text: str
    language: str | None = None
    languages: list[_Language] | None = None
    segments: list[_Segment] | None = None
    words: list[_Word] | None = None
    logprobs: list[_Token] | None = None
    usage: Used | None = None

    @property
    def spoken_language(self) -> str:
        """ISO 639-1; empty when the server does not say. OpenAI says English names, others say codes."""
        said = self.language or next((language.code for language in self.languages or ()), "")
        code = BY_NAME.get(said.lower(), said.lower().partition("-")[0])
        return code if code in LANGUAGES else ""

    def utterances(self, length_s: float) -> tuple[Utterance, ...]:
        """What was said in a window of `length_s`; words as far as there are any."""
        words = _words(self.words, length_s)
        if not self.segments:
            whole = _Segment(text=self.text, start=0.0, end=length_s, avg_logprob=self._log_probability)
            return _utterances([whole], [words], length_s)
        segments = sorted(self.segments, key=lambda segment: segment.start)
        spoken = [_words(segment.words, length_s) for segment in segments]
        # The words come beside the segments: each belongs to the first one that ends after its middle.
        for word in words if not any(spoken) else ():
            middle_s = (word.start_s + word.end_s) / 2
            spoken[next((at for at, segment in enumerate(segments) if middle_s < segment.end), -1)].append(word)
        return _utterances(segments, spoken, length_s)

    @property
    def _log_probability(self) -> float | None:
        scores = [token.logprob for token in self.logprobs or () if token.logprob is not None]
        return sum(scores) / len(scores) if scores else None


def _utterances(segments: list[_Segment], spoken: list[list[Word]], length_s: float) -> tuple[Utterance, ...]:
    """Segments with their words, each as long as these; those without text are left out."""
    utterances: list[Utterance] = []
    for segment, words in zip(segments, spoken, strict=True):
        start_s, end_s = _within(segment.start, segment.end, length_s)
        if words:
            start_s, end_s = words[0].start_s, max(word.end_s for word in words)
        if text := segment.text.strip():
            scores = segment.avg_logprob, segment.no_speech_prob
            utterances.append(Utterance(start_s, end_s, text, tuple(words), *scores))
    return tuple(utterances)


def _words(words: list[_Word] | None, length_s: float) -> list[Word]:
    """In order of time."""
    found = [
        Word(text, *_within(word.start, word.end, length_s), word.probability)
        for word in words or ()
        if (text := word.word.strip())
    ]
    return sorted(found, key=lambda word: word.start_s)


def _within(start_s: float, end_s: float, length_s: float) -> tuple[float, float]:
    """Servers say ends beyond the window."""
    start_s = min(max(start_s, 0.0), length_s)
    return start_s, min(max(end_s, start_s), length_s)
