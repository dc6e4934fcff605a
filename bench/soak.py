"""Many short jobs through the whole real system, some of them cancelled: does anything grow, or stay behind?

    .venv/bin/python bench/soak.py [--jobs 2000] [--cancelled 0.1] [--at-once 4] [--warm-up 50]

Everything is real, as `singscript up` runs it; the sounds are a second of speech, each with a content of its own, and
the engines are `passthrough` and `sphinx`, so that what grows is ours. After the warm-up, and again at the end, all is
counted while nothing is under way. The growth of memory is that of the straight line through all samples between.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
from census import Census, Holding, files_in, holding, slope_percent_per_h
from load import holdings
from machine import machine
from rich.console import Console
from rich.table import Table
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_client import Client
from singscript_standalone.system import System, running

SPEECH = Path(__file__).parents[1] / "tests" / "support" / "spoken" / "english.flac"
RATE_HZ = 44_100
# Everything that ends by itself has ended by then: connections that nobody uses, removals, heartbeats.
_SETTLE_S = 35.0
_SETTINGS = {
    "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD": "false",
    "SINGSCRIPT_SEPARATOR_ENGINES": "passthrough",
    "SINGSCRIPT_TRANSCRIBER_ENGINES": "sphinx",
    "SINGSCRIPT_ALIGNER_ENGINES": "sphinx",
}


def write_sound(path: Path, speech: np.ndarray, number: int) -> None:
    """A second of it, and as many samples more as its number."""
    with FlacWriter(path, sample_rate_hz=RATE_HZ, channels=2, bits=16) as writer:
        writer.write(speech[: RATE_HZ + number])


def run_jobs(url: str, scratch: Path, numbers: Iterable[int], at_once: int, cancelled: float) -> Counter[str]:
    """How the jobs ended: their last states."""
    speech = np.concatenate(list(decode(SPEECH, sample_rate_hz=RATE_HZ, channels=2)))

    def one(number: int) -> str:
        lots = random.Random(number)
        sound = scratch / f"{number}.flac"
        write_sound(sound, speech, number)
        with Client(url) as client:
            job = client.jobs.create_from_file(sound, lyrics="Ask not what your country can do for you")
            sound.unlink()
            if lots.random() < cancelled:
                time.sleep(lots.uniform(0.0, 2.0))
                # It may have ended meanwhile.
                if not client.jobs.get(job.id).final:
                    client.jobs.cancel(job.id)
            return list(client.jobs.watch(job.id))[-1].data["state"]

    with ThreadPoolExecutor(at_once) as pool:
        return Counter(pool.map(one, numbers))


async def open_handlers(system: System) -> int:
    """Calls that the services which count them still serve."""
    async with (
        grpc.aio.insecure_channel(system.services["separator"]) as separator,
        grpc.aio.insecure_channel(system.services["transcriber"]) as transcriber,
    ):
        separate = separator_pb2_grpc.SeparatorServiceStub(separator)
        transcribe = transcriber_pb2_grpc.TranscriberServiceStub(transcriber)
        found = (
            await separate.GetLoad(separator_pb2.GetLoadRequest(), timeout=10),
            await transcribe.GetLoad(transcriber_pb2.GetLoadRequest(), timeout=10),
        )
        return sum(load.open_streams for load in found)


def pids_of(system: System, folder: Path) -> dict[str, int]:
    pids = {child.name: child.process.pid for child in system.children if child.process}
    # What stands there else only starts the server and stops it.
    return pids | {"postgres": int((folder / "postgres" / "postmaster.pid").read_text().split()[0])}


def settled(pids: dict[str, int]) -> dict[str, Holding]:
    time.sleep(_SETTLE_S)
    return {name: holding(pid) for name, pid in pids.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--cancelled", type=float, default=0.1, help="how many of them, as a part of 1")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--warm-up", type=int, default=50, help="jobs before anything is counted")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="singscript-bench-", ignore_cleanup_errors=True) as scratch:
        folder, sounds, temporary = (Path(scratch) / name for name in ("system", "sounds", "tmp"))
        for made in (folder, sounds, temporary):
            made.mkdir()
        with running(folder, extra=_SETTINGS | {"TMPDIR": str(temporary)}) as system:
            run_jobs(system.url, sounds, range(given.warm_up), given.at_once, given.cancelled)
            pids = pids_of(system, folder)
            before, files_before = settled(pids), files_in(temporary)
            handlers_before = asyncio.run(open_handlers(system))
            census = Census(pids, every_s=5.0)
            census.start()
            began_s = time.monotonic()
            numbers = range(given.warm_up, given.warm_up + given.jobs)
            ends = run_jobs(system.url, sounds, numbers, given.at_once, given.cancelled)
            took_s = time.monotonic() - began_s
            census.stop()
            after, files_after = settled(pids), files_in(temporary)
            slopes = {name: slope_percent_per_h(found) for name, found in census.found.items()}
            figures = Table("what", "measured")
            figures.add_row("jobs", ", ".join(f"{count} {state}" for state, count in ends.most_common()))
            figures.add_row("time", f"{took_s / 60:.1f} min, {given.jobs / took_s:.2f} jobs / s")
            figures.add_row("temporary files before, after", f"{files_before}, {files_after}")
            figures.add_row("calls under way before, after", f"{handlers_before}, {asyncio.run(open_handlers(system))}")
            figures.add_row("processes started again", ", ".join(system.supervisor.restarted) or "none")
            average = f"load average {os.getloadavg()[0]:.1f}"
            Console().print(machine(), average, figures, holdings(before, after, slopes), sep="\n")


if __name__ == "__main__":
    main()
