"""The stage itself: sound in, segments and events out, while sound still arrives."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence

from singscript_core.events import PartStored, Progress, Resumed, StageEvent, Warned
from singscript_core.stopping import Stop
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.engines import Engine
from singscript_transcriber.guards import Judge
from singscript_transcriber.journal import Journal
from singscript_transcriber.parts import PartStore, work_digest
from singscript_transcriber.recogniser import Recogniser, Result, Wanted
from singscript_transcriber.seams import Seams
from singscript_transcriber.segments import Dropped, Segment, Utterance
from singscript_transcriber.windows import Block, Windower

log = logging.getLogger(__name__)

# -60 dBFS
_SILENT_PEAK = 1e-3
_PROGRESS_EVERY_S = 1.0


def transcribe(
    blocks: Iterator[Block | None],
    *,
    chain: EngineChain,
    wanted: Wanted,
    stop: Stop,
    parts: PartStore | None = None,
) -> Iterator[Segment | Dropped | StageEvent]:
    """Transcribes a stream; blocking, memory for a few windows.

    Args:
        blocks: 16 kHz, any length; None where nothing has come for a while, so that results do not have to wait for
            the next one.
        chain: the engines.
        wanted: what the request asks for.
        stop: when it is set, this ends at once, also while an engine computes.
        parts: where parts of an earlier attempt are, and new ones are kept.

    Yields:
        Segments in order of time, each as soon as its window is done, what was dropped, and events between them.

    Raises:
        UnknownEngine, EngineUnavailable, EngineFailed: no engine can do it.
        Cancelled: the stop was set.
    """
    candidates = chain.candidates(wanted.engines, wanted.model)
    work = work_digest(engines=[(engine.name, model) for engine, model in candidates], wanted=wanted)
    stored = parts.read(work) if parts else []
    if parts and parts.recheck and stored and _has_better(chain, candidates, wanted, len(stored[0].outset.skipped)):
        stored = []
    journal = Journal(stored, parts.part_s) if parts else Journal()
    from_s = journal.stored_s
    if journal.outset:
        yield Resumed(from_s)
    judge, seams, heard = Judge(), Seams(), False

    def told(*, wait: bool, is_end: bool = False) -> Iterator[Segment | Dropped | StageEvent]:
        nonlocal heard
        for result in recogniser.results(windower.judged_s, wait=wait, is_end=is_end):
            if not isinstance(result, Result):
                yield result
                continue
            for item in _judged(result, seams, judge, wanted):
                heard = heard or isinstance(item, Segment)
                yield item
            yield from kept(is_last=False)

    def kept(*, is_last: bool) -> Iterator[PartStored]:
        assert recogniser.outset is not None
        due = journal.next_part(recogniser.outset, last=is_last)
        stored = parts.write(*due, work) if parts and due else None
        if stored and due:
            journal.kept(due[1])
            yield stored

    with Recogniser(chain, candidates, wanted, journal, stop) as recogniser:
        try:
            yield from recogniser.start()
            windower = Windower(recogniser.max_window_s)
            reported_s = time.monotonic()
            for block in blocks:
                for window in windower.push(block) if block is not None else ():
                    yield from recogniser.submit(window, windower.judged_s)
                    yield from told(wait=recogniser.is_full)
                yield from told(wait=False)
                if time.monotonic() - reported_s >= _PROGRESS_EVERY_S:
                    reported_s = time.monotonic()
                    settled_s = windower.settled_s if recogniser.oldest_s is None else recogniser.oldest_s
                    yield Progress(settled_s)
            for window in windower.flush():
                yield from recogniser.submit(window, windower.judged_s)
            while recogniser.oldest_s is not None:
                yield from told(wait=True, is_end=True)
            yield from kept(is_last=True)
        finally:
            log.info("a stream has ended", extra={"computed_s": round(recogniser.asked_s, 3), "from_s": from_s})
    if windower.peak < _SILENT_PEAK:
        yield Warned("SILENT_AUDIO", "The sound is silent, so there are no words. Check the recording.")
    elif not heard:
        yield Warned("NO_SPEECH", "Nobody was heard speaking or singing, so there are no words.")
    yield Progress(windower.received_s, windower.received_s, finished=True)


def _has_better(chain: EngineChain, candidates: Sequence[tuple[Engine, str]], wanted: Wanted, skipped: int) -> bool:
    """Whether an engine can serve now of those that could not when the parts were made."""
    chain.check(candidates[:skipped])
    return any(
        not (engine.refusal(wanted.wish, model) or chain.problem(engine, model))
        for engine, model in candidates[:skipped]
    )


def _judged(result: Result, seams: Seams, judge: Judge, wanted: Wanted) -> Iterator[Segment | Dropped]:
    """What was heard in a window, believed or not."""
    window = result.window
    language = "en" if wanted.wish.task == "translate" else result.heard.language
    for utterance in seams.own(result.heard.utterances, window):
        reason = judge.reason(utterance, window.voice, window.start_s)
        start_s, end_s = window.start_s + utterance.start_s, window.start_s + utterance.end_s
        if reason:
            yield Dropped(start_s, end_s, utterance.text, reason, language, result.engine, result.model)
            continue
        words = tuple(word.shifted(window.start_s) for word in utterance.words)
        sure = _confidence(utterance)
        yield Segment(start_s, end_s, utterance.text, words, language, result.engine, result.model, sure)


def _confidence(utterance: Utterance) -> float | None:
    return None if utterance.log_probability is None else min(1.0, math.exp(utterance.log_probability))
