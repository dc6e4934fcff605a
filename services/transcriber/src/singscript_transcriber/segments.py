"""What was heard, as plain values. Engines give utterances; what is believed of them becomes segments."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Word:
    """One word; `confidence` is 0 to 1, None when the engine has none."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None

    def shifted(self, by_s: float) -> Word:
        return replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A run of words as an engine gives it, with how sure it was; times count from the start of its window.

    Attributes:
        words: empty when the engine gives no word times.
        log_probability: mean over its tokens; None when the engine does not say.
        no_speech: probability that its window holds no speech; None when the engine does not say.
    """

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...] = ()
    log_probability: float | None = None
    no_speech: float | None = None

    def shifted(self, by_s: float) -> Utterance:
        words = tuple(word.shifted(by_s) for word in self.words)
        return replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s, words=words)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of words without a long pause; times count from the start of the stream.

    Attributes:
        words: empty when the engine gives no word times.
        language: ISO 639-1 of the text; empty when nobody knows.
        confidence: of the text, 0 to 1; None when the engine does not say.
    """

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...]
    language: str
    engine: str
    model: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """Text that was not believed; `reason` is one of `guards.REASONS`."""

    start_s: float
    end_s: float
    text: str
    reason: str
    language: str
    engine: str
    model: str
