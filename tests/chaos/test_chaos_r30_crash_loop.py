"""R30: a job that costs a process its life every time is given up after three attempts, and says why."""

from __future__ import annotations

from pathlib import Path

import chaos
import pytest
from chaos import Event, Result, Rig

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.mark.parametrize("victim", ["separator", "dispatcher"])
def test_r30_a_job_that_kills_its_worker_every_time(rig: Rig, undisturbed: Result, another: Path, victim: str) -> None:
    rig.ready()
    killed: list[int] = []

    def disturb(event: Event) -> None:
        if event.data.get("attempt") not in killed and chaos.computes("separate")(event):
            killed.append(event.data["attempt"])
            rig.kill(victim)

    job, events = rig.done(another, disturb)
    assert events[-1].data["state"] == "failed"
    problem = events[-1].data["problem"]
    expected = "CRASHED" if victim == "dispatcher" else "UPSTREAM_UNAVAILABLE"
    assert problem["reason"] == expected and len(problem["detail"]) > 20
    assert killed == [1, 2, 3]
    assert rig.job(job)["attempt"] == 3
    # The user asks again, and this time nobody dies.
    rig.ready()
    assert rig.http.post(f"/api/jobs/{job}/retry").status_code == 202
    chaos.eventually(lambda: rig.job(job)["state"] in chaos.FINAL_STATES, "the retry ends")
    assert rig.job(job)["state"] == "succeeded"
    assert rig.result(job) == undisturbed
