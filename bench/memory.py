"""Peak memory of each service on a long input against a short one: the ratio must stay near 1.

    .venv/bin/python bench/memory.py [--long-min 60] [--short-min 5]

The input is the demo, over and over, as one FLAC file; the engines are `passthrough` and `sphinx`, so that what
grows is ours. Each length runs in a system of its own; the peak is that of a process and its children together.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

import psutil
from machine import machine
from rich.console import Console
from rich.table import Table

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_standalone.client import Client
from singscript_standalone.system import System, running

DEMO = Path(__file__).parent.parent / "demo"
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
            job = client.submit_file(
                song, separator_engines="passthrough", transcriber_engines="sphinx", aligner_engines="sphinx"
            )
            last = None
            for event in client.events(job["id"]):
                last = event
            assert last is not None and last.data["state"] == "succeeded", last
            return peaks.stop(), time.monotonic() - started_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short-min", type=float, default=5.0)
    parser.add_argument("--long-min", type=float, default=60.0)
    arguments = parser.parse_args()
    short, short_took_s = measure(arguments.short_min * 60)
    long, long_took_s = measure(arguments.long_min * 60)
    table = Table("process", f"peak, {arguments.short_min:g} min", f"peak, {arguments.long_min:g} min", "ratio")
    for name in short:
        table.add_row(
            name, f"{short[name] / 2**20:.0f} MiB", f"{long[name] / 2**20:.0f} MiB", f"{long[name] / short[name]:.2f}"
        )
    table.add_row(
        "whole job took", f"{short_took_s:.0f} s", f"{long_took_s:.0f} s", f"{long_took_s / short_took_s:.2f}"
    )
    console = Console(width=100)
    console.print(machine(), highlight=False)
    console.print(table)


if __name__ == "__main__":
    main()
