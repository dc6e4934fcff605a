"""R32: no room on a disk, a child that is killed for its memory: that one job fails, and says why."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chaos
import psutil
import pytest
from chaos import Event, Once, Result, Rig

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@contextmanager
def no_room(rig: Rig, name: str, file_bytes: int) -> Iterator[None]:
    """A process that can write no file beyond so many bytes, as if its disk were full. Needs no root."""
    process = psutil.Process(rig.process(name).pid)
    before = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (file_bytes, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, before)


def test_r32_stems_that_find_no_room(rig: Rig, undisturbed: Result, another: Path) -> None:
    rig.ready()
    with no_room(rig, "separator", 100_000):
        job, events = rig.done(another, lambda _: None)
    assert events[-1].data["state"] == "failed"
    problem = events[-1].data["problem"]
    assert problem["reason"] in {"NO_TEMPORARY_SPACE", "STORAGE_UNAVAILABLE"} and problem["stage"] == "separate"
    assert rig.is_ready(), "others may go on"
    # There is room again, and the user asks for it once more.
    assert rig.http.post(f"/api/jobs/{job}/retry").status_code == 202
    chaos.eventually(lambda: rig.job(job)["state"] in chaos.FINAL_STATES, "the retry ends")
    assert rig.result(job) == undisturbed


def test_r32_readiness_drops_while_there_is_no_room_and_comes_back(rig: Rig, another: Path) -> None:
    rig.ready()
    with no_room(rig, "gateway", 0):
        readiness = rig.readiness()
        assert not readiness["ready"] and not readiness["checks"]["storage"]["ok"]
        with another.open("rb") as content:
            answer = rig.http.post("/api/jobs", files={"file": ("song.flac", content)})
        assert answer.status_code in {503, 507}, answer.text
        assert answer.json()["reason"] in {"STORAGE_UNAVAILABLE", "NO_TEMPORARY_SPACE"}
    assert rig.is_ready()


def test_r32_a_child_that_is_killed_for_its_memory(
    rig: Rig, undisturbed: Result, another: Path, tmp_path: Path
) -> None:
    """The kernel kills with -9, and tells nobody else."""
    rig.ready()
    others: list[str] = []

    def kill_child() -> None:
        """While another job begins: the child is of the one that was alone until now."""
        [child] = psutil.Process(rig.process("downloader").pid).children()
        others.append(rig.submit(another))
        chaos.eventually(lambda: rig.job(others[0])["state"] == "running", "the other job begins")
        child.kill()

    def decodes(event: Event) -> bool:
        return event.kind == "progress" and event.data["stage"] == "download" and bool(event.data["done_s"])

    once = Once(decodes, kill_child)
    # So long that its decoder has to wait for those who hear it.
    _, events = rig.done(chaos.song(tmp_path / "victim.flac", 240.0), once)
    assert once.done
    last: Event = events[-1]
    assert last.data["state"] in {"failed", "succeeded"}
    if last.data["state"] == "failed":
        assert last.data["problem"]["stage"] == "download" and len(last.data["problem"]["detail"]) > 20
    chaos.succeeded(list(rig.events(others[0])))
    assert rig.result(others[0]) == undisturbed
