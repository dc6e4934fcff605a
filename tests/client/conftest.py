"""The gateway's own fixtures: real Postgres, a fresh database a test, real processes; and clients of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from gateway_fixtures import *  # noqa: F403  (pytest finds them by their names here)
from gateway_testing import NOBODY, Processes, api_settings, free_address, is_up
from scripted_gateway import System, scripted, served

from singscript_client import Client
from singscript_storage import FolderStore


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
