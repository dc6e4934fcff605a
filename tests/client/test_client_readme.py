"""The example of the client's README, as it stands there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from scripted_gateway import System

from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool

README = Path(__file__).resolve().parents[2] / "libs" / "client" / "README.md"


async def test_the_example_runs(system: System, pool: Pool, tmp_path: Path) -> None:
    accounts = AccountStore(pool)
    await accounts.add_user("alice", "Alice", by=None)
    key = (await accounts.add_key("alice", "", ["jobs:read", "jobs:write"], None, by=None))[1]
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code
    song, out = tmp_path / "song.mp3", tmp_path / "out"
    song.write_bytes(b"la" * 1000)
    out.mkdir()
    command = [sys.executable, "-W", "error", "-c", code[1], system.url, key, str(song), str(out)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "2000 of 2000 bytes" in done.stdout and "0.10 s  hello" in done.stdout and " Song succeeded" in done.stdout
    assert {path.name for path in out.iterdir()} == {"vocals.flac", "words.json"}
