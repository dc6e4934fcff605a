"""What the command of a service with models prints, and its exit statuses, over a shelf that is made up here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest

from singscript_core.errors import EngineUnavailable
from singscript_core.events import Progress
from singscript_models.command import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, main

Command = Callable[..., int]


class Shelf:
    """Has "whole" and what is asked for; "broken" and "endless" cannot be had."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir

    def names(self) -> Sequence[str]:
        return ["whole", "broken", "endless"]

    def knows(self, name: str) -> bool:
        return name in self.names()

    def state(self, name: str) -> str:
        return "here" if (self._models_dir / name).exists() else "to download"

    def fetch(self, name: str) -> Generator[Progress]:
        yield Progress(0.0)
        yield Progress(0.0, done_bytes=1_250_000, total_bytes=2_500_000)
        yield Progress(0.0, done_bytes=1_500_000)
        if name == "broken":
            raise EngineUnavailable("weights.example answered 404.")
        if name == "endless":
            raise KeyboardInterrupt
        (self._models_dir / name).touch()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("SINGSCRIPT_MODELS_DIR", str(tmp_path))
    return lambda *arguments: main(Shelf, "Choir", "whole", arguments)


@pytest.mark.parametrize(
    ("terminal", "shown"),
    [
        (False, ["whole: waiting", "whole: here"]),  # one line in five seconds
        (True, ["", "whole: waiting", "whole: 1.2 MB of 2.5 MB", "whole: 1.5 MB", "whole: here"]),
    ],
)
def test_a_model_is_pulled_and_listed(
    command: Command,
    terminal: bool,
    shown: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert command("pull", "whole") == 0
    lines = capsys.readouterr().out.replace("\n", "" if terminal else "\r").removesuffix("\r").split("\r")
    assert [line.rstrip() for line in lines] == shown
    assert command("list") == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert listed == [["whole", "here"], ["broken", "to download"], ["endless", "to download"]]


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("broken", EXIT_FAILED, "weights.example answered 404.\n"),
        ("endless", EXIT_INTERRUPTED, "interrupted; what was downloaded so far is kept for the next time\n"),
    ],
)
def test_a_pull_that_fails(
    command: Command, name: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("pull", name) == status
    assert capsys.readouterr().err == f"\n{said}"


def test_a_name_that_nobody_knows_stops_all(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("pull", "whole", "nonsense") == EXIT_USAGE
    said = "There is no Choir model named 'nonsense'. Choose from: whole, broken, endless.\n"
    assert capsys.readouterr() == ("", said)
    assert not list(tmp_path.iterdir())


def test_a_wrong_setting_is_wrong_usage(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SINGSCRIPT_ALLOW_MODEL_DOWNLOAD", "maybe")
    assert command("list") == EXIT_USAGE
    assert capsys.readouterr().err.startswith("A setting is wrong.\n")
