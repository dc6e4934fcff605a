"""`singscript models`: the separator's command behind it, as it is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def singscript(*arguments: str, models_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from singscript_standalone.cli import main; main()", *arguments]
    environment = os.environ | {"SINGSCRIPT_MODELS_DIR": str(models_dir), "TORCH_HOME": str(models_dir / "torch")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_list_shows_models_of_ones_own_and_released_ones(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"")
    done = singscript("models", "list", models_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines[0] == ["mine", "here"]
    assert "htdemucs_ft" in [name for name, _ in lines]


def test_pulling_what_is_there_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"")
    done = singscript("models", "pull", "mine", models_dir=tmp_path)
    assert (done.returncode, done.stdout) == (0, "mine: here\n"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


@pytest.mark.parametrize("arguments", [("pull", "nonsense"), ("pull",), ("push",)])
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert singscript("models", *arguments, models_dir=tmp_path).returncode == 2
