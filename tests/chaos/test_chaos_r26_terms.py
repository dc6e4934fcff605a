"""R26: a process that is told to stop under work exits with 0, and the job is done all the same."""

from __future__ import annotations

from pathlib import Path

import chaos
import pytest
from chaos import SERVICES, Once, Result, Rig

VICTIMS = [*SERVICES, "dispatcher", "gateway", "postgres"]
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.mark.parametrize("victim", VICTIMS)
def test_r26_a_process_that_is_told_to_stop(rig: Rig, undisturbed: Result, another: Path, victim: str) -> None:
    rig.ready()
    statuses: list[int] = []
    job, events = rig.done(another, Once(chaos.computes("transcribe"), lambda: statuses.append(rig.terminate(victim))))
    assert statuses == [0]
    chaos.succeeded(events)
    assert rig.result(job) == undisturbed
    assert set(chaos.reasons(events)) <= {"HANDED_BACK", "UPSTREAM_UNAVAILABLE"}
