"""R23: a service that is frozen is an error and then a retry, not a job that hangs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import chaos
import pytest
from chaos import Event, Once, Result, Rig

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    ("victim", "stage"),
    [("downloader", "download"), ("separator", "separate"), ("transcriber", "transcribe"), ("aligner", "align")],
)
def test_r23_a_frozen_service(rig: Rig, undisturbed: Result, another: Path, victim: str, stage: str) -> None:
    rig.ready()
    pid = rig.process(victim).pid
    freeze = Once(chaos.computes(stage), lambda: os.kill(pid, signal.SIGSTOP))
    # It wakes up when the error is there: what it was at is nobody's any more.
    thaw = Once(lambda event: bool(chaos.reasons([event])), lambda: os.kill(pid, signal.SIGCONT))

    def disturb(event: Event) -> None:
        freeze(event)
        thaw(event)

    try:
        job, events = rig.done(another, disturb)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert freeze.done and thaw.done
    chaos.succeeded(events)
    assert chaos.reasons(events)[0] == "UPSTREAM_UNAVAILABLE"
    assert rig.result(job) == undisturbed
    assert rig.process(victim).pid == pid, "it was the same process"


def test_r23_a_frozen_gateway_is_late_and_nothing_more(rig: Rig, undisturbed: Result, another: Path) -> None:
    rig.ready()
    pid = rig.process("gateway").pid
    job = rig.submit(another)
    with rig.frozen("gateway"):
        done = chaos.eventually(lambda: [e for e in rig.log_lines("dispatcher") if ended(e, job)], "the job ends")
    assert [line["outcome"] for line in done] == ["succeeded"]
    events = list(rig.events(job))
    chaos.succeeded(events)
    assert rig.result(job) == undisturbed
    assert rig.process("gateway").pid == pid


def ended(line: dict[str, object], job: str) -> bool:
    return line["message"] == "attempt ended" and line.get("job") == job
