"""Settings, and the rule that engines know no gRPC and load nothing heavy before they must."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
from pydantic import ValidationError

from singscript_audio.writers import FORMATS
from singscript_separator.settings import SeparatorSettings


def test_engines_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SeparatorSettings().separator_engines == ("demucs", "passthrough")  # pyright: ignore[reportCallIssue]  (from the environment)
    monkeypatch.setenv("SINGSCRIPT_SEPARATOR_ENGINES", " passthrough , demucs ")
    assert SeparatorSettings().separator_engines == ("passthrough", "demucs")  # pyright: ignore[reportCallIssue]  (from the environment)


@pytest.mark.parametrize("value", ["", ",", "demucs,spleeter"])
def test_wrong_engines_stop_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SINGSCRIPT_SEPARATOR_ENGINES", value)
    with pytest.raises(ValidationError, match="name one or more of: demucs, passthrough"):
        SeparatorSettings()  # pyright: ignore[reportCallIssue]  (from the environment)


def test_what_is_done_unless_it_is_set_otherwise() -> None:
    settings = SeparatorSettings()  # pyright: ignore[reportCallIssue]  (from the environment)
    assert settings.separator_backend == "auto"
    assert settings.separator_overlap == 0.25  # as Demucs
    assert settings.separator_instrumental == "mix-minus-vocals"
    assert (settings.separator_format, settings.separator_clip) == ("flac", "clamp")


def test_formats_are_those_that_can_be_written() -> None:
    assert get_args(SeparatorSettings.model_fields["separator_format"].annotation) == tuple(FORMATS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKEND", "cuda"),
        ("OVERLAP", "-0.1"),
        ("OVERLAP", "1"),
        ("INSTRUMENTAL", "none"),
        ("FORMAT", "aac"),
        ("CLIP", "none"),
    ],
)
def test_other_wrong_settings_stop_the_start_too(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SINGSCRIPT_SEPARATOR_{name}", value)
    with pytest.raises(ValidationError, match=f"separator_{name.lower()}"):
        SeparatorSettings()  # pyright: ignore[reportCallIssue]  (from the environment)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("singscript_separator.engines.demucs", "grpc"),
        ("singscript_separator.__main__", "torch"),
        ("singscript_separator.__main__", "openvino"),
    ],
)
def test_what_an_import_does_not_bring(module: str, unwanted: str) -> None:
    code = f"import sys, {module}; sys.exit({unwanted!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
