"""The stage itself: blocks of audio in, segments and events out, while audio still arrives."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from singscript_core.events import Progress, StageEvent, Warned
from singscript_transcriber.chain import EngineChain, Recogniser, Wanted
from singscript_transcriber.segments import Segment
from singscript_transcriber.windows import Windower

# -60 dBFS
_SILENT_PEAK = 1e-3
_PROGRESS_EVERY_S = 1.0


def transcribe(
    blocks: Iterator[NDArray[np.float32]], chain: EngineChain, wanted: Wanted
) -> Iterator[Segment | StageEvent]:
    """Transcribes a stream; blocking, one thread, memory for one window.

    Args:
        blocks: float32 of shape (n,), 16 kHz, any length.
        chain: the engines.
        wanted: what the request asks for.

    Yields:
        Segments in order of time, as soon as their window is done, and events between them.

    Raises:
        UnknownEngine, EngineUnavailable, EngineFailed: no engine can do it.
    """
    recogniser = Recogniser(chain, wanted)
    yield from recogniser.start()
    windower = Windower(recogniser.max_window_s)
    heard = False
    reported_s = time.monotonic()
    for block in blocks:
        for window in windower.push(block):
            for item in recogniser.transcribe(window):
                heard = heard or isinstance(item, Segment)
                yield item
            windower.max_window_s = recogniser.max_window_s
        if time.monotonic() - reported_s >= _PROGRESS_EVERY_S:
            reported_s = time.monotonic()
            yield Progress(windower.settled_s)
    for window in windower.flush():
        for item in recogniser.transcribe(window):
            heard = heard or isinstance(item, Segment)
            yield item
    if windower.peak < _SILENT_PEAK:
        yield Warned("SILENT_AUDIO", "The sound is silent, so there are no words. Check the recording.")
    elif not heard:
        yield Warned("NO_SPEECH", "Nobody was heard speaking or singing, so there are no words.")
    yield Progress(windower.received_s, windower.received_s, finished=True)
