"""Systems that are broken on purpose, and what they do when nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import chaos
import pytest
from chaos import Rig


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One system for the tests of a file; the next one waits until it is ready again."""
    with chaos.rig() as made:
        yield made


@pytest.fixture(scope="session")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song of a minute."""
    return chaos.song(tmp_path_factory.mktemp("chaos") / "minute.flac", 60.0)


@pytest.fixture(scope="module")
def undisturbed(rig: Rig, minute: Path) -> chaos.Result:
    """What becomes of `minute` when nothing is broken."""
    job = rig.submit(minute)
    events = list(rig.events(job))
    chaos.succeeded(events)
    return rig.result(job)


@pytest.fixture
def another(minute: Path, tmp_path: Path) -> Path:
    """The same sound in a file that no job has had before."""
    return chaos.another_file(minute, tmp_path / "another.flac")
