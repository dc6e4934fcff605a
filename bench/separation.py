"""Separation beside `demucs.api.Separator`, on the same file and weights: time, memory, and how alike the vocals are.

    .venv/bin/python bench/separation.py [--minutes 1 10] [--long 60] [--streams 1 4 16]

The network has the size of the released `htdemucs` and random weights, on which its speed does not depend. LayerScale
is raised from its initial value, or what the residual branches compute would not show. Each run is a process of its
own; times are of the work alone, after everything is loaded. The peer runs with `shifts=0`, which makes it quicker than
its command is by default, and with all cores; the command itself is there once, as users call it, with all its time.
`--long` is ours only: the peer would need 273 MB for every minute.

Two figures say how alike the vocals are: beside the peer as it is, which normalises by the whole track, and beside
`demucs.apply.apply_model` with our normalisation, by the first segment. The first one depends on how well the network
was trained to mind no constant offset (this one was not trained at all), the second on the arithmetic alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from memory import write_input
from rich.console import Console
from rich.table import Table

RATE_HZ = 44_100
SIZE: dict[str, Any] = {
    "sources": ["drums", "bass", "other", "vocals"],
    "channels": 48,
    "depth": 4,
    "bottom_channels": 512,
    "t_layers": 5,
    "t_heads": 8,
    "dconv_mode": 3,
    "segment": Fraction(39, 5),
}


@dataclass(frozen=True, slots=True)
class Run:
    """What one process measured."""

    took_s: float
    peak_bytes: int
    first_s: float = 0.0
    device: str = "cpu"


def write_model(folder: Path) -> None:
    """`real.th`: an HTDemucs of the released size, with random weights."""
    import torch
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    network = HTDemucs(**SIZE)
    for name, parameter in network.named_parameters():
        if name.endswith("scale") and parameter.dim() == 1:
            parameter.data.fill_(0.3)
    package = {"klass": HTDemucs, "args": (), "kwargs": SIZE, "state": network.state_dict(), "training_args": {}}
    torch.save(package, folder / "real.th")


def peer(folder: Path, song: Path, overlap: float, vocals: Path) -> Run:
    """`demucs.api.Separator`, in this process."""
    from demucs.api import Separator

    separator = Separator("real", folder, device="cpu", shifts=0, overlap=overlap, split=True)
    started_s = time.monotonic()
    _, stems = separator.separate_audio_file(song)
    took_s = time.monotonic() - started_s
    run = Run(took_s, _peak_bytes(), took_s)
    stems["vocals"].numpy().T.astype("<f4").tofile(vocals)
    if song.stat().st_size < 20_000_000:
        as_we_scale(separator, song, overlap).astype("<f4").tofile(_scaled(vocals))
    return run


def as_we_scale(separator: Any, song: Path, overlap: float) -> np.ndarray:
    """The vocals that `apply_model` gives when it is normalised as our stream is, shape (n, 2)."""
    import torch
    from demucs.apply import apply_model

    from singscript_audio.decode import decode
    from singscript_separator.engines.separation import Scale

    mix = np.concatenate(list(decode(song, sample_rate_hz=RATE_HZ, channels=2))).T
    scale = Scale.of(mix[:, : int(RATE_HZ * SIZE["segment"])])
    wanted = torch.from_numpy((mix - np.float32(scale.mean)) / np.float32(scale.deviation))
    sources = apply_model(separator.model, wanted[None], shifts=0, overlap=overlap)[0].numpy()
    return (sources[SIZE["sources"].index("vocals")] * np.float32(scale.deviation) + np.float32(scale.mean)).T


def _scaled(vocals: Path) -> Path:
    return vocals.with_suffix(".scaled")


def command(folder: Path, song: Path, scratch: Path) -> Run:
    """`python -m demucs --two-stems vocals`, from its start to its end."""
    started_s = time.monotonic()
    demucs = [sys.executable, "-m", "demucs", "--repo", str(folder), "-n", "real", "-d", "cpu", "--two-stems", "vocals"]
    subprocess.run([*demucs, "-o", str(scratch / "out"), str(song)], check=True, capture_output=True)
    peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    took_s = time.monotonic() - started_s
    return Run(took_s, peak_bytes, took_s)


def ours(folder: Path, song: Path, overlap: float, backend: Any, streams: int, vocals: Path) -> Run:
    """The engine as the service runs it, in this process; all streams have the same song."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from singscript_audio.decode import decode
    from singscript_core.stopping import Stop
    from singscript_models.reach import Reach
    from singscript_models.scheduler import Scheduler
    from singscript_separator.engines.demucs import Demucs, Options

    engine = Demucs("real", folder, False, Reach(), Scheduler(), Options(overlap=overlap, backend=backend))
    getting_ready = engine.ready("real", "vocals")
    while True:
        try:
            next(getting_ready)
        except StopIteration as end:
            ready = end.value
            break
    firsts_s: list[float] = []

    def one(out: Path) -> None:
        blocks = decode(song, sample_rate_hz=RATE_HZ, channels=2)
        with out.open("wb") as file:
            for place, part in enumerate(ready.separate(blocks, sample_rate_hz=RATE_HZ, channels=2, stop=Stop())):
                if not place:
                    firsts_s.append(time.monotonic() - started_s)
                file.write(part.parts["vocals"].astype("<f4").tobytes())

    started_s = time.monotonic()
    threads = [threading.Thread(target=one, args=(vocals.with_suffix(f".{n}"),)) for n in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - started_s
    vocals.with_suffix(".0").replace(vocals)
    return Run(took_s, _peak_bytes(), max(firsts_s), ready.chosen.device)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(*arguments: object) -> Run:
    """Runs this script as `--child` in a process of its own."""
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def child(kind: str, *arguments: str) -> Run:
    folder, song, overlap, vocals = Path(arguments[0]), Path(arguments[1]), float(arguments[2]), Path(arguments[-1])
    if kind == "command":
        return command(folder, song, vocals)
    if kind == "peer":
        return peer(folder, song, overlap, vocals)
    return ours(folder, song, overlap, arguments[3], int(arguments[4]), vocals)


def snr_db(truth: Path, found: Path) -> float:
    """How far two files of samples differ; read piece by piece."""
    signal = noise = 0.0
    for expected, got in zip(_pieces(truth), _pieces(found), strict=True):
        signal += float(np.square(expected, dtype=np.float64).sum())
        noise += float(np.square(expected - got, dtype=np.float64).sum())
    return 10 * float(np.log10(signal / noise))


def _pieces(path: Path) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while data := file.read(1 << 22):
            yield np.frombuffer(data, "<f4")


def lengths_table(folder: Path, scratch: Path, minutes: list[float], long_min: float) -> Table:
    table = Table(
        "input",
        "what",
        "overlap",
        "s per s of sound",
        "ratio",
        "first stem after",
        "SNR",
        "SNR, same scale",
        "peak memory",
    )
    for length_min in [*minutes, *([long_min] if long_min else [])]:
        song = scratch / f"{length_min:g}.flac"
        write_input(song, length_min * 60)
        length_s = length_min * 60
        rows: list[tuple[str, float, Run, float | None, list[str]]] = []
        if length_min != long_min:
            for overlap in (0.25, 0.1):
                truth, found = scratch / "truth", scratch / "found"
                alone = measured("peer", folder, song, overlap, truth)
                rows.append(("demucs.api", overlap, alone, None, ["", ""]))
                for backend in ("openvino", "torch") if length_min == minutes[0] else ("auto",):
                    run = measured("ours", folder, song, overlap, backend, 1, found)
                    alike = [f"{snr_db(one, found):.1f} dB" if one.exists() else "" for one in (truth, _scaled(truth))]
                    rows.append((f"{backend}: {run.device}", overlap, run, run.took_s / alone.took_s, alike))
                _scaled(truth).unlink(missing_ok=True)
            if length_min == minutes[0]:
                rows.append(
                    ("python -m demucs", 0.25, measured("command", folder, song, 0.25, scratch), None, ["", ""])
                )
        else:
            run = measured("ours", folder, song, 0.25, "auto", 1, scratch / "found")
            rows.append((run.device, 0.25, run, None, ["", ""]))
        for name, overlap, run, ratio, alike in rows:
            table.add_row(
                f"{length_min:g} min",
                name,
                f"{overlap:g}",
                f"{run.took_s / length_s:.3f}",
                "" if ratio is None else f"{ratio:.2f}",
                f"{run.first_s:.1f} s",
                *alike,
                f"{run.peak_bytes / 2**20:.0f} MiB",
            )
        song.unlink()
    return table


def streams_table(folder: Path, scratch: Path, streams: list[int], length_s: float) -> Table:
    table = Table("streams at once", "s per s of sound, all together", "first stem of the last after", "peak memory")
    song = scratch / "short.flac"
    write_input(song, length_s)
    for count in streams:
        run = measured("ours", folder, song, 0.25, "auto", count, scratch / "found")
        table.add_row(
            f"{count}",
            f"{run.took_s / (length_s * count):.3f}",
            f"{run.first_s:.1f} s",
            f"{run.peak_bytes / 2**20:.0f} MiB",
        )
    return table


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        run = child(*sys.argv[2:])
        print(json.dumps({name: getattr(run, name) for name in Run.__slots__}))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="*", default=[1.0, 10.0])
    parser.add_argument("--long", type=float, default=60.0, help="minutes; 0: none")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--stream-s", type=float, default=30.0)
    arguments = parser.parse_args()
    console = Console(width=120)
    console.print(machine(), highlight=False)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "models")
        folder.mkdir()
        write_model(folder)
        # Converts the weights, and measures which backend is quicker: once, and not part of what follows.
        song = Path(scratch, "first.flac")
        write_input(song, 1.0)
        measured("ours", folder, song, 0.25, "auto", 1, Path(scratch, "found"))
        if arguments.minutes or arguments.long:
            console.print(lengths_table(folder, Path(scratch), arguments.minutes, arguments.long))
        if arguments.streams:
            console.print(streams_table(folder, Path(scratch), arguments.streams, arguments.stream_s))


if __name__ == "__main__":
    main()
