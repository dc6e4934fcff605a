"""The work of this service: from sound and words, as they come, to lines. Plain iterators; no gRPC."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ, Engine, Times
from singscript_aligner.lines import Grouper, LineRules, Screen
from singscript_aligner.lyrics.reading import LyricLine
from singscript_aligner.matching import Window, matched, windows
from singscript_aligner.spool import Spool
from singscript_aligner.voice import levels, spread, voiced_spans
from singscript_aligner.words import AlignedWord, HeardSegment, HeardWord, Line, Timing
from singscript_core.events import EngineChosen, Progress, Warned

log = logging.getLogger(__name__)

Item = NDArray[np.float32] | HeardSegment
Out = Line | Progress | Warned | EngineChosen
Span = tuple[float, float]

_PAD_S = 0.2
# A heard time is believed against the sound only when the two are further apart than any engine is wrong.
_AGREE_S = 0.5
# Confidence of a word that is well placed, and of one that may be there at all.
_SURE = 0.5
_HEARD = 0.15
_WINDOW_S = 15.0
_WINDOW_PAD_S = 0.5
# Fewer words than this found between anchors, and the anchors were wrong.
_FOUND_SHARE = 0.5


class Engines:
    """Engines in order of preference. Says once which one works, and once why one was passed over.

    Args:
        engines: best first; also such as cannot be used here.
        language: ISO 639-1; empty for that of the words.
    """

    def __init__(self, engines: Sequence[Engine], language: str) -> None:
        self._engines = engines
        self._language = language
        self._problems: dict[str, str] = {}
        self._announced: set[str] = set()
        self._passed_over: set[str] = set()

    def align(
        self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str
    ) -> Generator[float | EngineChosen | Warned, None, Times | None]:
        """The answer of the first engine that finds any word; None when none does.

        Args:
            samples: shape (n,), 16 kHz mono.
            lines: words as they are written.
            language: of the words, as far as is known; empty counts as English.
        """
        language = self._language or language or "en"
        for engine in self._engines:
            if engine.name not in self._problems:
                self._problems[engine.name] = engine.problem()
            problem = self._problems[engine.name]
            if not problem and not engine.speaks(language):
                problem = f"It does not know the language {language!r}."
            if not problem and len(samples) > engine.max_window_s * SAMPLE_RATE_HZ:
                problem = f"It takes {engine.max_window_s:g} s at a time, and no sure place to cut was found."
            if not problem:
                try:
                    times = yield from engine.align(samples, lines, language)
                except (RuntimeError, ValueError, MemoryError):
                    # What the libraries raise; another engine may still serve.
                    log.exception("engine %s failed on a window", engine.name)
                    times, problem = None, "It failed on a part of the sound; the log of the aligner has the details."
                if times and any(time for line in times for time in line):
                    if engine.name not in self._announced:
                        self._announced.add(engine.name)
                        yield EngineChosen(engine.name, engine.model, engine.device)
                    return times
            if problem and engine.name not in self._passed_over:
                self._passed_over.add(engine.name)
                yield Warned("ENGINE_FALLBACK", f"The aligner engine {engine.name} was passed over. {problem}")
        return None


def align_heard(items: Iterator[Item], spool: Spool, engines: Engines, rules: LineRules) -> Iterator[Out]:
    """Refines what was heard, segment by segment, as soon as its sound is there; lines come out when they are final.

    Words come out exactly as and in the order they came in, monotone, without overlap, inside the sound.

    Args:
        items: blocks of samples, shape (n,), 16 kHz mono; segments in order of time, anywhere among them.
        spool: empty; holds the sound afterwards.
    """
    grouper, screen = Grouper(rules), Screen(rules)
    waiting: list[HeardSegment] = []
    done_s, interpolated, total = 0.0, 0, 0

    def aligned(segment: HeardSegment) -> Generator[Out, None, None]:
        nonlocal done_s, interpolated, total
        words = yield from _refined(segment, spool, engines, done_s)
        for word in words:
            done_s = word.end_s
            total += 1
            interpolated += word.timing is Timing.INTERPOLATED
            for group in grouper.push(word):
                yield from screen.push(group)
        yield Progress(done_s)

    for item in items:
        if isinstance(item, HeardSegment):
            waiting.append(item)
        else:
            spool.append(item)
        while waiting and waiting[0].end_s + _PAD_S <= spool.duration_s:
            yield from aligned(waiting.pop(0))
    for segment in waiting:
        yield from aligned(segment)
    for group in grouper.flush():
        yield from screen.push(group)
    yield from screen.finish(spool.duration_s)
    if interpolated * 2 > total:
        yield _weak(interpolated, total)


def align_lyrics(
    items: Iterator[Item], lyrics: Sequence[LyricLine], spool: Spool, engines: Engines, rules: LineRules
) -> Iterator[Out]:
    """Finds known lines in the sound, with what was heard as a guide; lines come out after the end of the sound.

    A line of which nothing is found is left out, and counted in a warning; where no engine could search at all, lines
    are spread over the voiced time.

    Args:
        items, spool: as for `align_heard`.
    """
    heard: list[HeardWord] = []
    language = ""
    for item in items:
        if isinstance(item, HeardSegment):
            language = language or item.language
            heard += item.words or _spread_heard(item)
        else:
            spool.append(item)
    spans = voiced_spans(levels(spool.blocks(), SAMPLE_RATE_HZ))
    if not spans:
        yield _partly(0, sum(len(line.words) for line in lyrics))
        return

    lyrics, found = matched(lyrics, heard)
    known = [word for line in lyrics for word in line.words]
    total = len(known)
    start_s, end_s = spans[0][0], spans[-1][1]
    plan = windows(lyrics, heard, found, start_s, end_s, _WINDOW_S)
    times = yield from _search(plan, lyrics, language, spool, engines)
    if len(plan) > 1 and _count(times) < _FOUND_SHARE * total:
        again = yield from _search([Window(0, len(lyrics), start_s, end_s)], lyrics, language, spool, engines)
        times = again if _count(again) > _count(times) else times

    searched = any(time for line in times for time in line)
    words = _completed(lyrics, times, heard, found, spans, spread_all=not searched)
    screen = Screen(rules)
    for line, line_words in zip(lyrics, _tidy(words, spool.duration_s), strict=True):
        if line_words:
            yield from screen.push(line_words, line.text)
    yield from screen.finish(spool.duration_s)
    confidences = [time.confidence for line in times for time in line if time]
    if not searched or median(confidences) < _SURE:
        yield _weak(total - sum(one >= _SURE for one in confidences), total)
    if (count := _count(times)) < sum(any(c.isalnum() for c in word) for word in known):
        yield _partly(count, total)


def _refined(
    segment: HeardSegment, spool: Spool, engines: Engines, after_s: float
) -> Generator[Out, None, list[AlignedWord]]:
    """The words of a segment on their moments, none before `after_s`."""
    heard = segment.words or _spread_heard(segment)
    if not heard:
        return []
    from_s = max(after_s, segment.start_s - _PAD_S)
    samples = spool.read(from_s, segment.end_s + _PAD_S)
    search = engines.align(samples, [[word.text for word in heard]], segment.language)
    times = yield from _with_progress(search, lambda done_s: Progress(from_s + done_s))
    words: list[AlignedWord] = []
    for i, word in enumerate(heard):
        time = times[0][i] if times else None
        near = time is not None and abs(from_s + time.start_s - word.start_s) <= _AGREE_S
        if time and (near or not segment.words):
            confidence = time.confidence if word.confidence is None else word.confidence
            words.append(
                AlignedWord(word.text, from_s + time.start_s, from_s + time.end_s, confidence, Timing.ACOUSTIC)
            )
        else:
            timing = Timing.ANCHORED if segment.words else Timing.INTERPOLATED
            words.append(AlignedWord(word.text, word.start_s, word.end_s, word.confidence, timing))
    acoustic = sum(word.timing is Timing.ACOUSTIC for word in words)
    if acoustic * 2 < len(words):
        # Most disagree: the search went astray, and its other times are no better.
        timing = Timing.ANCHORED if segment.words else Timing.INTERPOLATED
        words = [AlignedWord(w.text, w.start_s, w.end_s, w.confidence, timing) for w in heard]
    return _tidy([words], spool.duration_s, after_s)[0]


def _search(
    plan: Sequence[Window], lyrics: Sequence[LyricLine], language: str, spool: Spool, engines: Engines
) -> Generator[Out, None, Times]:
    """Times of all words in seconds from the start of the sound, each window searched on its own."""
    found: Times = []
    for window in plan:
        lines = [line.words for line in lyrics[window.first_line : window.end_line]]
        from_s = max(0.0, window.start_s - _WINDOW_PAD_S)
        samples = spool.read(from_s, window.end_s + _WINDOW_PAD_S)

        def progress(done_s: float, from_s: float = from_s) -> Progress:
            return Progress(from_s + done_s, spool.duration_s)

        times = yield from _with_progress(engines.align(samples, lines, language), progress)
        for i, line in enumerate(lines):
            row = times[i] if times else [None] * len(line)
            found.append([t and replace(t, start_s=from_s + t.start_s, end_s=from_s + t.end_s) for t in row])
    return found


def _completed(
    lyrics: Sequence[LyricLine],
    times: Times,
    heard: Sequence[HeardWord],
    found: dict[int, int],
    spans: Sequence[Span],
    *,
    spread_all: bool,
) -> list[list[AlignedWord]]:
    """Words of each line; what an engine did not find comes from what was heard, then from between its neighbours.

    A line without any time is left empty, unless `spread_all`.
    """
    placed: list[list[AlignedWord | None]] = []
    at = 0
    for line, row in zip(lyrics, times, strict=True):
        words: list[AlignedWord | None] = []
        for text, time in zip(line.words, row, strict=True):
            if time:
                words.append(AlignedWord(text, time.start_s, time.end_s, time.confidence, Timing.ACOUSTIC))
            elif at in found:
                guide = heard[found[at]]
                words.append(AlignedWord(text, guide.start_s, guide.end_s, guide.confidence, Timing.ANCHORED))
            else:
                words.append(None)
            at += 1
        placed.append(words)
    kept = [words if spread_all or any(words) else [] for words in placed]
    flat = [
        pair for line, words in zip(lyrics, kept, strict=True) if words for pair in zip(line.words, words, strict=True)
    ]
    filled = _filled(flat, list(spans))
    return [[next(filled) for _ in words] for words in kept]


def _filled(words: Sequence[tuple[str, AlignedWord | None]], spans: list[Span]) -> Iterator[AlignedWord]:
    """The words, with runs of None spread over the voiced time between their neighbours."""
    at, end_s = 0, spans[0][0]
    while at < len(words):
        known = words[at][1]
        if known:
            end_s = known.end_s
            yield known
            at += 1
            continue
        stop = next((i for i in range(at, len(words)) if words[i][1]), len(words))
        neighbour = words[stop][1] if stop < len(words) else None
        until_s = max(end_s, neighbour.start_s if neighbour else spans[-1][1])
        run = [text for text, _ in words[at:stop]]
        for text, (a, b) in zip(run, spread([len(text) for text in run], spans, end_s, until_s), strict=True):
            yield AlignedWord(text, a, b, None, Timing.INTERPOLATED)
        at = stop


def _spread_heard(segment: HeardSegment) -> tuple[HeardWord, ...]:
    texts = segment.text.split()
    times = spread([len(text) for text in texts], [], segment.start_s, segment.end_s)
    return tuple(HeardWord(text, a, b) for text, (a, b) in zip(texts, times, strict=True))


def _tidy(lines: Sequence[Sequence[AlignedWord]], duration_s: float, after_s: float = 0.0) -> list[list[AlignedWord]]:
    """The same words, monotone, without overlap, within [after_s, duration_s], to the millisecond."""
    tidied: list[list[AlignedWord]] = []
    last_s = after_s
    for line in lines:
        row: list[AlignedWord] = []
        for word in line:
            start_s = round(min(max(word.start_s, last_s), duration_s), 3)
            last_s = round(min(max(word.end_s, start_s), duration_s), 3)
            row.append(replace(word, start_s=start_s, end_s=last_s))
        tidied.append(row)
    return tidied


def _count(times: Times) -> int:
    return sum(time is not None and time.confidence >= _HEARD for line in times for time in line)


def _with_progress(
    search: Generator[float | EngineChosen | Warned, None, Times | None], progress: Callable[[float], Progress]
) -> Generator[Out, None, Times | None]:
    """The same search; seconds done become Progress."""
    while True:
        try:
            step = next(search)
        except StopIteration as stop:
            return stop.value
        yield step if isinstance(step, EngineChosen | Warned) else progress(step)


def _weak(words: int, total: int) -> Warned:
    return Warned(
        "ALIGNMENT_WEAK",
        f"{words} of {total} words could not be found in the sound with certainty: their times are estimates.",
    )


def _partly(found: int, total: int) -> Warned:
    return Warned(
        "LYRICS_PARTLY_FOUND",
        f"{total - found} of {total} words of the lyrics could not be made out in the sound. "
        "Check that the lyrics are those of this recording.",
    )
