"""The stage itself: sound in, segments and events out, while sound still arrives."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from singscript_core.events import Progress, StageEvent, Warned
from singscript_core.stopping import Stop
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.guards import Judge
from singscript_transcriber.recogniser import Recogniser, Result, Wanted
from singscript_transcriber.seams import Seams
from singscript_transcriber.segments import Dropped, Segment, Utterance
from singscript_transcriber.windows import Block, Windower

# -60 dBFS
_SILENT_PEAK = 1e-3
_PROGRESS_EVERY_S = 1.0


def transcribe(
    blocks: Iterator[Block | None], *, chain: EngineChain, wanted: Wanted, stop: Stop
) -> Iterator[Segment | Dropped | StageEvent]:
    """Transcribes a stream; blocking, memory for a few windows.

    Args:
        blocks: 16 kHz, any length; None where nothing has come for a while, so that results do not have to wait for
            the next one.
        chain: the engines.
        wanted: what the request asks for.
        stop: when it is set, this ends at once, also while an engine computes.

    Yields:
        Segments in order of time, each as soon as its window is done, what was dropped, and events between them.

    Raises:
        UnknownEngine, EngineUnavailable, EngineFailed: no engine can do it.
        Cancelled: the stop was set.
    """
    judge, seams, heard = Judge(), Seams(), False
    with Recogniser(chain, wanted, stop) as recogniser:
        yield from recogniser.start()
        windower = Windower(recogniser.max_window_s)

        def told(now_s: float, *, wait: bool) -> Iterator[Segment | Dropped | StageEvent]:
            nonlocal heard
            for result in recogniser.results(now_s, wait=wait):
                for item in _judged(result, seams, judge, wanted) if isinstance(result, Result) else (result,):
                    heard = heard or isinstance(item, Segment)
                    yield item
            windower.max_window_s = recogniser.max_window_s

        reported_s = time.monotonic()
        for block in blocks:
            for window in windower.push(block) if block is not None else ():
                recogniser.submit(window)
                if recogniser.is_full:
                    yield from told(windower.received_s, wait=True)
            yield from told(windower.received_s, wait=False)
            if time.monotonic() - reported_s >= _PROGRESS_EVERY_S:
                reported_s = time.monotonic()
                settled_s = windower.settled_s if recogniser.oldest_s is None else recogniser.oldest_s
                yield Progress(settled_s)
        for window in windower.flush():
            recogniser.submit(window)
        while recogniser.oldest_s is not None:
            yield from told(math.inf, wait=True)
    if windower.peak < _SILENT_PEAK:
        yield Warned("SILENT_AUDIO", "The sound is silent, so there are no words. Check the recording.")
    elif not heard:
        yield Warned("NO_SPEECH", "Nobody was heard speaking or singing, so there are no words.")
    yield Progress(windower.received_s, windower.received_s, finished=True)


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
