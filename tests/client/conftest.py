"""The gateway's own fixtures: real Postgres, a fresh database a test, real processes; and clients of them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

# Test files are imported without their folder on the path.
sys.path.append(str(Path(__file__).resolve().parents[2] / "gateway" / "tests"))

from gateway_testing import NOBODY, Processes, api_settings, free_address, is_up
from scripted_gateway import System, scripted, served

from singscript_client import Client
from singscript_storage import FolderStore

_PATH = Path(__file__).resolve().parents[2] / "gateway" / "tests" / "conftest.py"
_spec = importlib.util.spec_from_file_location("gateway_conftest", _PATH)
assert _spec and _spec.loader
_gateway = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _gateway
_spec.loader.exec_module(_gateway)

postgres = _gateway.postgres
template = _gateway.template
database_url = _gateway.database_url
pool = _gateway.pool
store = _gateway.store
queue = _gateway.queue
objects = _gateway.objects
processes = _gateway.processes


@pytest.fixture
def address(database_url: str, objects: FolderStore) -> Iterator[str]:
    """Where the API is served, without keys, by a thread of this process; one that can be killed is `mortal`."""
    with served(api_settings(database_url), objects) as address:
        yield address


@pytest.fixture
async def mortal(processes: Processes) -> str:
    """Where an API process serves, the first one that runs."""
    address = free_address()
    processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY)
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
        await is_up(http)
    return address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(f"http://{address}") as client:
        yield client


@pytest.fixture
async def system(processes: Processes, objects: FolderStore, tmp_path: Path) -> AsyncIterator[System]:
    """API and dispatcher, with keys; the aligner behind them is scripted."""
    async with scripted(processes, objects, tmp_path) as system:
        yield system
