"""Wishes that make no sense are told before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from singscript_standalone import cli


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (["--format", "doc"], "doc"),
        (["--format", "srt,ass", "--format", "vtt, docx"], "docx"),
        (["--title", "Song"], "--lookup"),
        (["--fill", "wave"], "--fill"),
    ],
)
def test_wrong_wishes_are_named(wishes: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_started(*_: object, **__: object) -> None:
        raise AssertionError("the system was started")

    monkeypatch.setattr(cli, "running", not_started)
    song = tmp_path / "song.flac"
    song.touch()
    done = CliRunner().invoke(cli.app, ["run", str(song), *wishes], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 2, done.output
    assert said in done.stderr
