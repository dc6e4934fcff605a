"""The same POST many times at once, over real sockets, at two replicas that only share the database (R42)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from gateway_testing import NOBODY, Processes, execute, free_address, is_up

from singscript_storage import FolderStore

LINK: dict[str, Any] = {"json": {"url": "https://example.org/song.mp3", "language": "en"}}
FILE: dict[str, Any] = {"files": {"file": ("a.mp3", b"a song" * 100_000), "language": (None, b"en")}}


@pytest.mark.parametrize("order", [LINK, FILE], ids=["link", "file"])
async def test_r42_fifty_at_once_at_two_replicas_are_one_job(
    processes: Processes, database_url: str, objects: FolderStore, order: dict[str, Any]
) -> None:
    addresses = [free_address() for _ in range(2)]
    for address in addresses:
        processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY)
    limits = httpx.Limits(max_connections=60)
    async with httpx.AsyncClient(timeout=60, trust_env=False, limits=limits) as client:
        for address in addresses:
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as one:
                await is_up(one)

        async def post(number: int, key: str, body: dict[str, Any]) -> httpx.Response:
            return await client.post(
                f"http://{addresses[number % 2]}/api/jobs", headers={"Idempotency-Key": key}, **body
            )

        answers = await asyncio.gather(*(post(number, "k", order) for number in range(50)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        assert len({answer.headers["location"] for answer in answers}) == 1
        assert await execute(database_url, "SELECT count(*) FROM jobs") == [(1,)]
        stored = list(objects.list())
        others = await asyncio.gather(
            *(post(number, "k", {"json": {"url": f"https://example.org/{number}"}}) for number in range(10))
        )
        assert {(other.status_code, other.json()["reason"]) for other in others} == {(422, "IDEMPOTENCY_KEY_REUSED")}
        assert await execute(database_url, "SELECT count(*) FROM jobs") == [(1,)] and list(objects.list()) == stored
