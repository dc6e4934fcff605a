"""How far words are from their moments, by each engine of the aligner and by others on the same weights, in one run.

    PYTHONPATH=tests/support .venv/bin/python bench/alignment.py [--sets verses ...] [--methods sphinx ...]

The sets are recordings whose words have known times (`tests/support/alignment_truth.py`), as they are and with bands,
pauses and wrong lyrics. Nothing was tuned on those that begin with "held_out". Methods:

    lyrics, ENGINE              known lyrics, the sound alone
    lyrics + transcript, ENGINE the same, with what the transcriber heard as anchors
    refined, ENGINE             no lyrics: the transcriber's words, put on their moments
    openai-whisper, faster-whisper   their own word times of what they hear
    stable-ts                   its `align` of the known lyrics

All Whispers have the weights of nano-whisper; ENGINE `default` is the order of the settings. Each method runs in a
process of its own and has warmed up before its time counts; the transcript's time is the transcriber's and not in it.

Shares are of all words that are sung and, for those who are given lyrics, stand in them: a word that is not found is
outside. Median and 95th percentile are of the words found. A word is "extra" where it was given a time and nobody says
it. Words are compared without case and punctuation, in order.

stable-ts is measured where it can be imported (`pip install --no-deps --target FOLDER stable-ts`, then FOLDER in
PYTHONPATH). It imports torchaudio, of which no release may fit this torch; the parts used here never call it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import alignment_truth as truth
import numpy as np
from alignment_truth import SAMPLE_RATE_HZ, Piece, SungLine, Word
from machine import machine
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from singscript_aligner.engines import Engine

MODELS = Path(__file__).parent.parent / "tests" / "support" / "models"
WHISPER = "nano-whisper"
ENGINES = ("default", "sphinx", "whisper", "ctc")
PEERS = ("openai-whisper", "faster-whisper", "stable-ts")
TIMEOUT_S = 3600.0
_WARM_UP_S = 5.0
# Words further apart than this are as little a pair as any.
_FAR_S = 10.0

SETS: dict[str, Callable[[], Piece]] = {
    **{name: lambda name=name: truth.read(name) for name in (*truth.TUNING, *truth.HELD_OUT)},
    "demo, vocals": truth.demo,
    "demo, mix": lambda: truth.demo("demo"),
    "verses, band -6 dB": lambda: truth.with_band(truth.read("verses"), 6.0),
    "verses, band 0 dB": lambda: truth.with_band(truth.read("verses"), 0.0),
    "verses, out of -6 dB": lambda: truth.separated(truth.read("verses"), 6.0),
    "normal, band -10 dB": lambda: truth.with_band(truth.read("normal"), 10.0),
    "normal, noise -15 dB": lambda: truth.with_noise(truth.read("normal"), 15.0),
    "held_out_spoken, band -10 dB": lambda: truth.with_band(truth.read("held_out_spoken"), 10.0),
    "normal, pauses": lambda: truth.with_pauses(truth.read("normal")),
    "verses, pauses": lambda: truth.with_pauses(truth.read("verses")),
    "held_out_sung, pauses": lambda: truth.with_pauses(truth.read("held_out_sung")),
    "verses, chorus once": lambda: truth.chorus_written_once(truth.read("verses")),
    "demo, chorus once": lambda: truth.chorus_written_once(truth.demo()),
    "verses, wrong lines": lambda: truth.with_wrong_lines(truth.read("verses")),
    "normal, wrong lines": lambda: truth.with_wrong_lines(truth.read("normal")),
    "held_out_sung, wrong lines": lambda: truth.with_wrong_lines(truth.read("held_out_sung")),
    "verses, missing lines": lambda: truth.with_missing_lines(truth.read("verses")),
    "held_out_spoken, missing lines": lambda: truth.with_missing_lines(truth.read("held_out_spoken")),
    "verses, added lines": lambda: truth.with_added_lines(truth.read("verses")),
}


@dataclass(frozen=True, slots=True)
class Method:
    """`kind` is "lyrics", "anchored", "refined", "heard" (the transcript itself) or one of PEERS."""

    kind: str
    engine: str = ""

    @property
    def name(self) -> str:
        kind = {"anchored": "lyrics + transcript", "heard": "transcript"}.get(self.kind, self.kind)
        return f"{kind}, {self.engine}" if self.engine else kind

    @property
    def knows_lyrics(self) -> bool:
        return self.kind in ("lyrics", "anchored", "stable-ts")


@dataclass(frozen=True, slots=True)
class Found:
    """What one method made of one piece: words with times, in order, and the seconds that it took."""

    words: list[Word]
    took_s: float


@dataclass(frozen=True, slots=True)
class Score:
    """Of one method on one set: errors of the starts of words found, how many there were to find, how many too many."""

    errors_s: list[float] = field(repr=False)
    expected: int
    extra: int

    def quantile_s(self, share: float) -> float:
        return float(np.quantile(self.errors_s, share)) if self.errors_s else math.inf

    def within(self, limit_s: float) -> float:
        return sum(error <= limit_s for error in self.errors_s) / self.expected


def plain(word: str) -> str:
    """A word as it is compared: lower case, letters and digits alone."""
    return "".join(c for c in word.casefold() if c.isalnum())


def scored(piece: Piece, found: Sequence[Word], *, knows_lyrics: bool) -> Score:
    """Pairs of equal words in order, such that most are paired, and of those ways the one with the nearest times.

    Who is given lyrics need not find the lines that they lack, but may.
    """
    wanted = [(word, not knows_lyrics or line.given is not None) for line in piece.lines for word in line.words]
    got = [word for word in found if plain(word.text)]
    # costs[i, j]: the first i wanted and j found; leaving out a word costs 1, a far pair still less than two such.
    costs = np.zeros((len(wanted) + 1, len(got) + 1))
    costs[:, 0], costs[0, :] = np.arange(len(wanted) + 1), np.arange(len(got) + 1)
    pairs = np.full((len(wanted), len(got)), math.inf)
    for i, (word, _) in enumerate(wanted):
        for j, other in enumerate(got):
            if plain(word.text) == plain(other.text):
                pairs[i, j] = min(abs(word.start_s - other.start_s) / _FAR_S, 1.0)
            costs[i + 1, j + 1] = min(costs[i, j + 1] + 1, costs[i + 1, j] + 1, costs[i, j] + pairs[i, j])
    errors_s: list[float] = []
    extra = len(got)
    i, j = len(wanted), len(got)
    while i and j:
        if costs[i, j] == costs[i - 1, j - 1] + pairs[i - 1, j - 1]:
            i, j = i - 1, j - 1
            word, is_known = wanted[i]
            extra -= 1
            if is_known:
                errors_s.append(abs(word.start_s - got[j].start_s))
        elif costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return Score(errors_s, sum(is_known for _, is_known in wanted), extra)


# What runs in a child process.


def child(folder: Path, kind: str, engine: str, names: Sequence[str]) -> None:
    """Runs one method on the pieces of `folder`; writes a Found for each."""
    warnings.simplefilter("ignore")  # of the libraries, about themselves
    method = Method(kind, engine)
    run = _runner(folder, method)
    first = load(folder, names[0])
    start = Piece(first.name, first.samples[: round(_WARM_UP_S * SAMPLE_RATE_HZ)], first.lines, first.lyrics)
    run(start, "")
    for name in names:
        piece = load(folder, name)
        started_s = time.monotonic()
        words = run(piece, name)
        found = Found(words, time.monotonic() - started_s)
        (folder / f"{method.name} {name}.json").write_text(json.dumps(asdict(found)))


def _runner(folder: Path, method: Method) -> Callable[[Piece, str], list[Word]]:
    """From a piece and its name to words; the name "" is for warming up."""
    match method.kind:
        case "heard":
            return _transcriber(folder)
        case "openai-whisper":
            return _openai_whisper(folder)
        case "faster-whisper":
            return _faster_whisper(folder)
        case "stable-ts":
            return _stable_ts(folder)
        case _:
            return _aligner(folder, method)


def _aligner(folder: Path, method: Method) -> Callable[[Piece, str], list[Word]]:
    from singscript_aligner.align import align_heard, align_lyrics
    from singscript_aligner.lines import LineRules
    from singscript_aligner.lyrics.reading import read_lyrics
    from singscript_aligner.search import Engines
    from singscript_aligner.settings import AlignerSettings
    from singscript_aligner.spool import Spool
    from singscript_aligner.words import HeardSegment, HeardWord, Line

    settings = AlignerSettings()  # pyright: ignore[reportCallIssue]  (from the environment)
    own = [
        _engine(name, folder) for name in (settings.aligner_engines if method.engine == "default" else [method.engine])
    ]

    def heard(name: str) -> Iterator[HeardSegment]:
        if not name or method.kind == "lyrics":
            return
        for segment in json.loads((folder / f"segments {name}.json").read_text()):
            words = tuple(HeardWord(**word) for word in segment.pop("words"))
            yield HeardSegment(words=words, **segment)

    def run(piece: Piece, name: str) -> list[Word]:
        engines = Engines(own, "en")
        with Spool() as spool:
            items = (item for part in (blocks(piece), heard(name)) for item in part)
            if method.kind == "refined":
                out = align_heard(items, spool, engines, LineRules())
            else:
                out = align_lyrics(items, read_lyrics(piece.lyrics, "en"), spool, engines, LineRules())
            lines = [line for line in out if isinstance(line, Line)]
        return [Word(word.text, word.start_s, word.end_s) for line in lines for word in line.words]

    return run


def _engine(name: str, folder: Path) -> Engine:
    if name == "whisper":
        from singscript_aligner.engines.whisper import WhisperEngine

        return WhisperEngine(folder, WHISPER, 0.0)
    if name == "ctc":
        from singscript_aligner.engines.ctc import CtcEngine

        return CtcEngine(folder)
    from singscript_aligner.engines.sphinx import SphinxEngine

    return SphinxEngine()


def blocks(piece: Piece) -> Iterator[np.ndarray]:
    for start in range(0, len(piece.samples), SAMPLE_RATE_HZ):
        yield piece.samples[start : start + SAMPLE_RATE_HZ]


def _transcriber(folder: Path) -> Callable[[Piece, str], list[Word]]:
    """Also keeps the segments, for the aligner."""
    from singscript_core.stopping import Stop
    from singscript_models.reach import Reach
    from singscript_models.whisper.weights import Place
    from singscript_transcriber.chain import EngineChain
    from singscript_transcriber.engines import Wish
    from singscript_transcriber.engines.faster_whisper import FasterWhisperEngine
    from singscript_transcriber.recogniser import Wanted
    from singscript_transcriber.segments import Segment
    from singscript_transcriber.transcribe import transcribe
    from singscript_transcriber.windows import Block

    engine = FasterWhisperEngine(Place(folder, False, Reach()), WHISPER, 0.0)
    chain = EngineChain([engine], [engine.name])

    def run(piece: Piece, name: str) -> list[Word]:
        items = transcribe(map(Block, blocks(piece)), chain=chain, wanted=Wanted(wish=Wish("en")), stop=Stop())
        segments = [item for item in items if isinstance(item, Segment)]
        kept = [
            {
                "text": segment.text,
                "start_s": segment.start_s,
                "end_s": segment.end_s,
                "language": "en",
                "words": [
                    {"text": word.text, "start_s": word.start_s, "end_s": word.end_s, "confidence": word.confidence}
                    for word in segment.words
                ],
            }
            for segment in segments
        ]
        (folder / f"segments {name}.json").write_text(json.dumps(kept))
        return [Word(word.text, word.start_s, word.end_s) for segment in segments for word in segment.words]

    return run


def _openai_whisper(folder: Path) -> Callable[[Piece, str], list[Word]]:
    import whisper

    model = whisper.load_model(str(folder / f"{WHISPER}.pt"), device="cpu")

    def run(piece: Piece, name: str) -> list[Word]:
        told: dict[str, Any] = whisper.transcribe(
            model,
            piece.samples,
            language="en",
            beam_size=5,
            word_timestamps=True,
            condition_on_previous_text=False,
            fp16=False,
        )
        return [
            Word(word["word"].strip(), word["start"], word["end"])
            for segment in told["segments"]
            for word in segment["words"]
        ]

    return run


def _faster_whisper(folder: Path) -> Callable[[Piece, str], list[Word]]:
    from faster_whisper import WhisperModel

    [converted] = folder.glob(f"faster-whisper-{WHISPER}*")
    model = WhisperModel(str(converted), device="cpu", compute_type="int8")

    def run(piece: Piece, name: str) -> list[Word]:
        segments, _ = model.transcribe(
            piece.samples, language="en", beam_size=5, word_timestamps=True, condition_on_previous_text=False
        )
        return [Word(word.word.strip(), word.start, word.end) for segment in segments for word in segment.words or ()]

    return run


def _stable_ts(folder: Path) -> Callable[[Piece, str], list[Word]]:
    if importlib.util.find_spec("torchaudio") is None:
        sys.modules["torchaudio"] = ModuleType("torchaudio")
    import stable_whisper  # pyright: ignore[reportMissingImports]  (optional)

    model = stable_whisper.load_model(str(folder / f"{WHISPER}.pt"), device="cpu")

    def run(piece: Piece, name: str) -> list[Word]:
        # What suits it and these weights best: words as the network says them, and fewer of them at a time.
        lyrics = "\n".join(" ".join(map(plain, line.split())) for line in piece.lyrics.split("\n"))
        told = model.align(piece.samples, lyrics, language="en", token_step=40, verbose=None)
        words = told.all_words() if told else []
        return [Word(word.word.strip(), word.start, word.end) for word in words]

    return run


# What runs in this process.


def save(folder: Path, name: str, piece: Piece) -> None:
    np.save(folder / f"{name}.npy", piece.samples)
    (folder / f"{name}.truth.json").write_text(json.dumps({"lines": asdict(piece)["lines"], "lyrics": piece.lyrics}))


def load(folder: Path, name: str) -> Piece:
    told = json.loads((folder / f"{name}.truth.json").read_text())
    lines = tuple(SungLine(tuple(Word(**word) for word in line["words"]), line["given"]) for line in told["lines"])
    return Piece(name, np.load(folder / f"{name}.npy"), lines, told["lyrics"])


def measured(folder: Path, method: Method, names: Sequence[str]) -> dict[str, Found]:
    """What the method found in each set. Runs this script as `--child` in a process of its own."""
    command = [sys.executable, __file__, "--child", str(folder), method.kind, method.engine, *names]
    done = subprocess.run(command, timeout=TIMEOUT_S, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{method.name} failed:\n{done.stderr}")
    found: dict[str, Found] = {}
    for name in names:
        told = json.loads((folder / f"{method.name} {name}.json").read_text())
        found[name] = Found([Word(**word) for word in told["words"]], told["took_s"])
    return found


def methods(engines: Sequence[str], peers: Sequence[str]) -> list[Method]:
    """The transcript first: others need it."""
    ours = [Method(kind, engine) for kind in ("lyrics", "anchored", "refined") for engine in engines]
    return [Method("heard"), *ours, *map(Method, peers)]


def available(folder: Path, wanted: Sequence[str], console: Console) -> list[str]:
    """Of ENGINES and PEERS, those that can run here."""
    missing = {
        "ctc": "" if (folder / "ctc-en").is_dir() else "tests/support/models/nano-ctc is not there",
        "stable-ts": "" if importlib.util.find_spec("stable_whisper") else "stable-ts is not installed",
    }
    for name in wanted:
        if missing.get(name):
            console.print(f"{name} is left out: {missing[name]}.")
    return [name for name in wanted if not missing.get(name)]


def table_of(scores: dict[tuple[str, Method], Score], names: Sequence[str], told: Sequence[Method]) -> Table:
    table = Table(
        "set", "method", "found", "of", "extra", "median", "95 %", "within 50 ms", "100 ms", "300 ms", title="starts"
    )
    for name in names:
        for method in told:
            score = scores[name, method]
            table.add_row(
                name if method == told[0] else "",
                method.name,
                f"{len(score.errors_s)}",
                f"{score.expected}",
                f"{score.extra}",
                _ms(score.quantile_s(0.5)),
                _ms(score.quantile_s(0.95)),
                *(f"{score.within(limit_s):.0%}" for limit_s in (0.05, 0.1, 0.3)),
            )
        table.add_section()
    return table


def _ms(time_s: float) -> str:
    return f"{time_s * 1000:.0f} ms" if math.isfinite(time_s) else "–"


def pace_table(found: dict[Method, dict[str, Found]], sound_s: float) -> Table:
    """Seconds of work for a second of sound, and how that compares with the peers."""
    paces = {method: sum(one.took_s for one in some.values()) / sound_s for method, some in found.items()}
    peers = [method for method in paces if method.kind in PEERS]
    table = Table("method", "s per minute of sound", *(f"to {peer.name}" for peer in peers))
    for method, pace in paces.items():
        table.add_row(method.name, f"{pace * 60:.2f}", *(f"{pace / paces[peer]:.2f}" for peer in peers))
    return table


def not_better(scores: dict[tuple[str, Method], Score], names: Sequence[str], told: Sequence[Method]) -> list[str]:
    """On which sets which of our methods is not better than the best peer, and in what.

    With lyrics ours are compared with all peers, without them with those that have none either.
    """
    peers = [method for method in told if method.kind in PEERS]
    worse: list[str] = []
    for method in told:
        rivals = [peer for peer in peers if method.knows_lyrics or not peer.knows_lyrics]
        if method.kind not in ("lyrics", "anchored", "refined") or not rivals:
            continue
        for name in names:
            mine, theirs = scores[name, method], [scores[name, peer] for peer in rivals]
            better = {
                "median": mine.quantile_s(0.5) < min(score.quantile_s(0.5) for score in theirs),
                "95 %": mine.quantile_s(0.95) < min(score.quantile_s(0.95) for score in theirs),
                "within 100 ms": mine.within(0.1) > max(score.within(0.1) for score in theirs),
            }
            if not all(better.values()):
                worse.append(
                    f"{method.name} on {name} ({', '.join(one for one, is_so in better.items() if not is_so)})"
                )
    return worse


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        folder, kind, engine, *names = sys.argv[2:]
        child(Path(folder), kind, engine, names)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS), metavar="SET")
    parser.add_argument("--methods", nargs="*", choices=ENGINES + PEERS, default=[*ENGINES, *PEERS])
    arguments = parser.parse_args()
    console = Console(width=150)
    console.print(machine(), highlight=False)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copy(MODELS / f"{WHISPER}.pt", folder)
        if (MODELS / "nano-ctc").is_dir():
            shutil.copytree(MODELS / "nano-ctc", folder / "ctc-en")
        os.environ["SINGSCRIPT_MODELS_DIR"] = scratch
        for name in arguments.sets:
            save(folder, name, SETS[name]())
        names = available(folder, arguments.methods, console)
        told = methods([name for name in names if name in ENGINES], [name for name in names if name in PEERS])
        found: dict[Method, dict[str, Found]] = {}
        for method in told:
            found[method] = measured(folder, method, arguments.sets)
        pieces = {name: load(folder, name) for name in arguments.sets}
    scores = {
        (name, method): scored(pieces[name], one.words, knows_lyrics=method.knows_lyrics)
        for method, some in found.items()
        for name, one in some.items()
    }
    console.print(table_of(scores, arguments.sets, told))
    console.print(pace_table(found, sum(piece.duration_s for piece in pieces.values())))
    if any(method.kind in PEERS for method in told):
        worse = not_better(scores, arguments.sets, told)
        console.print("Not better than the best peer:", *(worse or ["nowhere"]), sep="\n  ", highlight=False)


if __name__ == "__main__":
    main()
