"""What processes hold: memory, again and again while they work; file descriptors, connections and threads."""

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
        memory_bytes: what is theirs alone: code and buffers that are shared do not count.
        connections: that are established, on either side.
    """

    memory_bytes: int
    fds: int
    connections: int
    threads: int


def holding(pid: int) -> Holding:
    """As it is now; raises psutil.NoSuchProcess when the process is gone."""
    process = psutil.Process(pid)
    fds = connections = threads = 0
    for one in [process, *process.children(recursive=True)]:
        # A child may end, or lose its memory on the way out, while it is looked at.
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            fds += one.num_fds()
            connections += sum(link.status == psutil.CONN_ESTABLISHED for link in one.net_connections("tcp"))
            threads += one.num_threads()
    return Holding(memory_bytes(pid), fds, connections, threads)


def memory_bytes(pid: int) -> int:
    """Of a process and its children, as in `Holding`: far cheaper than all of that."""
    process = psutil.Process(pid)
    total_bytes = 0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            total_bytes += one.memory_full_info().uss
    return total_bytes


def files_in(folder: Path) -> int:
    """Also those that are being removed just now."""
    return sum(1 for _ in folder.rglob("*"))


class Census(threading.Thread):
    """Looks at the memory every `every_s`, until it is stopped.

    Attributes:
        found: seconds on the monotonic clock, and bytes; by the names that the processes were given.
    """

    def __init__(self, pids: Mapping[str, int], every_s: float) -> None:
        super().__init__(name="census", daemon=True)
        self.found: dict[str, list[tuple[float, int]]] = {name: [] for name in pids}
        self._pids = pids
        self._every_s = every_s
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            for name, pid in self._pids.items():
                with suppress(psutil.NoSuchProcess):
                    self.found[name].append((time.monotonic(), memory_bytes(pid)))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def slope_percent_per_h(found: Sequence[tuple[float, int]]) -> float:
    """How memory grows: the straight line through all samples, as a part of its middle; 0 where there are too few."""
    if len(found) < 3:
        return 0.0
    at_s, held_bytes = np.array(found, float).T
    rise, _ = np.polyfit((at_s - at_s.mean()) / 3600, held_bytes, 1)
    return float(100 * rise / held_bytes.mean())
