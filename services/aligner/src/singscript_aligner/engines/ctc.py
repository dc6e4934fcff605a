"""Engine `ctc`: forced alignment by a wav2vec2 network, or one like it.

The network says for each 20 ms of sound how likely each letter is; `trellis` lays the letters of the words over that.
Weights are never fetched: whoever wants this engine puts a repository of the Hugging Face hub into the models folder,
one for a language into `ctc-<language>/` (such as facebook/wav2vec2-base-960h, Apache-2.0, for English), or one for
many languages into `ctc/`. Meta's MMS is of the latter kind, but its licence is CC-BY-NC-4.0: not for commercial use.

A word none of whose letters the network knows may sound like anything. Between lines there may be sound that no word
was given for, and lines may be left out, both at a price. A long window is searched piece by piece, each piece for the
next words, so neither time nor memory grows with the square of the length.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ, Times, WordTime
from singscript_aligner.engines.network import (
    Network,
    UnusableNetwork,
    Vocabulary,
    check,
    is_network,
    load,
    read_vocabulary,
)
from singscript_aligner.engines.trellis import Prices, best_path, graph
from singscript_aligner.text.spoken import spoken

Floats = NDArray[np.float32]

# A letter that a network knows if it knows one of these languages; all others are written in Latin letters.
# fmt: off
_LANGUAGES = {
    "ا": "ar fa ur", "א": "he yi", "α": "el", "ա": "hy", "ა": "ka", "አ": "am", "о": "ru uk be bg mk sr kk mn tg tt",
    "क": "hi mr ne sa", "ক": "bn as", "ક": "gu", "ਕ": "pa", "க": "ta", "క": "te", "ಕ": "kn", "ക": "ml", "ක": "si",
    "ก": "th", "ກ": "lo", "က": "my", "ក": "km", "ཀ": "bo", "的": "zh yue", "の": "ja", "가": "ko",
}
# fmt: on
_LETTERS = {language: letter for letter, languages in _LANGUAGES.items() for language in languages.split()}

# Natural logarithms. A frame of sound that no word is given for costs so much more than the likeliest letter there. A
# frame of a word that may sound like anything costs a little: its neighbours are to keep theirs.
_STRAY = 3.0
_ANYTHING = 0.5
_PRICES = Prices(leave_out_first=10.0, leave_out_next=1.0, cut=10.0)
# No letter counts for less: it may be silent, or one that the network never learnt.
_LEAST_SURE = math.log(1e-3)
# Half of the words of a line that is there fit by 0.5 and more, of another by less than this.
_LEAST_FIT = 0.1

_PIECE_S = 60.0
# A word that ends so close to the end of a piece may have been cut.
_MARGIN_S = 5.0
# More than anyone sings in a piece.
_WORDS_A_PIECE = 500


class CtcEngine:
    """Loads a language's network when it is first needed and keeps it; may be shared by threads.

    Args:
        models_dir: holds `ctc-<language>/` or `ctc/`.
    """

    name = "ctc"
    model = ""
    max_window_s = math.inf

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._lock = threading.Lock()
        self._networks: dict[Path, Network] = {}

    @property
    def device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def has_weights(self) -> bool:
        """Whether any were put into the models folder, be they of use or not."""
        return any(map(is_network, self._models_dir.glob("ctc*")))

    def problem(self) -> str:
        if importlib.util.find_spec("transformers") is None or importlib.util.find_spec("torch") is None:
            return "It is not installed; install singscript-aligner[ctc]."
        problem = (
            "It has no weights; put a wav2vec2 network, such as facebook/wav2vec2-base-960h (Apache-2.0), into ctc-en/ "
            "in SINGSCRIPT_MODELS_DIR, or one for another language into the folder with that language's code."
        )
        for folder in sorted(filter(is_network, self._models_dir.glob("ctc*"))):
            try:
                check(folder)
            except UnusableNetwork as error:
                problem = error.message
            else:
                return ""
        return problem

    def speaks(self, language: str) -> bool:
        folder = self._folder(language)
        try:
            letters = read_vocabulary(folder).letters if folder else {}
        except UnusableNetwork:
            return False
        letter = _LETTERS.get(language, "a")
        return letter in letters or letter.upper() in letters

    def align(
        self, samples: Floats, lines: Sequence[Sequence[str]], language: str
    ) -> Generator[float, None, Times | None]:
        """As the protocol says.

        Raises:
            UnusableNetwork: the weights are damaged.
        """
        folder = self._folder(language)
        if folder is None or not np.any(samples):
            return None
        network = self._network(folder)
        words = _spelt(lines, language, network.vocabulary)
        times: Times = [[None] * len(line) for line in lines]
        found = yield from _in_pieces(network, samples, words)
        for word, time in zip(words, found, strict=True):
            times[word.line][word.place] = time
        for line, of_line in groupby(words, key=lambda word: word.line):
            sounding = sum(1 for _ in of_line)
            fits = [time.confidence for time in times[line] if time]
            # A line of which less than half was found is a mistake, and so is one that does not fit.
            if 2 * len(fits) < sounding or (fits and median(fits) < _LEAST_FIT):
                times[line] = [None] * len(times[line])
        return times

    def _folder(self, language: str) -> Path | None:
        for folder in (self._models_dir / f"ctc-{language}", self._models_dir / "ctc"):
            if is_network(folder):
                return folder
        return None

    def _network(self, folder: Path) -> Network:
        with self._lock:
            if folder not in self._networks:
                self._networks[folder] = load(folder, self.device)
            return self._networks[folder]


@dataclass(frozen=True, slots=True)
class _Word:
    """A word that has a sound.

    Attributes:
        line, place: where it stands in the lines.
        tokens: the columns of the scores that its letters take; one fewer `blanks` stand between them.
    """

    line: int
    place: int
    tokens: list[int]
    blanks: list[int]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Those beside the network's own: any letter, the pause between words, and what stands between lines."""

    anything: int
    gap: int
    border: int

    @classmethod
    def behind(cls, vocabulary: Vocabulary) -> _Columns:
        return cls(vocabulary.size, vocabulary.size + 1, vocabulary.size + 2)


