"""What the engines of one stream have heard, window by window: what an earlier attempt stored, and what is new.

Everything behind the engines (the vote on the language, what is listened to, seams, what is believed) follows from what
they heard and from the sound, so an attempt that takes this from the journal gives the same segments without asking.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from singscript_transcriber.engines import Heard
from singscript_transcriber.listening import Sound
from singscript_transcriber.windows import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outset:
    """How an engine came to do the work.

    Attributes:
        skipped: engines before it that could not be used, each with its problem.
        device: where it computes.
        times_words: whether its utterances have words with times.
        from_s: from here on windows are cut as it takes them, in seconds of the stream.
    """

    skipped: tuple[tuple[str, str], ...]
    engine: str
    model: str
    device: str
    times_words: bool
    from_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """An engine could not go on.

    Attributes:
        problem: what was wrong with it, and `message`, how the user was told.
        then: which engine came next.
    """

    problem: str
    message: str
    then: Outset


@dataclass(frozen=True, slots=True)
class Hearing:
    """One time that a window was given to an engine.

    Attributes:
        language: in which it had to be heard; empty: as the wish has it.
        heard: what came of it, by what was listened to; empty where it failed.
    """

    engine: str
    language: str
    heard: Mapping[Sound, Heard]
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """All that was heard of a window until its result was given out.

    Attributes:
        start_sample: counts from the start of the stream.
        sha256: of its samples, those of the mix too.
        hearings: in order of time.
    """

    start_sample: int
    sha256: str
    hearings: tuple[Hearing, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a journal.

    Attributes:
        outset: the first engine of the stream, the same in all parts.
        records: of windows that follow those of the part before.
        end_s: up to where, of the stream, this part and those before it reach.
    """

    outset: Outset
    records: tuple[Record, ...]
    end_s: float


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a window, and in which part."""

    number: int
    record: Record


class Journal:
    """Of one stream; used from one thread.

    Args:
        stored: the parts of an earlier attempt, from number 0 on.
        part_s: how much of the stream a part holds at least, but the last; None: nothing new is kept.
    """

    def __init__(self, stored: Sequence[Part] = (), part_s: float | None = None) -> None:
        self.outset = stored[0].outset if stored else None
        self._part_s = part_s
        self._known = deque(Known(number, record) for number, part in enumerate(stored) for record in part.records)
        # Where each part ends: of those that came, as far as they fit, and of those that were made since.
        self._ends_s = [part.end_s for part in stored]
        self._trusted = len(stored)  # so many of those that came fit
        # What was given out since the last part; or what was so far of a stored one, should the rest of it not fit.
        self._open: list[Record] = []
        self._open_number: int | None = None
        self._reached_s = 0.0

    @property
    def stored_s(self) -> float:
        """Up to where parts reach."""
        return self._ends_s[-1] if self._ends_s else 0.0

    def find(self, window: Window) -> Known | None:
        """What is stored of the next window; each is asked for once, in order."""
        if not self._known:
            return None
        known = self._known.popleft()
        if (known.record.start_sample, known.record.sha256) == (window.start_sample, _sha256(window)):
            return known
        self.distrust(known.number)
        return None

    def distrust(self, number: int) -> None:
        """Forgets this part and those after it: what they hold is not of this stream."""
        if number < self._trusted:
            log.warning("a stored part does not fit the sound and is heard again", extra={"number": number})
            self._trusted = number
            del self._ends_s[number:]
            self._known.clear()

    def add(self, window: Window, hearings: Sequence[Hearing], known: Known | None) -> None:
        """Takes in a window whose result is given out; each in order.

        Args:
            known: what was stored of it.
        """
        self._reached_s = window.start_s + window.ends_s
        if self._part_s is None:
            return
        number = None if known is None or known.number >= self._trusted else known.number
        if not self._is_new and number != self._open_number:
            self._open.clear()
        if not self._open:
            self._open_number = number
        sha256 = _sha256(window) if known is None else known.record.sha256
        self._open.append(Record(window.start_sample, sha256, tuple(hearings)))

    def next_part(self, outset: Outset, *, last: bool) -> tuple[int, Part] | None:
        """The number of the next part and what it holds, once there is enough for it; asked for until it is `kept`.

        Args:
            outset: the first engine of the stream.
            last: nothing more comes.
        """
        if self._part_s is None:
            return None
        if last and self._known:
            self.distrust(self._known[0].number)
        number = len(self._ends_s)
        is_due = self._is_new and bool(self._open) and (last or self._reached_s - self.stored_s >= self._part_s)
        is_due = is_due or (last and number == 0)
        return (number, Part(outset, tuple(self._open), self._reached_s)) if is_due else None

    def kept(self, part: Part) -> None:
        """The next part is stored."""
        self._ends_s.append(part.end_s)
        self._open.clear()
        self._open_number = None

    @property
    def _is_new(self) -> bool:
        """Whether what was given out last is in no stored part that fits."""
        return self._open_number is None or self._open_number >= self._trusted


def _sha256(window: Window) -> str:
    digest = hashlib.sha256(window.vocals.tobytes())
    if window.mix is not None:
        digest.update(window.mix.tobytes())
    return digest.hexdigest()
