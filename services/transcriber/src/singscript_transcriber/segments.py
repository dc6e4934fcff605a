"""What was heard, as plain values."""

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
class Segment:
    """A run of words without a long pause; `words` is empty when the engine gives no word times."""

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...]
    language: str
    engine: str
    model: str

    def shifted(self, by_s: float) -> Segment:
        return replace(
            self,
            start_s=self.start_s + by_s,
            end_s=self.end_s + by_s,
            words=tuple(word.shifted(by_s) for word in self.words),
        )
