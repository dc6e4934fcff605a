"""The client in the README is run as it is written there, against a running aligner."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import numpy as np
from aligner_testing import DATA, Speech, service_of

from singscript_aligner.choice import NAMES
from singscript_aligner.settings import AlignerSettings
from singscript_serving.server import running

README = (Path(__file__).parents[1] / "README.md").read_text()


async def test_the_client_of_the_readme_prints_each_word(speech: Speech, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 22
    (tmp_path / "client.py").write_text(code)
    (tmp_path / "lyrics.txt").write_text("\n".join(speech.texts))
    async with running(*service_of()) as address:
        command = (sys.executable, "client.py", address, str(DATA / "speech.flac"), "lyrics.txt")
        process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=-1, stderr=-1)
        printed, errors = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, errors.decode()
    rows = [line.split() for line in printed.decode().splitlines()]
    assert [row[2] for row in rows] == [text for text, _, _ in speech.words]
    off = [abs(float(row[0]) - start_s) for row, (_, start_s, _) in zip(rows, speech.words, strict=True)]
    assert np.median(off) < 0.03


def test_the_readme_names_every_setting_and_engine() -> None:
    for name in set(AlignerSettings.model_fields) - {"allow_model_download"}:
        assert f"`SINGSCRIPT_{name.upper()}`" in README
    for engine in NAMES:
        assert f"| `{engine}` |" in README
