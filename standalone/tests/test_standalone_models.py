"""`singscript models`: the commands of separator and transcriber behind it, as they are started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def singscript(*arguments: str, models_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from singscript_standalone.cli import main; main()", *arguments]
    caches = {"TORCH_HOME": str(models_dir / "torch"), "XDG_CACHE_HOME": str(models_dir / "cache")}
    environment = os.environ | caches | {"SINGSCRIPT_MODELS_DIR": str(models_dir)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """With a model of one's own for each of the two services."""
    (tmp_path / "mine.safetensors").write_bytes(b"")
    (tmp_path / "faster-whisper-ear").mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / "faster-whisper-ear" / name).write_bytes(b"")
    return tmp_path


def test_list_shows_models_of_ones_own_and_released_ones(models_dir: Path) -> None:
    done = singscript("models", "list", models_dir=models_dir)
    assert done.returncode == 0, done.stderr
    found = {tuple(line.split(maxsplit=2)[:2]): line.split(maxsplit=2)[2] for line in done.stdout.splitlines()}
    assert found["separator", "mine"] == found["transcriber", "ear"] == "here"
    assert {("separator", "htdemucs_ft"), ("transcriber", "small")} <= set(found)


def test_pulling_what_is_there_does_nothing(models_dir: Path) -> None:
    before = sorted(models_dir.iterdir())
    done = singscript("models", "pull", "mine", "ear", models_dir=models_dir)
    assert (done.returncode, done.stdout) == (0, "ear: here\nmine: here\n"), done.stderr
    assert sorted(models_dir.iterdir()) == before


def test_a_name_that_nobody_knows_is_told_with_all_that_are(models_dir: Path) -> None:
    done = singscript("models", "pull", "mine", "nonsense", models_dir=models_dir)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(text in done.stderr for text in ("'nonsense'", "small", "htdemucs_ft", "ear"))


@pytest.mark.parametrize("arguments", [("pull",), ("push",)])
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert singscript("models", *arguments, models_dir=tmp_path).returncode == 2
