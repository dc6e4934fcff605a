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


@pytest.mark.parametrize(
    ("content", "said"),
    [("Über".encode("latin-1"), "UTF-8"), (b"\xff\xfe\x00", "UTF-8"), (b"", "empty"), (b"\n \r\n", "empty")],
)
def test_lyrics_that_say_nothing_are_refused(
    content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_started(*_: object, **__: object) -> None:
        raise AssertionError("the system was started")

    monkeypatch.setattr(cli, "running", not_started)
    song, words = tmp_path / "song.flac", tmp_path / "words.txt"
    song.touch()
    words.write_bytes(content)
    wishes = ["run", str(song), "--lyrics", str(words)]
    done = CliRunner().invoke(cli.app, wishes, env={"COLUMNS": "400", "NO_COLOR": "1"})
    assert done.exit_code == 2, done.output
    assert said in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lyrics_are_read_as_editors_write_them(encoding: str, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes("Über den Fluss\r\nよし\r\n".encode(encoding))
    assert cli.lyrics_text(words) == "Über den Fluss\r\nよし\r\n"
