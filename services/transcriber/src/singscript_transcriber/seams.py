"""Where two windows hear the same second: which of them has which word, so that none is lost and none comes twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from singscript_transcriber.segments import Utterance, Word
from singscript_transcriber.windows import Window


class Seams:
    """Joins the windows of one stream, in order of time.

    A window keeps the words whose middle is before the seam, and leaves the rest to the next one, which hears them from
    their beginning. That one drops the words that the window before it has kept.
    """

    def __init__(self) -> None:
        self._last: Word | None = None  # the last word that was kept, in the time of the stream

    def own(self, utterances: Sequence[Utterance], window: Window) -> list[Utterance]:
        """What of the utterances of a window is its own. Those without word times are left as they are."""
        kept = [self._of(utterance, window) for utterance in utterances]
        words = [word for utterance in kept if utterance for word in utterance.words]
        self._last = words[-1].shifted(window.start_s) if words else None
        return [utterance for utterance in kept if utterance]

    def _of(self, utterance: Utterance, window: Window) -> Utterance | None:
        words = utterance.words
        first, last = 0, len(words)
        while last > 0 and window.ends_s < window.length_s and _middle_s(words[last - 1]) >= window.ends_s:
            last -= 1
        while first < last and window.begins_s and self._is_kept(words[first].shifted(window.start_s)):
            first += 1
        if (first, last) == (0, len(words)):
            return utterance
        if first == last:
            return None
        text = _text(utterance.text, words, first, last)
        own = words[first:last]
        return replace(utterance, start_s=own[0].start_s, end_s=own[-1].end_s, text=text, words=own)

    def _is_kept(self, word: Word) -> bool:
        """Whether the window before has this word."""
        if self._last is None:
            return False
        # The same word at times that have moved; one that is written otherwise must be nearer.
        off_s = (0.5 if word.text == self._last.text else 0.25) * (self._last.end_s - self._last.start_s)
        return _middle_s(word) <= _middle_s(self._last) + off_s


def _middle_s(word: Word) -> float:
    return (word.start_s + word.end_s) / 2


def _text(text: str, words: Sequence[Word], first: int, last: int) -> str:
    """The part of an utterance's text that holds these of its words, in the way it was written."""
    spans: list[tuple[int, int]] = []
    at = 0
    for word in words:
        start = text.find(word.text, at)
        if start < 0:  # written otherwise than its words are
            return " ".join(word.text for word in words[first:last])
        at = start + len(word.text)
        spans.append((start, at))
    return text[spans[first][0] : spans[last - 1][1]]
