"""The work of this service: from sound and words, as they come, to lines. Plain iterators; no gRPC."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ, Times
from singscript_aligner.known import KnownLine, again, completed, gaps, without_moved
from singscript_aligner.lines import Grouper, LineRules, Screen
from singscript_aligner.lyrics.paragraphs import cut
from singscript_aligner.lyrics.reading import LyricLine
from singscript_aligner.matching import Window, matched, windows
from singscript_aligner.onsets import snapped
from singscript_aligner.search import SURE, Engines, Search, count
from singscript_aligner.spool import Spool
from singscript_aligner.text.words import join_words, split_words
from singscript_aligner.timeline import in_order
from singscript_aligner.voice import levels, spread, voiced_spans
from singscript_aligner.words import AlignedWord, HeardSegment, HeardWord, Line, Timing, Unlisted, Unsung
from singscript_core.events import EngineChosen, Progress, Warned

Item = NDArray[np.float32] | HeardSegment
Out = Line | Unsung | Unlisted | Progress | Warned | EngineChosen

_PAD_S = 0.2
_WINDOW_PAD_S = 0.5
# Around words that are put on their onsets: what is voice shows beside louder and softer sound.
_AROUND_S = 2.0
# A heard time is believed against the sound only when the two are further apart than any engine is wrong.
_AGREE_S = 0.5
# Of words that fit less than this every third or so was found further from its start than it was heard (bands, noise).
_CLEAR = 0.3
_WINDOW_S = 15.0
# Fewer words than this found between anchors, and the anchors were wrong.
_FOUND_SHARE = 0.5
# Lines of a song are looked for again in so many stretches of voice without words, where nothing was heard that tells
# more; in a longer text nothing comes again.
_GAPS = 20
_SONG_WORDS = 1000


def align_heard(items: Iterator[Item], spool: Spool, engines: Engines, rules: LineRules) -> Iterator[Out]:
    """Refines what was heard, segment by segment, as soon as its sound is there; lines come out when they are final.

    Words come out exactly as and in the order they came in, in order of time, inside the sound; those for which there
    is no sound come out as Unlisted.

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
        placed = in_order(_on_onsets(words, spool), done_s, spool.duration_s)
        if not placed:
            yield from (Unlisted(word.text, word.start_s, word.end_s) for word in words)
        for word in placed:
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
        while waiting and waiting[0].end_s + _AROUND_S <= spool.duration_s:
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

    Each line keeps its text, is cut where no screen holds it, and comes once more where it is sung once more. Its words
    that are sung have their times; the others come out as Unsung, and what was heard between the lines as Unlisted.
    Where no engine could search at all, lines are spread over the voiced time.

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
    lyrics = cut(lyrics, rules.max_chars, rules.lines_on_screen)
    lines, found = matched(lyrics, heard)
    total = sum(len(line.words) for line in lines)
    if not spans:
        yield from (Unsung(line.number, " ".join(line.words)) for line in lines)
        yield _partly(0, total)
        return

    start_s, end_s = spans[0][0], spans[-1][1]
    plan = windows(lines, heard, found, start_s, end_s, _WINDOW_S)
    times = yield from _search(plan, lines, language, spool, engines)
    others = [
        [Window(0, len(lines), start_s, end_s)],
        windows(lines, heard, found, start_s, end_s, _WINDOW_S, trusting=True),
    ]
    for other in others:
        if other != plan and count(times) < _FOUND_SHARE * total:
            again_times = yield from _search(other, lines, language, spool, engines, end_s)
            times = again_times if count(again_times) > count(times) else times

    guides = {word: heard[said] for word, said in found.items()}
    known = completed(lines, times, guides, spans, spread_all=not engines.searched)
    if not heard and total <= _SONG_WORDS:
        for gap_s in gaps([line.words for line in known], spans)[:_GAPS]:
            more = yield from _search([Window(0, len(lyrics), *gap_s)], lyrics, language, spool, engines, end_s)
            known = again(known, lyrics, more, gap_s)
    known = without_moved(known, lyrics)
    yield from _shown([line for line in known if line.words], spool, rules)
    yield from (unsung for line in known for unsung in line.unsung)
    yield from _unlisted(heard, set(found.values()), known)

    placed = [word for line in known for word in line.words]
    sure = sum(word.confidence is not None and word.confidence >= SURE for word in placed)
    if 2 * sure < len(placed):
        yield _weak(total - sure, total)
    if missing := sum(line.missing for line in known):
        yield _partly(total - missing, total)


def _shown(known: Sequence[KnownLine], spool: Spool, rules: LineRules) -> Iterator[Line | Unsung]:
    """The lines on the screen, each word where its sound begins."""
    screen = Screen(rules)
    after_s = 0.0
    for i, line in enumerate(known):
        # A line may not take the room of the next one.
        ahead = [word.start_s for later in known[i + 1 : i + 2] for word in later.words[:1]]
        until_s = max([min([*ahead, spool.duration_s]), after_s])
        words = in_order(_on_onsets(line.words, spool), after_s, until_s)
        words = words or in_order(line.words, after_s, spool.duration_s)
        if words:
            after_s = words[-1].end_s
            yield from screen.push(words, line.text, line.number)
        else:
            yield Unsung(line.number, join_words([word.text for word in line.words]))
    yield from screen.finish(spool.duration_s)


