"""Systems that are broken on purpose, and what they do when nobody does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import chaos
import pytest
from chaos import Result, Rig
from filelock import FileLock


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """One system for all tests of a worker that need no other settings; each waits until it is ready again."""
    with chaos.rig() as made:
        yield made


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So long that the first words come while the end is not yet separated, nor even decoded."""
    return chaos.song(tmp_path_factory.mktemp("chaos") / "song.flac", 40.0)


@pytest.fixture(scope="module")
def undisturbed(rig: Rig, sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What becomes of `sound` when nothing is broken: in any system, so that one worker computes it for all."""
    base = tmp_path_factory.getbasetemp()
    kept = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"undisturbed-{sound.stat().st_size}.json"
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            job = rig.submit(sound)
            chaos.succeeded(list(rig.events(job)))
            kept.write_text(json.dumps(asdict(rig.result(job))))
    return Result(**json.loads(kept.read_text()))


@pytest.fixture
def another(sound: Path, tmp_path: Path) -> Path:
    """The same sound in a file that no job has had before."""
    return chaos.another_file(sound, tmp_path / "another.flac")
