"""R28: a byte that flips in the storage is found; what can be made again is."""

from __future__ import annotations

from pathlib import Path

import chaos
import httpx
import pytest
from chaos import Event, Once, Result, Rig

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


def flip(rig: Rig, artifact: Event) -> None:
    """Turns one bit of every object with these bytes; they are found by their digest, since keys are not told."""
    digest = artifact.data["sha256"].encode()
    files = [f for f in (rig.folder / "storage" / "objects").glob("**/*@") if digest in f.read_bytes()[-400:]]
    assert files
    for path in files:
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 0x10]))


def test_r28_a_stem_that_is_damaged_is_made_again(rig: Rig, undisturbed: Result, another: Path) -> None:
    rig.ready()
    stems: list[Event] = []

    def spoil() -> None:
        """The aligner dies, and what the next attempt would go on from is no good any more."""
        rig.kill("aligner")
        flip(rig, next(e for e in stems if e.data["name"] == "vocals.flac"))

    once = Once(lambda event: event.is_stage("separate", "succeeded"), spoil)

    def disturb(event: Event) -> None:
        if event.kind == "artifact" and event.data["stage"] == "separate":
            stems.append(event)
        once(event)

    job, events = rig.done(another, disturb)
    chaos.succeeded(events)
    assert "STEMS_UNREADABLE" in chaos.reasons(events)
    assert len(stems) == 4, "both were made twice"
    assert rig.result(job) == undisturbed


def test_r28_a_file_that_is_damaged_is_not_given_out_for_whole(rig: Rig, another: Path) -> None:
    rig.ready()
    artifacts: list[Event] = []
    job, events = rig.done(another, lambda event: artifacts.append(event) if event.kind == "artifact" else None)
    chaos.succeeded(events)
    vocals = next(a for a in artifacts if a.data["name"] == "vocals.flac")
    flip(rig, vocals)
    with pytest.raises(httpx.RemoteProtocolError):  # it is cut before its end
        rig.http.get(vocals.data["url"])
    assert rig.http.get(f"/api/jobs/{job}").status_code == 200
