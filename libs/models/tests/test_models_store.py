"""Where weights are kept, and who may write there when."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from singscript_core.events import Progress
from singscript_models import store
from singscript_models.download import DownloadFailed
from singscript_models.store import cache_dir, exclusive, store_dir

ReadOnly = Callable[..., None]


@pytest.fixture
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "models"


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> ReadOnly:
    """Who runs the tests may be root, who may write everywhere but on a read-only disk."""

    def make(*folders: Path) -> None:
        real = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in folders and real(path, mode))

    return make


def test_the_models_folder_is_the_store_and_is_made(models_dir: Path) -> None:
    assert store_dir(models_dir) == models_dir
    assert models_dir.is_dir()


def test_the_cache_stands_in_for_a_read_only_folder(models_dir: Path, tmp_path: Path, read_only: ReadOnly) -> None:
    read_only(models_dir)
    assert store_dir(models_dir) == cache_dir(models_dir)
    assert cache_dir(models_dir).is_relative_to(tmp_path / "cache")
    assert cache_dir(models_dir) != cache_dir(tmp_path / "others")


def test_where_nothing_can_be_written_what_is_there_still_has_its_place(models_dir: Path, read_only: ReadOnly) -> None:
    read_only(models_dir, cache_dir(models_dir))
    assert store_dir(models_dir) == models_dir
    with pytest.raises(DownloadFailed, match="SINGSCRIPT_MODELS_DIR and the user's cache are read-only"):
        next(exclusive(store_dir(models_dir), "x"))


def test_folders_that_cannot_be_made_are_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert store_dir(tmp_path / "file" / "models") == tmp_path / "file" / "models"


def test_one_works_and_the_others_wait(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_WAIT_S", 0.0)
    folder = store_dir(models_dir)
    with entered(folder, "x") as work:
        assert work.is_dir() and work.parent == folder
        second = exclusive(folder, "x")
        assert [next(second) for _ in range(3)] == [Progress(0.0)] * 3
        with entered(folder, "y"):
            pass  # others are not in the way
    with pytest.raises(StopIteration) as end:
        next(second)
    with end.value.value:
        third = exclusive(folder, "x")
        assert next(third) == Progress(0.0)
        third.close()
    with entered(folder, "x"):
        pass  # neither one who gave up nor one who is done is in the way


def test_a_process_that_is_killed_is_not_in_the_way(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_WAIT_S", 0.0)
    folder = store_dir(models_dir)
    code = (
        "import sys, time; from pathlib import Path; from singscript_models.store import exclusive\n"
        "steps = exclusive(Path(sys.argv[1]), 'x')\n"
        "try: next(steps)\n"
        "except StopIteration as end:\n"
        "    with end.value: print('mine', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "mine\n"
            waiting = exclusive(folder, "x")
            assert next(waiting) == Progress(0.0)
        finally:
            process.kill()
    with pytest.raises(StopIteration) as end:
        for _ in range(1000):
            next(waiting)
    with end.value.value:
        pass


def entered(folder: Path, name: str) -> AbstractContextManager[Path]:
    """The lock, which is free."""
    with pytest.raises(StopIteration) as end:
        next(exclusive(folder, name))
    return end.value.value
