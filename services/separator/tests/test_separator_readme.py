"""The client in the README is run as it is written there, against a running separator."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import numpy as np

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_separator.engines import Block
from singscript_separator.settings import ENGINES, SeparatorSettings

README = (Path(__file__).parents[1] / "README.md").read_text()


async def test_the_client_of_the_readme_gets_the_vocals(
    served: Callable[..., AbstractAsyncContextManager[str]], tones: Callable[..., Block], tmp_path: Path
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    (tmp_path / "client.py").write_text(code)
    sound = tones(44_100 * 2)
    with FlacWriter(tmp_path / "song.flac", sample_rate_hz=44_100, channels=2) as writer:
        writer.write(sound)
    async with served(separator_engines=("passthrough",)) as address:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "client.py", address, "song.flac", "vocals.flac", cwd=tmp_path, stdout=-1, stderr=-1
        )
        printed, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    assert "SEPARATION_SKIPPED" in printed.decode()
    vocals = np.concatenate(list(decode(tmp_path / "vocals.flac", sample_rate_hz=44_100, channels=2)))
    np.testing.assert_allclose(vocals, sound, atol=2**-22)


def test_the_readme_names_every_setting_and_engine() -> None:
    for name in SeparatorSettings.model_fields:
        assert f"`SINGSCRIPT_{name.upper()}`" in README
    for engine in ENGINES:
        assert f"| `{engine}` |" in README
