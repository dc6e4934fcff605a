"""The load bench itself works: everything real, a handful of jobs."""

from __future__ import annotations

import sys
from pathlib import Path

# The scripts import each other.
sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

from census import slope_percent_per_h
from load import Load, measure, report


async def test_a_handful_of_jobs() -> None:
    load = Load(queued=6, streams=3, rate_per_s=6, seconds=1, replicas=1, dispatchers=1)
    found = await measure(load)
    assert found.refused == 0
    assert len(found.queueing_s) == 6 and len(found.accepting_s) == 6
    assert (found.watched.streams_ended, found.watched.missing, found.watched.repeated) == (6, 0, 0)
    # Each job tells more than that it was queued, ran and succeeded.
    assert found.watched.events > 6 * 3
    assert all(used_s > 0 for used_s in found.used_s.values())
    assert len(report(load, found)) == 3


def test_slope_of_memory() -> None:
    assert abs(slope_percent_per_h([(float(n), 1000) for n in range(10)])) < 1e-6
    # From 99 to 101 within the hour: 2 %.
    assert abs(slope_percent_per_h([(36.0 * n, 99_000 + 20 * n) for n in range(101)]) - 2.0) < 0.01
