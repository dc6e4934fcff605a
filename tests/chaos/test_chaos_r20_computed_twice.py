"""R20, inside a stage: what was computed before a late kill is not computed again, but for a part and a segment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import chaos
import pytest
from chaos import Event, Once, Result, Rig

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("chaos-r20-twice"), pytest.mark.timeout(400)]

LENGTH_S = 300.0
LATE_S = 110.0
PART_S = 10.0
# What a network of the separator, or an engine of the transcriber, takes at once.
SEGMENT_S = {"separate": 8.0, "transcribe": 30.0}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Parts of a sixth of their length: so is the sound."""
    with chaos.rig(SINGSCRIPT_SEPARATOR_PART_S=str(PART_S), SINGSCRIPT_TRANSCRIBER_PART_S=str(PART_S)) as made:
        yield made


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Longer than that of the others: there must be something before the kill, and behind it."""
    return chaos.song(tmp_path_factory.mktemp("chaos") / "song.flac", LENGTH_S)


@pytest.mark.parametrize(("victim", "stage"), [("separator", "separate"), ("transcriber", "transcribe")])
def test_r20_audio_seconds_that_are_computed_twice(
    rig: Rig, undisturbed: Result, another: Path, victim: str, stage: str
) -> None:
    rig.ready()
    # Those of the same sound in another file have the same names: while they are removed they are not stored anew.
    parts = rig.folder / "storage" / "objects" / "separate"
    chaos.eventually(lambda: not list(parts.rglob("part*")), "the parts of the jobs before are removed")
    late_s: list[float] = []  # how far the stage had come when it was killed: so much at least was computed

    def is_late(event: Event) -> bool:
        if event.kind == "progress" and event.data["stage"] == stage == "separate":
            late_s.append(event.data["done_s"])
        elif event.kind == "segment" and stage == "transcribe":
            late_s.append(event.data["end_s"])
        return bool(late_s) and late_s[-1] >= LATE_S

    kill = Once(is_late, lambda: rig.kill(victim))
    job, events = rig.done(another, kill)
    assert kill.done
    chaos.succeeded(events)
    assert chaos.reasons(events), "it was killed too late to be missed"
    assert rig.result(job) == undisturbed
    lines = [line for line in rig.log_lines(victim) if line.get("job") == job]
    again_s = [line["computed_s"] for line in lines if "computed_s" in line]
    assert len(again_s) == 1, f"{again_s}: the first attempt was killed, the second one came to its end"
    resumed = [event.data["from_s"] for event in events if event.kind == "resumed" and event.data["stage"] == stage]
    assert len(resumed) == 1
    twice_s = late_s[-1] + again_s[0] - LENGTH_S
    assert twice_s <= PART_S + SEGMENT_S[stage], (late_s[-1], again_s, resumed)
    assert resumed[0] >= LATE_S - PART_S - SEGMENT_S[stage]