def _refined(
    segment: HeardSegment, spool: Spool, engines: Engines, after_s: float
) -> Generator[Out, None, list[AlignedWord]]:
    """The words of a segment where an engine finds them, or where they were heard."""
    heard = segment.words or _spread_heard(segment)
    if not heard:
        return []
    from_s = max(after_s, segment.start_s - _PAD_S)
    samples = spool.read(from_s, segment.end_s + _PAD_S)
    search = engines.align(samples, [[word.text for word in heard]], segment.language)
    times = yield from _with_progress(search, lambda done_s: Progress(from_s + done_s))
    timing = Timing.ANCHORED if segment.words else Timing.INTERPOLATED
    as_heard = [
        AlignedWord(word.text, word.start_s, word.end_s, _confidence(word.confidence, timing), timing) for word in heard
    ]
    words: list[AlignedWord] = []
    for word, kept, time in zip(heard, as_heard, times[0] if times else [None] * len(heard), strict=True):
        near = time is not None and abs(from_s + time.start_s - word.start_s) <= _AGREE_S
        if time and (not segment.words or (near and time.confidence >= _CLEAR)):
            confidence = time.confidence if word.confidence is None else word.confidence
            kept = AlignedWord(word.text, from_s + time.start_s, from_s + time.end_s, confidence, Timing.ACOUSTIC)
        words.append(kept)
    # Where most disagree the search went astray, and its other times are no better.
    astray = 2 * sum(word.timing is Timing.ACOUSTIC for word in words) < len(words)
    return as_heard if astray else words


def _on_onsets(words: Sequence[AlignedWord], spool: Spool) -> list[AlignedWord]:
    """The words, each from where its sound begins to where it ends."""
    if not words:
        return []
    from_s = max(0.0, min(word.start_s for word in words) - _AROUND_S)
    samples = spool.read(from_s, max(word.end_s for word in words) + _AROUND_S)
    times = snapped([(word.start_s - from_s, word.end_s - from_s) for word in words], samples)
    return [
        replace(word, start_s=from_s + start_s, end_s=from_s + end_s)
        for word, (start_s, end_s) in zip(words, times, strict=True)
    ]


def _search(
    plan: Sequence[Window],
    lines: Sequence[LyricLine],
    language: str,
    spool: Spool,
    engines: Engines,
    done_s: float = 0.0,
) -> Generator[Out, None, Times]:
    """Times of all words in seconds from the start of the sound, each window searched on its own.

    Progress is reported from `done_s` on: what is searched again is not undone.
    """
    found: Times = []
    for window in plan:
        texts = [line.words for line in lines[window.first_line : window.end_line]]
        from_s = max(0.0, window.start_s - _WINDOW_PAD_S)
        samples = spool.read(from_s, window.end_s + _WINDOW_PAD_S)

        def progress(step_s: float, from_s: float = from_s) -> Progress:
            return Progress(max(done_s, from_s + step_s), spool.duration_s)

        times = yield from _with_progress(engines.align(samples, texts, language), progress)
        for i, line in enumerate(texts):
            row = times[i] if times else [None] * len(line)
            found.append([t and replace(t, start_s=from_s + t.start_s, end_s=from_s + t.end_s) for t in row])
    return found


def _unlisted(heard: Sequence[HeardWord], matched: set[int], known: Sequence[KnownLine]) -> Iterator[Unlisted]:
    """Runs of heard words that are none of the known ones, where none of those sounds."""
    taken = np.array([(word.start_s, word.end_s) for line in known for word in line.words]).reshape(-1, 2)
    run: list[HeardWord] = []
    for i, word in enumerate(heard):
        middle_s = (word.start_s + word.end_s) / 2
        # A known word that was misheard sounds at the same time.
        sounds = np.any((taken[:, 0] - _PAD_S <= middle_s) & (middle_s <= taken[:, 1] + _PAD_S))
        if i not in matched and not sounds:
            run.append(word)
        elif run:
            yield _together(run)
            run = []
    if run:
        yield _together(run)


def _together(run: Sequence[HeardWord]) -> Unlisted:
    return Unlisted(" ".join(word.text for word in run), run[0].start_s, run[-1].end_s)


def _spread_heard(segment: HeardSegment) -> tuple[HeardWord, ...]:
    texts = split_words(segment.text, segment.language)
    times = spread([len(text) for text in texts], [], segment.start_s, segment.end_s)
    return tuple(HeardWord(text, a, b) for text, (a, b) in zip(texts, times, strict=True))


def _confidence(heard: float | None, timing: Timing) -> float:
    if timing is Timing.INTERPOLATED:
        return 0.0
    return SURE if heard is None else heard


def _with_progress(search: Search, progress: Callable[[float], Progress]) -> Generator[Out, None, Times | None]:
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
