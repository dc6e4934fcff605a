"""R22: a database that is killed three times under load has every job that was accepted, and does each of them once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chaos
import pytest
from chaos import Rig

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

KILLS = 3
CALLERS = 4
# Between two kills, and after the last one.
ACCEPTED = 25


def test_r22_no_accepted_job_is_lost(rig: Rig, tmp_path: Path) -> None:
    """Each job fails at once, since it is no sound: all of them come to their end beside those that are created."""
    rig.ready()
    no_sound = tmp_path / "notes.txt"
    no_sound.write_text("This is no sound.\n")
    accepted: list[str] = []
    enough = threading.Event()

    def create() -> None:
        while not enough.is_set():
            accepted.append(rig.submit(no_sound))

    with ThreadPoolExecutor(CALLERS) as callers:
        running = [callers.submit(create) for _ in range(CALLERS)]
        try:
            for _ in range(KILLS):
                accepts_more(accepted)
                rig.kill("postgres")
            accepts_more(accepted)
        finally:
            enough.set()
        for one in running:
            one.result()
    assert len(set(accepted)) == len(accepted)
    for job in accepted:
        events = list(rig.events(job))
        assert [e.number for e in events] == list(range(1, len(events) + 1))
        states = [e.data["state"] for e in events if e.kind == "state"]
        assert states[-1] == "failed" and chaos.FINAL_STATES.isdisjoint(states[:-1])


def accepts_more(accepted: list[str]) -> None:
    enough = len(accepted) + ACCEPTED
    chaos.eventually(lambda: len(accepted) >= enough, "more jobs are accepted")
