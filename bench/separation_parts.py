"""What it costs the separator to keep its work in parts: time, processor time, bytes, and memory by length.

    PYTHONPATH=tests/support .venv/bin/python bench/parts.py [--minutes 10] [--times 3] [--memory-min 5 20]

The real service with a folder as its storage, the demo over and over, and the small network of tests/support, which
is about the worst case: a network of real size takes many times as long for the same parts. Each run is a process of
its own, and runs with and without parts take turns, as machines are shared. What stands is the median.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc
import psutil
from machine import machine
from memory import MODELS, write_input
from rich.console import Console
from rich.table import Table
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_storage import FolderStore

NAME = "nano-htdemucs"


@dataclass(frozen=True, slots=True)
class Run:
    """What one job cost; bytes are of what it stored, and of the process at its peak."""

    took_s: float
    processor_s: float
    part_bytes: int
    stem_bytes: int
    peak_bytes: int


@contextmanager
def serving(scratch: Path) -> Iterator[tuple[psutil.Process, str]]:
    """A separator with `scratch/store` as its storage: its process and its address."""
    settings = {
        "STORAGE_DIR": str(scratch / "store"),
        "MODELS_DIR": str(scratch / "models"),
        "SEPARATOR_MODEL": NAME,
        "SEPARATOR_BACKEND": "torch",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "singscript_separator"],
        env=os.environ | {f"SINGSCRIPT_{name}": value for name, value in settings.items()},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            address = next(found for line in process.stderr if (found := json.loads(line).get("address")))
            yield psutil.Process(process.pid), address
        finally:
            process.terminate()
            process.stderr.read()


def job(address: str, key: str, keep_parts: bool) -> tuple[int, int]:
    """Separates a stored file; bytes of the parts and of the stems."""
    config = separator_pb2.SeparateConfig(
        object=media_pb2.StoredObject(key=key), keep_parts=keep_parts, stems=[media_pb2.STEM_VOCALS]
    )
    requests = iter([separator_pb2.SeparateRequest(config=config)])
    part_bytes = stem_bytes = 0
    with grpc.insecure_channel(address) as channel:
        for answer in separator_pb2_grpc.SeparatorServiceStub(channel).Separate(requests, timeout=3600):
            part_bytes += answer.event.part.size_bytes
            stem_bytes += answer.event.artifact.size_bytes
    return part_bytes, stem_bytes


def measured(scratch: Path, key: str, keep_parts: bool) -> Run:
    with serving(scratch) as (process, address):
        job(address, "warm", keep_parts)  # loads the network
        before_s, started_s = sum(process.cpu_times()[:2]), time.monotonic()
        part_bytes, stem_bytes = job(address, key, keep_parts)
        took_s, processor_s = time.monotonic() - started_s, sum(process.cpu_times()[:2]) - before_s
        status = Path(f"/proc/{process.pid}/status").read_text().split()
        return Run(took_s, processor_s, part_bytes, stem_bytes, int(status[status.index("VmHWM:") + 1]) * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="*", default=[10.0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--memory-min", type=float, nargs="*", default=[5.0, 20.0], help="with parts only, once")
    arguments = parser.parse_args()
    console = Console(width=120)
    console.print(machine(), highlight=False)
    table = Table("input", "parts", "s", "processor s", "MB of parts a minute", "MB of stems a minute", "peak MiB")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "models").mkdir()
        shutil.copy(MODELS / f"{NAME}.safetensors", scratch / "models")
        store = FolderStore(scratch / "store")
        lengths_min = [*arguments.memory_min, *arguments.minutes]
        for key, length_min in [("warm", 0.2), *((f"{m:g}", m) for m in lengths_min)]:
            write_input(scratch / "song.flac", 60 * length_min)
            store.put(key, scratch / "song.flac", "audio/flac")
        for length_min in lengths_min:
            alone = length_min in arguments.memory_min
            runs: dict[bool, list[Run]] = {True: []} if alone else {False: [], True: []}
            for _ in range(1 if alone else arguments.times):
                for keep_parts, done in runs.items():
                    done.append(measured(scratch, f"{length_min:g}", keep_parts))
            for keep_parts, done in runs.items():
                table.add_row(
                    f"{length_min:g} min",
                    "kept" if keep_parts else "",
                    f"{median(run.took_s for run in done):.1f}",
                    f"{median(run.processor_s for run in done):.1f}",
                    f"{done[0].part_bytes / length_min / 1e6:.1f}",
                    f"{done[0].stem_bytes / length_min / 1e6:.1f}",
                    f"{median(run.peak_bytes for run in done) / 2**20:.0f}",
                )
    console.print(table)


if __name__ == "__main__":
    main()
