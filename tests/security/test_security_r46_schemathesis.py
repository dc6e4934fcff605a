"""The whole API as its OpenAPI document has it, by schemathesis: every check, every phase, real processes (R46).

As a user, as an admin, and as nobody.

SINGSCRIPT_TEST_EXAMPLES asks for more cases of each operation, SINGSCRIPT_TEST_SEED for others.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from gateway_testing import NOBODY, Processes, eventually, free_address, is_up, link, serving, whole_song

from singscript_gateway.auth.model import SCOPES, Scope
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_storage import FolderStore

EXAMPLES = os.environ.get("SINGSCRIPT_TEST_EXAMPLES", "10")
SEED = os.environ.get("SINGSCRIPT_TEST_SEED", "1")
HERE = Path(__file__).parent
pytestmark = pytest.mark.timeout(0 if "SINGSCRIPT_TEST_EXAMPLES" in os.environ else 300)
# Nothing is sent there: it is no public address.
HOOK = "http://127.0.0.1:1/hook"
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


@dataclass(frozen=True)
class Fuzzer:
    """Who asks, and what there is to ask for.

    Attributes:
        key: "": nobody's.
        own: ids of its key and its user.
        ids: what may stand in an address, by the name of the parameter.
    """

    key: str = ""
    own: dict[str, str] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def run(self, address: str, folder: Path, *options: str) -> str:
        """What schemathesis says of the API; fails where it finds something."""
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", f"--config-file={HERE / 'schemathesis.toml'}"),
            *("run", f"http://{address}/openapi.json", f"--seed={SEED}", *options),
            env=os.environ
            | {
                "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
                "SINGSCRIPT_TEST_KEY": f"Bearer {self.key}" if self.key else "",
                "SINGSCRIPT_TEST_OWN": json.dumps(self.own),
                "SINGSCRIPT_TEST_IDS": json.dumps(self.ids),
                "PYTHONPATH": str(HERE),
            },
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await run.communicate()
        text = output.decode()
        assert run.returncode == 0 and "failures" not in text, text[-20_000:]
        return text


async def new_fuzzer(pool: Pool, user: str, *scopes: Scope) -> Fuzzer:
    accounts = AccountStore(pool)
    await accounts.add_user(user, user, by=None)
    key, text = await accounts.add_key(user, "", scopes, None, by=None)
    return Fuzzer(text, {"key_id": key.id, "user_id": user})


async def started(processes: Processes, aligner: str) -> str:
    """The address of an API that asks for keys, and is ready."""
    address = free_address()
    # Long: nothing dies here, but on a busy machine a dispatcher may be silent for a moment.
    settings = {"SINGSCRIPT_ALIGNER": aligner, "SINGSCRIPT_LEASE_S": "60"}
    processes.start("dispatcher", **settings)
    processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_AUTH="keys", **settings)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
        await is_up(client)

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready, "the API is ready")
    return address


async def some_jobs(client: httpx.AsyncClient) -> list[str]:
    """Ids of jobs: with a webhook and without, a part of them cancelled."""
    made: list[str] = []
    for number in range(12):
        order = {"url": link().url} | ({"webhook": {"url": HOOK}} if number % 2 else {})
        made.append((await client.post("/api/jobs", json=order)).json()["id"])
        if number % 3 == 0:
            await client.post(f"/api/jobs/{made[-1]}/cancel")
    return made


async def some_uploads(client: httpx.AsyncClient) -> list[str]:
    """Ids of uploads without a byte."""
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "100000"}
    made = [await client.post("/api/uploads", headers=headers) for _ in range(6)]
    return [one.headers["Location"].rpartition("/")[2] for one in made]


async def test_r46_no_answer_breaks_the_contract(
    processes: Processes, pool: Pool, objects: FolderStore, tmp_path: Path
) -> None:
    """Jobs end by themselves meanwhile, so that also the routes of finished ones are met."""
    async with serving(whole_song(objects, tmp_path, json.dumps(WORDS).encode())) as aligner:
        address = await started(processes, aligner.address)
        # Not an operator's, and not itself: a cheerful fuzzer would disable its own user, and revoke its own key.
        fuzzer = await new_fuzzer(pool, "fuzzer", "jobs:read", "jobs:write", "account")
        base = f"http://{address}"
        async with httpx.AsyncClient(base_url=base, headers=fuzzer.headers, timeout=30, trust_env=False) as client:
            fuzzer.ids.update(job_id=await some_jobs(client), upload_id=await some_uploads(client))
        text = await fuzzer.run(address, tmp_path, f"--max-examples={EXAMPLES}", "--exclude-path-regex=^/api/users")
    assert re.search(r"Stateful \(in", text)
    assert "a request failed" not in processes.logs()


async def test_r46_nor_does_one_to_an_admin(processes: Processes, pool: Pool, tmp_path: Path) -> None:
    """What only an admin may do; the rest is above, where it would be 403."""
    address = await started(processes, NOBODY)
    admin = await new_fuzzer(pool, "operator", *SCOPES)
    users = [f"user-{number}" for number in range(4)]
    keys = [(await new_fuzzer(pool, user, "jobs:read")).own["key_id"] for user in users]
    admin.ids.update(user_id=users, key_id=keys)
    text = await admin.run(address, tmp_path, "--max-examples=5", "--include-path-regex=^/api/(users|audit)")
    assert "Authentication failed" not in text, "each of them was met"
    assert "a request failed" not in processes.logs()


async def test_r46_nor_does_one_to_nobody(processes: Processes, tmp_path: Path) -> None:
    """Without a key, each operation that is not public is 401: a check among the hooks."""
    address = await started(processes, NOBODY)
    await Fuzzer().run(address, tmp_path, "--max-examples=2", "--phases=examples,fuzzing")
    assert "a request failed" not in processes.logs()
