"""R21: a dispatcher that sleeps longer than its lease finds its job done by another one, and changes nothing of it."""

from __future__ import annotations

from pathlib import Path

import chaos
import pytest
from chaos import Result, Rig

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.mark.parametrize("stage", ["separate", "transcribe"])
def test_r21_a_dispatcher_that_wakes_up_too_late(rig: Rig, undisturbed: Result, another: Path, stage: str) -> None:
    rig.ready()
    job, seen = rig.submit(another), list[chaos.Event]()
    events = rig.events(job)
    for event in events:
        seen.append(event)
        if chaos.computes(stage)(event):
            break
    with rig.frozen("dispatcher"), rig.one_more("dispatcher"):
        seen.extend(events)
        chaos.succeeded(seen)
        assert chaos.reasons(seen) == ["CRASHED"]
        assert rig.result(job) == undisturbed
    chaos.eventually(lambda: gave_up(rig, job), "the first one knows that it is not its job any more")
    assert list(rig.events(job)) == seen
    assert rig.result(job) == undisturbed


def gave_up(rig: Rig, job: str) -> bool:
    ended = [line for line in rig.log_lines("dispatcher") if line["message"] == "attempt ended"]
    return any(line.get("job") == job and (line["attempt"], line["outcome"]) == (1, "fenced") for line in ended)
