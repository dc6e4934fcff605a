"""Settings, and the rule that engines know no gRPC and load nothing heavy before they must."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from singscript_separator.settings import SeparatorSettings


def test_engines_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SeparatorSettings().separator_engines == ("demucs", "passthrough")  # pyright: ignore[reportCallIssue]
    monkeypatch.setenv("SINGSCRIPT_SEPARATOR_ENGINES", " passthrough , demucs ")
    assert SeparatorSettings().separator_engines == ("passthrough", "demucs")  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("value", ["", ",", "demucs,spleeter"])
def test_wrong_engines_stop_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SINGSCRIPT_SEPARATOR_ENGINES", value)
    with pytest.raises(ValidationError, match="name one or more of: demucs, passthrough"):
        SeparatorSettings()  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [("singscript_separator.engines.demucs", "grpc"), ("singscript_separator.__main__", "torch")],
)
def test_what_an_import_does_not_bring(module: str, unwanted: str) -> None:
    code = f"import sys, {module}; sys.exit({unwanted!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
