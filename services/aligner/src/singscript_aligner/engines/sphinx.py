"""Engine `sphinx`: forced alignment by PocketSphinx with the English model inside its wheel.

The words become a finite-state grammar. Before each line, and after the last, a loop of single phones may take up
what is sung but not given, or an instrument that sounds like a voice; and lines may be left out, at a price. Pauses
are free everywhere. Slow speech and steady noise are explained better by phones than by any word: lines that were left
out are searched again between their neighbours, with every word compulsory, and kept where they fit.

The decoder remembers all that it considered, about 3 MB for each second. So a long window is searched piece by piece:
each piece for the next lines, some of which may lie behind its end; the next one from the last line surely found on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import count, groupby
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Config, Decoder

from singscript_aligner.engines import SAMPLE_RATE_HZ, Times, WordTime
from singscript_aligner.engines.letters import phones
from singscript_aligner.text.spoken import spoken

FRAMES_PER_S = 100
# PocketSphinx holds Python's lock while it works: a slice takes some 20 ms, and then other threads have their turn.
_SLICE_SAMPLES = SAMPLE_RATE_HZ // 4
_PEAK = 20_000
_PHONES = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
# Found on speech and singing, clean, with noise and with a band: dearer, and lines that are not sung are squeezed in;
# cheaper, and lines that are sung go missing.
_STRAY_PHONE = 1e-6
_LEAVE_OUT_FIRST = 1e-12
_LEAVE_OUT_NEXT = 0.1
_BEAM = 1e-100
# Pruning off: where all words have to be passed, the way there may look bad for long.
_NO_BEAM = 0.0
# Log scores a frame, against the best sound of the moment: words that are there lie between 8 and 40.
_POOR_SCORE = 48.0
_SCORE_SCALE = 8.0
# Fewer of the words than this, and the search with lines left out has failed.
_ENOUGH = 0.2
# Words that are there under noise as loud as they are fit by 0.3 in the middle, others by 0.1.
_LEAST_FIT = 0.25
# A line that is there fits by 0.5 to 0.95 in the middle, also under noise or a band; another in its place by 0.4.
_GOOD_FIT = 0.5
# Nobody says a word in less; the fastest rap is at about 0.12 s.
_LEAST_WORD_S = 0.1

_PIECE_S = 60.0
# A line that ends so close to the end of a piece may have been cut.
_MARGIN_S = 5.0
# More than is sung in most songs; where it is not enough, the next piece starts the earlier.
_WORDS_A_PIECE = 200
# All words together are searched in no more than this: without pruning, time and memory grow with the square.
_FORCED_S = 120.0

_SEARCH = "words"

_Transition = tuple[int, int, float, str] | tuple[int, int, float]


class SphinxEngine:
    """Reads its dictionary when it is first used. Serves one alignment at a time: make one for each stream."""

    name = "sphinx"
    model = "en-us"
    device = "cpu"
    max_window_s = math.inf

    def __init__(self) -> None:
        self._decoders: dict[float, Decoder] = {}
        self._serial = count()

    def problem(self) -> str:
        return ""

    def speaks(self, language: str) -> bool:
        return language == "en"

    def align(
        self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str
    ) -> Generator[float, None, Times | None]:
        if not np.any(samples):
            return None
        found = yield from self._in_pieces(samples, lines)
        found = yield from self._between(samples, lines, found)
        enough = len(_confidences(found)) >= _ENOUGH * sum(map(len, lines))
        if enough or not _could_hold(len(samples) / SAMPLE_RATE_HZ, lines):
            return found
        forced = yield from self._search(lines, _NO_BEAM, may_leave_out=False).run(_pcm(samples))
        # All words had to go somewhere: that says little, unless they fit on the whole.
        if forced is not None and median(_confidences(forced)) >= _LEAST_FIT:
            return forced
        return found

    def _between(
        self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], times: Times
    ) -> Generator[float, None, Times]:
        """`times`, with those of lines that were left out though the sound between their neighbours fits them."""
        completed = list(times)
        at = 0
        for left_out, rows in groupby(times, key=lambda row: not any(row)):
            first, at = at, at + len(list(rows))
            if not left_out:
                continue
            from_s = max((time.end_s for row in times[:first] for time in row if time), default=0.0)
            to_s = min(
                (time.start_s for row in times[at:] for time in row if time), default=len(samples) / SAMPLE_RATE_HZ
            )
            if not _could_hold(to_s - from_s, lines[first:at]):
                continue
            pcm = _pcm(samples[round(from_s * SAMPLE_RATE_HZ) : round(to_s * SAMPLE_RATE_HZ)])
            search = self._search(lines[first:at], _NO_BEAM, may_leave_out=False).run(pcm)
            forced = yield from _shifted(search, from_s)
            for i, row in enumerate(forced or []):
                if any(row) and median(_confidences([row])) >= _GOOD_FIT:
                    completed[first + i] = [_moved(time, from_s) for time in row]
        return completed

    def _in_pieces(self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]]) -> Generator[float, None, Times]:
        """Times of the lines that are there; None for those left out."""
        times: Times = [[None] * len(line) for line in lines]
        length_s = len(samples) / SAMPLE_RATE_HZ
        first, at_s = 0, 0.0
        while first < len(lines):
            # What would be left after this piece is not worth one of its own.
            end_s = at_s + _PIECE_S if at_s + 1.5 * _PIECE_S < length_s else length_s
            candidates = _as_many_as(lines[first:], _WORDS_A_PIECE) if end_s < length_s else lines[first:]
            pcm = _pcm(samples[round(at_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)])
            search = self._search(candidates, _BEAM, may_leave_out=True).run(pcm)
            found = yield from _shifted(search, at_s)
            next_s, next_first = end_s - _MARGIN_S, first
            for i, row in enumerate(found or []):
                ends_s = [at_s + time.end_s for time in row if time]
                if ends_s and (end_s == length_s or ends_s[-1] < end_s - _MARGIN_S):
                    times[first + i] = [_moved(time, at_s) for time in row]
                    next_s, next_first = ends_s[-1], first + i + 1
            if end_s == length_s:
                break
            first, at_s = next_first, next_s
        return times

    def _search(self, lines: Sequence[Sequence[str]], beam: float, *, may_leave_out: bool) -> _Search:
        if beam not in self._decoders:
            self._decoders[beam] = _new_decoder(beam)
        return _Search(self._decoders[beam], f"singscript-{next(self._serial)}", lines, may_leave_out=may_leave_out)


class _Search:
    """One grammar and the decoder that runs it."""

    def __init__(self, decoder: Decoder, prefix: str, lines: Sequence[Sequence[str]], *, may_leave_out: bool) -> None:
        self._decoder = decoder
        self._prefix = prefix
        self._lines = lines
        self._places: dict[str, tuple[int, int]] = {}
        for i, line in enumerate(lines):
            for j, word in enumerate(line):
                self._add(word, i, j)
        # How many words of each line have a sound; a line of which less than half is found is a mistake.
        sounding = Counter(i for i, _ in self._places.values())
        self._said = [sounding[i] for i in range(len(lines))]
        # The decoder takes note of new words only when one is added with update=True.
        self._decoder.add_word(f"{prefix}-end", "AH", True)
        self._final, self._transitions = self._grammar(may_leave_out)

    def run(self, pcm: bytes) -> Generator[float, None, Times | None]:
        """Times for the words; None where no path through the grammar survived."""
        if not self._places:
            return None
        decoder = self._decoder
        decoder.add_fsg(_SEARCH, decoder.create_fsg(_SEARCH, 0, self._final, self._transitions))
        decoder.activate_search(_SEARCH)
        decoder.start_utt()
        step = 2 * _SLICE_SAMPLES
        for start in range(0, len(pcm), step):
            decoder.process_raw(pcm[start : start + step])
            yield min(start + step, len(pcm)) / 2 / SAMPLE_RATE_HZ
        decoder.end_utt()
        segments: Any = decoder.seg()
        if segments is None:
            return None
        times: Times = [[None] * len(line) for line in self._lines]
        log_base = math.log(float(decoder.config["logbase"]))
        for segment in segments:
            place = self._places.get(segment.word.partition("(")[0])
            if place is not None:
                frames = segment.end_frame - segment.start_frame + 1
                score = -math.log(max(segment.ascore, 1e-300)) / log_base / frames
                times[place[0]][place[1]] = WordTime(
                    start_s=segment.start_frame / FRAMES_PER_S,
                    end_s=(segment.end_frame + 1) / FRAMES_PER_S,
                    confidence=1.0 / (1.0 + math.exp(min(50.0, (score - _POOR_SCORE) / _SCORE_SCALE))),
                )
        return [
            row if 2 * sum(map(bool, row)) >= said else [None] * len(row)
            for row, said in zip(times, self._said, strict=True)
        ]

    def _name(self, i: int, j: int) -> str:
        return f"{self._prefix}-{i}-{j}"

    def _add(self, word: str, i: int, j: int) -> None:
        """Each occurrence becomes a word of its own: which of two equal lines was found must be told apart."""
        said = spoken(word, "en")
        if not said:
            return
        name = self._name(i, j)
        # Several spoken words, such as "twenty five", are run together, each as it is said first.
        variants = (
            self._pronunciations(said[0])
            if len(said) == 1
            else [" ".join(self._pronunciations(one)[0] for one in said)]
        )
        for number, variant in enumerate(variants, start=1):
            self._decoder.add_word(name if number == 1 else f"{name}({number})", variant, False)
        self._places[name] = (i, j)

    def _pronunciations(self, word: str) -> list[str]:
        bare = word.strip("'")
        for candidate in dict.fromkeys((word, bare, f"{bare[:-2]}ing" if word.endswith("in'") else bare)):
            if candidate and (first := self._decoder.lookup_word(candidate)) is not None:
                found = [first]
                for number in count(2):
                    if (other := self._decoder.lookup_word(f"{candidate}({number})")) is None:
                        return found
                    found.append(other)
        return [phones(word)]

    def _grammar(self, may_leave_out: bool) -> tuple[int, list[_Transition]]:
        """State 2i is where line i starts; state 2i+1 is the same moment once the line before was left out."""
        transitions: list[_Transition] = []
        final = 2 * len(self._lines)
        free = count(final + 2)
        for i, line in enumerate(self._lines):
            start, after, skipping, skipped = 2 * i, 2 * i + 2, 2 * i + 1, 2 * i + 3
            names = [self._name(i, j) for j in range(len(line))]
            names = [name for name in names if name in self._places]
            at, inside = start, list[int]()
            for name in names:
                to = after if name == names[-1] else next(free)
                transitions.append((at, to, 1.0, name))
                at = to
                inside.append(to)
            if not names:
                transitions.append((start, after, 1.0))
            if may_leave_out:
                transitions += self._strays(start)
                transitions.append((start, skipped, _LEAVE_OUT_FIRST))
                # The sound may end in the middle of a line.
                transitions += [(state, final, _LEAVE_OUT_FIRST) for state in inside]
                if i:
                    transitions += [(skipping, start, 1.0), (skipping, skipped, _LEAVE_OUT_NEXT)]
        if may_leave_out:
            transitions += [*self._strays(final), (final + 1, final, 1.0)]
        return final, transitions

    def _strays(self, state: int) -> list[_Transition]:
        return [(state, state, _STRAY_PHONE, _stray(phone)) for phone in _PHONES.split()]


def _new_decoder(beam: float) -> Decoder:
    decoder = Decoder(Config(lm=None, loglevel="FATAL", bestpath=False, beam=beam, pbeam=beam, wbeam=beam))
    for phone in _PHONES.split():
        decoder.add_word(_stray(phone), phone, False)
    return decoder


def _could_hold(length_s: float, lines: Sequence[Sequence[str]]) -> bool:
    """Whether all words may be searched for together in so much sound."""
    return _LEAST_WORD_S * sum(map(len, lines)) <= length_s <= _FORCED_S


def _as_many_as(lines: Sequence[Sequence[str]], words: int) -> Sequence[Sequence[str]]:
    """The first lines that have no more `words` together; at least one."""
    together = np.cumsum([len(line) for line in lines])
    return lines[: max(1, int(np.searchsorted(together, words, side="right")))]


def _shifted(search: Generator[float, None, Times | None], by_s: float) -> Generator[float, None, Times | None]:
    while True:
        try:
            yield by_s + next(search)
        except StopIteration as stop:
            return stop.value


def _moved(time: WordTime | None, by_s: float) -> WordTime | None:
    return time and replace(time, start_s=time.start_s + by_s, end_s=time.end_s + by_s)


def _confidences(times: Times) -> list[float]:
    return [time.confidence for line in times for time in line if time]


def _stray(phone: str) -> str:
    return f"singscript-stray-{phone}"


def _pcm(samples: NDArray[np.float32]) -> bytes:
    """16-bit samples at an even level: the model was trained on speech that is neither faint nor clipped."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0.0:
        return b""
    return (samples * (_PEAK / peak)).astype(np.int16).tobytes()
