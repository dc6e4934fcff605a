"""R20: whoever is killed with -9 in whichever stage, the job ends well, with the result that it would have had."""

from __future__ import annotations

from pathlib import Path

import chaos
import pytest
from chaos import SERVICES, Event, Once, Result, Rig

STAGES = ("download", "separate", "transcribe", "align")
EVERYONE = (*SERVICES, "dispatcher", "gateway", "postgres")
VICTIMS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in (*SERVICES, "dispatcher")},
    "everyone": EVERYONE,
}
# Those have done their part by then: the attempt goes on without them.
SPARED = {("downloader", "transcribe"), *((name, "align") for name in ("downloader", "separator", "transcriber"))}
# A quick part that is run with all other tests.
QUICK = {("separator", "separate"), ("everyone", "transcribe")}


def cases() -> list[object]:
    """Those of the quick part share a system."""
    return [
        pytest.param(
            victim,
            stage,
            id=f"{victim}-{stage}",
            marks=[pytest.mark.xdist_group("chaos-r20")] if (victim, stage) in QUICK else [pytest.mark.chaos],
        )
        for victim in VICTIMS
        for stage in STAGES
    ]


@pytest.mark.parametrize(("victim", "stage"), cases())
@pytest.mark.timeout(400)
def test_r20_a_kill_costs_an_attempt_and_not_the_job(
    rig: Rig, undisturbed: Result, another: Path, victim: str, stage: str
) -> None:
    rig.ready()
    kill = Once(chaos.computes(stage), lambda: rig.kill(*VICTIMS[victim]))
    job, events = rig.done(another, kill)
    assert kill.done
    chaos.succeeded(events)
    assert rig.result(job) == undisturbed
    assert rig.job(job)["state"] == "succeeded"
    if (victim, stage) not in SPARED:
        assert chaos.reasons(events), "it was killed too late to be missed"


@pytest.mark.chaos
@pytest.mark.parametrize("victim", ["gateway", "postgres"])
@pytest.mark.timeout(400)
def test_r20_who_computes_nothing_is_killed_in_every_stage_and_costs_nothing(
    rig: Rig, undisturbed: Result, another: Path, victim: str
) -> None:
    rig.ready()
    kills = [Once(chaos.computes(stage), lambda: rig.kill(victim)) for stage in STAGES]

    def disturb(event: Event) -> None:
        for kill in kills:
            kill(event)

    job, events = rig.done(another, disturb)
    assert all(kill.done for kill in kills)
    chaos.succeeded(events)
    assert rig.result(job) == undisturbed
    # Parts of the job before have the same content; while they are removed they are not stored anew.
    assert set(chaos.reasons(events)) <= {"OBJECT_REMOVED"}