def _spelt(lines: Sequence[Sequence[str]], language: str, vocabulary: Vocabulary) -> list[_Word]:
    columns = _Columns.behind(vocabulary)
    words: list[_Word] = []
    for line, texts in enumerate(lines):
        for place, text in enumerate(texts):
            tokens, blanks = list[int](), list[int]()
            # Letters that the language does not have are said too, though nobody here knows how.
            for said in spoken(text, language) or [text] * any(map(str.isalpha, text)):
                letters = vocabulary.spelt(said) or [columns.anything]
                blanks += [columns.gap] * bool(tokens) + [vocabulary.blank] * (len(letters) - 1)
                tokens += letters
            if tokens:
                words.append(_Word(line, place, tokens, blanks))
    return words


def _in_pieces(
    network: Network, samples: Floats, words: Sequence[_Word]
) -> Generator[float, None, list[WordTime | None]]:
    """A time for each of the words that are there; None for those left out."""
    hop_s = network.hop_samples / SAMPLE_RATE_HZ
    total = math.ceil(len(samples) / network.hop_samples)
    piece, margin = round(_PIECE_S / hop_s), round(_MARGIN_S / hop_s)
    times: list[WordTime | None] = [None] * len(words)
    first, at = 0, 0
    while first < len(words) and at < total:
        # What would be left after this piece is not worth one of its own.
        end = at + piece if at + 1.5 * piece < total else total
        search = network.scores(samples, at, end)
        scores = yield from _in_seconds(search, hop_s, len(samples) / SAMPLE_RATE_HZ)
        candidates = words[first : first + _WORDS_A_PIECE]
        next_first, next_at = first, end - margin
        for number, found in enumerate(_found(_with_more(scores, network.vocabulary), candidates, network.vocabulary)):
            if found and (end == total or at + found.end < end - margin):
                start_s, end_s = (at + found.start) * hop_s, (at + found.end) * hop_s
                times[first + number] = WordTime(start_s, min(end_s, len(samples) / SAMPLE_RATE_HZ), found.confidence)
                next_first, next_at = first + number + 1, at + found.end
        if end == total:
            break
        first, at = next_first, next_at
    return times


def _in_seconds(search: Generator[int, None, Floats], hop_s: float, most_s: float) -> Generator[float, None, Floats]:
    while True:
        try:
            yield min(next(search) * hop_s, most_s)
        except StopIteration as stop:
            return stop.value


def _with_more(scores: Floats, vocabulary: Vocabulary) -> Floats:
    """The scores with `_Columns` behind them."""
    letters = scores[:, list(vocabulary.letters.values())].max(1)
    gap = np.maximum(scores[:, vocabulary.blank], scores[:, vocabulary.gap])
    return np.column_stack([scores, letters - _ANYTHING, gap, np.maximum(gap, letters - _STRAY)])


@dataclass(frozen=True, slots=True)
class _Found:
    """The frames of a word, the last one not included."""

    start: int
    end: int
    confidence: float


def _found(scores: Floats, words: Sequence[_Word], vocabulary: Vocabulary) -> list[_Found | None]:
    """Where the best path has each of the words, in frames of `scores`."""
    columns = _Columns.behind(vocabulary)
    lines, blanks = list[list[int]](), list[list[int]]()
    for _, of_line in groupby(words, key=lambda word: word.line):
        tokens, between = list[int](), list[int]()
        for word in of_line:
            between += [columns.gap] * bool(tokens) + word.blanks
            tokens += word.tokens
        lines.append(tokens)
        blanks.append(between)
    path = best_path(scores, graph(lines, blanks, columns.border), _PRICES)
    # Every other state is a letter; the path never goes back.
    letters = 2 * np.arange(sum(map(len, lines))) + 1
    starts, ends = np.searchsorted(path, letters, "left"), np.searchsorted(path, letters, "right")
    found: list[_Found | None] = []
    at = 0
    for word in words:
        its = range(at, at + len(word.tokens))
        at += len(word.tokens)
        if all(starts[i] < ends[i] for i in its):
            # A letter is as sure as its best frame: networks differ in how long they dwell on one. The geometric mean,
            # for most of a wrong word's letters do fit somewhere, and some do not at all.
            sure = [scores[starts[i] : ends[i], token].max() for i, token in zip(its, word.tokens, strict=True)]
            confidence = math.exp(float(np.maximum(sure, _LEAST_SURE).mean()))
            found.append(_Found(int(starts[its[0]]), int(ends[its[-1]]), confidence))
        else:
            found.append(None)
    return found
