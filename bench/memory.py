"""Peak memory on a long input against a short one: the ratio must stay near 1.

    PYTHONPATH=tests/support .venv/bin/python bench/memory.py [--what job lyrics] [--long-min 60] [--short-min 5]

`job` is each service on a whole job. The input is the demo, over and over, as one FLAC file; the engines are
`passthrough` and `sphinx`, so that what grows is ours. Each length runs in a system of its own; the peak is that of a
process and its children together.

`lyrics` is the aligner alone, given speech and all of its text and no transcript, which is the hardest for it: the
spoken lines of tests/support over and over with pauses between. Each length runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

import alignment_truth
import psutil
from machine import machine
from rich.console import Console
from rich.table import Table

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_client import Client
from singscript_standalone.system import System, running

DEMO = Path(__file__).parent.parent / "demo"
MODELS = Path(__file__).parent.parent / "tests" / "support" / "models"
ENGINES = ("sphinx", "whisper", "ctc")
RATE_HZ = 44_100


def write_input(path: Path, duration_s: float) -> None:
    """The demo's mix again and again, `duration_s` long."""
    left = round(duration_s * RATE_HZ)
    mix = next(DEMO.glob("demo.[!vi]*"))
    with FlacWriter(path, sample_rate_hz=RATE_HZ, channels=2, bits=16) as writer:
        for block in chain.from_iterable(decode(f, sample_rate_hz=RATE_HZ, channels=2) for f in repeat(mix)):
            writer.write(block[:left])
            left -= len(block)
            if left <= 0:
                return


class Peaks(threading.Thread):
    """Samples the resident memory of each child and its own children; keeps the highest sum for each."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self._system = system
        self._ended = threading.Event()
        self.peak_bytes: dict[str, int] = {}

    def run(self) -> None:
        while not self._ended.wait(0.2):
            for child in self._system.children:
                with suppress(psutil.NoSuchProcess):
                    assert child.process is not None
                    process = psutil.Process(child.process.pid)
                    total = sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
                    self.peak_bytes[child.name] = max(total, self.peak_bytes.get(child.name, 0))

    def stop(self) -> dict[str, int]:
        self._ended.set()
        self.join()
        return self.peak_bytes


def measure(duration_s: float) -> tuple[dict[str, int], float]:
    """Peak bytes of each process for one input of this length, and how long the job took in seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        song = Path(scratch, "input.flac")
        write_input(song, duration_s)
        with running(Path(scratch)) as system, Client(system.url) as client:
            peaks = Peaks(system)
            peaks.start()
            started_s = time.monotonic()
            job = client.jobs.create_from_file(
                song, separator_engines=["passthrough"], transcriber_engines=["sphinx"], aligner_engines=["sphinx"]
            )
            last = None
            for event in client.jobs.watch(job.id):
                last = event
            assert last is not None and last.data["state"] == "succeeded", last
            return peaks.stop(), time.monotonic() - started_s


def write_speech(folder: Path, duration_s: float) -> None:
    """About `duration_s` of speech, speech.flac, and its text, lyrics.txt."""
    piece = alignment_truth.read("normal")
    pause_s = 10.0
    piece = alignment_truth.repeated(piece, round(duration_s / (piece.duration_s + pause_s)), pause_s)
    with FlacWriter(
        folder / "speech.flac", sample_rate_hz=alignment_truth.SAMPLE_RATE_HZ, channels=1, bits=16
    ) as writer:
        writer.write(piece.samples[:, None])
    (folder / "lyrics.txt").write_text(piece.lyrics)


def align_child(folder: Path, engine: str) -> None:
    """Aligns what `write_speech` wrote; prints peak memory, time, and how many words there were and were timed."""
    from singscript_aligner.align import align_lyrics
    from singscript_aligner.engines import Engine
    from singscript_aligner.engines.ctc import CtcEngine
    from singscript_aligner.engines.sphinx import SphinxEngine
    from singscript_aligner.engines.whisper import WhisperEngine
    from singscript_aligner.lines import LineRules
    from singscript_aligner.lyrics.reading import read_lyrics
    from singscript_aligner.search import Engines
    from singscript_aligner.spool import Spool
    from singscript_aligner.words import Line

    engines: dict[str, Callable[[], Engine]] = {
        "sphinx": SphinxEngine,
        "whisper": lambda: WhisperEngine(folder, "nano-whisper", 0.0),
        "ctc": lambda: CtcEngine(folder),
    }
    lyrics = read_lyrics((folder / "lyrics.txt").read_text(), "en")
    started_s = time.monotonic()
    with Spool() as spool:
        sound = decode(folder / "speech.flac", sample_rate_hz=alignment_truth.SAMPLE_RATE_HZ, channels=1)
        samples = (block[:, 0] for block in sound)
        out = align_lyrics(samples, lyrics, spool, Engines([engines[engine]()], "en"), LineRules())
        timed = sum(len(item.words) for item in out if isinstance(item, Line))
    # Not ru_maxrss: a child inherits that of its parent, which has just made an hour of speech.
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    peak_bytes = int(peak) * 1024
    words = sum(len(line.words) for line in lyrics)
    print(json.dumps([peak_bytes, time.monotonic() - started_s, words, timed]))


def measure_alignment(duration_s: float, engine: str) -> tuple[int, float, int, int]:
    """As `align_child` prints it."""
    with tempfile.TemporaryDirectory() as scratch:
        write_speech(Path(scratch), duration_s)
        shutil.copy(MODELS / "nano-whisper.pt", scratch)
        shutil.copytree(MODELS / "nano-ctc", Path(scratch, "ctc-en"))
        command = [sys.executable, __file__, "--child", scratch, engine]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        peak_bytes, took_s, words, timed = json.loads(done.stdout.splitlines()[-1])
        return peak_bytes, took_s, words, timed


def job_table(short_min: float, long_min: float) -> Table:
    short, short_took_s = measure(short_min * 60)
    long, long_took_s = measure(long_min * 60)
    table = Table("process", f"peak, {short_min:g} min", f"peak, {long_min:g} min", "ratio")
    for name in short:
        table.add_row(
            name, f"{short[name] / 2**20:.0f} MiB", f"{long[name] / 2**20:.0f} MiB", f"{long[name] / short[name]:.2f}"
        )
    table.add_row(
        "whole job took", f"{short_took_s:.0f} s", f"{long_took_s:.0f} s", f"{long_took_s / short_took_s:.2f}"
    )
    return table


def lyrics_table(engines: list[str], short_min: float, long_min: float) -> Table:
    table = Table("aligner engine", "length", "words", "timed", "peak", "took")
    for engine in engines:
        for length_min in (short_min, long_min):
            peak_bytes, took_s, words, timed = measure_alignment(length_min * 60, engine)
            peak = f"{peak_bytes / 2**20:.0f} MiB"
            table.add_row(engine, f"{length_min:g} min", f"{words}", f"{timed}", peak, f"{took_s:.0f} s")
    return table


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        align_child(Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="*", choices=("job", "lyrics"), default=["job", "lyrics"])
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--short-min", type=float, default=5.0)
    parser.add_argument("--long-min", type=float, default=60.0)
    arguments = parser.parse_args()
    console = Console(width=100)
    console.print(machine(), highlight=False)
    if "job" in arguments.what:
        console.print(job_table(arguments.short_min, arguments.long_min))
    if "lyrics" in arguments.what:
        console.print(lyrics_table(arguments.engines, arguments.short_min, arguments.long_min))


if __name__ == "__main__":
    main()
