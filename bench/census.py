"""What processes hold, again and again while they work: memory, file descriptors, connections, threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil


@dataclass(frozen=True)
class Holding:
    """What a process and its children hold.

    Attributes:
        at_s: on the monotonic clock.
        memory_bytes: what is theirs alone: code and buffers that are shared do not count.
        connections: that are established, on either side.
    """

    at_s: float
    memory_bytes: int
    fds: int
    connections: int
    threads: int


def holding(pid: int) -> Holding:
    """As it is now; raises psutil.NoSuchProcess when the process is gone."""
    process = psutil.Process(pid)
    memory_bytes = fds = connections = threads = 0
    for one in [process, *process.children(recursive=True)]:
        # A child may end, or lose its memory on the way out, while it is looked at.
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            memory_bytes += one.memory_full_info().uss
            fds += one.num_fds()
            connections += sum(link.status == psutil.CONN_ESTABLISHED for link in one.net_connections("tcp"))
            threads += one.num_threads()
    return Holding(time.monotonic(), memory_bytes, fds, connections, threads)


def files_in(folder: Path) -> int:
    """Also those that are being removed just now."""
    return sum(1 for _ in folder.rglob("*"))


class Census(threading.Thread):
    """Counts every `every_s`, until it is stopped.

    Attributes:
        found: by the names that the processes were given.
    """

    def __init__(self, pids: Mapping[str, int], every_s: float) -> None:
        super().__init__(name="census", daemon=True)
        self.found: dict[str, list[Holding]] = {name: [] for name in pids}
        self._pids = pids
        self._every_s = every_s
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            for name, pid in self._pids.items():
                with suppress(psutil.NoSuchProcess):
                    self.found[name].append(holding(pid))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def slope_percent_per_h(found: Sequence[Holding]) -> float:
    """How memory grows: the straight line through all samples, as a part of its middle; 0 where there are too few."""
    if len(found) < 3:
        return 0.0
    at_h = np.array([one.at_s for one in found]) / 3600
    memory_bytes = np.array([one.memory_bytes for one in found])
    rise, _ = np.polyfit(at_h - at_h.mean(), memory_bytes, 1)
    return float(100 * rise / memory_bytes.mean())
