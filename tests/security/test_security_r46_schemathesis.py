"""The whole API as its OpenAPI document has it, by schemathesis: every check, every phase, real processes (R46).

SINGSCRIPT_TEST_EXAMPLES asks for more cases of each operation, SINGSCRIPT_TEST_SEED for others.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import httpx
import pytest
from gateway_testing import Processes, free_address, is_up, serving, whole_song

from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_storage import FolderStore

EXAMPLES = os.environ.get("SINGSCRIPT_TEST_EXAMPLES", "10")
SEED = os.environ.get("SINGSCRIPT_TEST_SEED", "1")
HERE = Path(__file__).parent
WORDS = {
    "version": 1,
    "language": "en",
    "media": {"title": "Song", "artist": "Someone", "duration_s": 9.0, "webpage_url": "", "format": "flac"},
    "lyrics_given": True,
    "lyrics_source": None,
    "lines": [
        {
            "text": "La la",
            "start_s": 1.2,
            "end_s": 2.1,
            "lyrics_line": 0,
            "words": [
                {"text": "La", "start_s": 1.2, "end_s": 1.5, "confidence": 0.9, "timing": "acoustic"},
                {"text": "la", "start_s": 1.6, "end_s": 2.1, "confidence": 0.9, "timing": "acoustic"},
            ],
        }
    ],
    "unsung": [],
    "unlisted": [],
    "heard": [],
    "dropped": [],
    "stages": {},
    "warnings": [],
}


async def new_user(pool: Pool, name: str) -> dict[str, str]:
    """The headers of a new user, who may do all but run the system."""
    accounts = AccountStore(pool)
    await accounts.add_user(name, name, by=None)
    _, key = await accounts.add_key(name, "", ["jobs:read", "jobs:write", "account"], None, by=None)
    return {"Authorization": f"Bearer {key}"}


async def some_jobs(client: httpx.AsyncClient) -> list[str]:
    """Ids of jobs: with a webhook and without, a part of them cancelled."""
    made: list[str] = []
    for number in range(12):
        order = {"url": "https://example.org/a.mp3"} | (
            {"webhook": {"url": "https://example.org/hook"}} if number % 2 else {}
        )
        made.append((await client.post("/api/jobs", json=order)).json()["id"])
        if number % 3 == 0:
            await client.post(f"/api/jobs/{made[-1]}/cancel")
    return made


@pytest.mark.timeout(0 if "SINGSCRIPT_TEST_EXAMPLES" in os.environ else 300)
async def test_r46_no_answer_breaks_the_contract(
    processes: Processes, pool: Pool, objects: FolderStore, tmp_path: Path
) -> None:
    """Jobs end by themselves meanwhile, so that also the routes of finished ones are met."""
    address = free_address()
    async with serving(whole_song(objects, tmp_path, json.dumps(WORDS).encode())) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_AUTH="keys")
        # Not an operator's: a cheerful fuzzer would disable its own user.
        user = await new_user(pool, "fuzzer")
        async with httpx.AsyncClient(base_url=f"http://{address}", headers=user, timeout=30, trust_env=False) as client:
            await is_up(client)
            jobs = await some_jobs(client)
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", f"--config-file={HERE / 'schemathesis.toml'}"),
            *("run", f"http://{address}/openapi.json", f"--max-examples={EXAMPLES}", f"--seed={SEED}"),
            env=os.environ
            | {
                "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
                "SINGSCRIPT_TEST_KEY": user["Authorization"],
                "SINGSCRIPT_TEST_JOBS": ",".join(jobs),
                "PYTHONPATH": str(HERE),
            },
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await run.communicate()
    text = output.decode()
    assert run.returncode == 0, text[-20_000:]
    assert re.search(r"Stateful \(in", text) and "failures" not in text
    assert "a request failed" not in processes.logs()
