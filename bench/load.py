"""The gateway under load: jobs that are accepted, streams of events, pages, and what its processes hold meanwhile.

    .venv/bin/python bench/load.py [--queued 1000] [--streams 200] [--rate 100] [--seconds 30] [--replicas 3]

Real are Postgres, the API processes, the two dispatchers and the keys. The only stand-in is the aligner: a real gRPC
server that answers each job at once with what a short song gives, so that the load is all the gateway's. First jobs are
queued as fast as they are accepted; then, while all are worked on and streams watch them, more come at a fixed rate.

The times of a POST count from when it was due, so that a gateway that is late is not let off. Those of events are from
when the row was written until its stream's client has it. The peer is Postgres itself: bare INSERTs of the same rows.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import psutil
import psycopg
from census import Census, Holding, files_in, holding, slope_percent_per_h
from machine import machine
from rich.console import Console
from rich.table import Table

from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import make_pool, migrate
from singscript_standalone.postgres import start_server
from singscript_storage import FolderStore

ROOT = Path(__file__).parents[1]
# Files of tests are imported without their folder on the path.
sys.path.append(str(ROOT / "gateway" / "tests"))

from gateway_testing import (  # noqa: E402  (of the path above)
    Processes,
    eventually,
    execute,
    free_address,
    serving,
    whole_song,
)

_SPAWN = multiprocessing.get_context("spawn")
_WORKERS = 30
# Jobs that a dispatcher works on at once.
_CONCURRENCY = 8
_PROBES_PER_S = 10
# How long processes may take to begin, on a machine that is busy.
_START_S = 120.0
# How long streams may take to their jobs' ends, at most.
_STREAMS_END_S = 240.0
_PEER_S = 2.0


@dataclass(frozen=True)
class Load:
    """How much of it."""

    queued: int = 1000
    streams: int = 200
    rate_per_s: int = 100
    seconds: int = 30
    replicas: int = 3
    dispatchers: int = 2


@dataclass
class Watched:
    """What streams got."""

    events: int = 0
    streams_ended: int = 0
    refused: int = 0
    missing: int = 0
    repeated: int = 0
    delays_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """What one run has measured; times in seconds, from the shortest to the longest."""

    accepted_per_s: float
    cpu_s: float
    queueing_s: list[float]
    accepting_s: list[float]
    logged_s: list[float]
    refused: int
    getting_s: list[float]
    listing_s: list[float]
    watched: Watched
    done_per_s: float
    inserted_per_s: float
    database_connections: int
    database_bytes: int
    before: dict[str, Holding]
    after: dict[str, Holding]
    slopes: dict[str, float]
    temporary_files: tuple[int, int]


@dataclass(frozen=True)
class System:
    """The running gateway."""

    urls: list[str]
    headers: dict[str, str]
    database_url: str
    start_dispatchers: Callable[[], None]
    pids: Callable[[], dict[str, int]]
    scratch: Path


@contextmanager
def scripted_aligner(storage: Path) -> Iterator[str]:
    """Its address. A process of its own: what it costs is not the load's."""
    address = free_address()
    process = _SPAWN.Process(target=_serve_aligner, args=(address, storage), daemon=True)
    process.start()
    try:
        yield address
    finally:
        process.kill()
        process.join()


def _serve_aligner(address: str, storage: Path) -> None:
    # Of calls that end with their dispatchers.
    logging.disable()

    async def serve() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with serving(whole_song(FolderStore(storage), Path(folder)), listen=address):
                await asyncio.Event().wait()

    asyncio.run(serve())


@asynccontextmanager
async def running(load: Load) -> AsyncIterator[System]:
    """The gateway, without dispatchers until they are started."""
    with tempfile.TemporaryDirectory(prefix="singscript-bench-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        for name in ("logs", "tmp"):
            (scratch / name).mkdir()
        server = start_server(scratch / "postgres")
        try:
            with scripted_aligner(scratch / "storage") as aligner:
                own = {name: value for name, value in os.environ.items() if not name.startswith("SINGSCRIPT_")}
                settings = {
                    "SINGSCRIPT_DATABASE_URL": server.get_uri(),
                    "SINGSCRIPT_STORAGE_DIR": str(scratch / "storage"),
                    "SINGSCRIPT_ALIGNER": aligner,
                    "SINGSCRIPT_DISPATCHER_CONCURRENCY": str(_CONCURRENCY),
                    "TMPDIR": str(scratch / "tmp"),
                }
                processes = Processes(own | settings, scratch / "logs")
                names = [f"api {n + 1}" for n in range(load.replicas)]

                def start_dispatchers() -> None:
                    for n in range(load.dispatchers):
                        processes.start("dispatcher")
                        names.append(f"dispatcher {n + 1}")

                def pids() -> dict[str, int]:
                    started = {name: one.pid for name, one in zip(names, processes.running, strict=True)}
                    postmaster = int((scratch / "postgres" / "postmaster.pid").read_text().split()[0])
                    return started | {"postgres": postmaster}

                try:
                    await migrate(server.get_uri())
                    addresses = [free_address() for _ in range(load.replicas)]
                    for address in addresses:
                        processes.start("api", SINGSCRIPT_LISTEN=address)
                    urls = [f"http://{address}" for address in addresses]
                    for url in urls:
                        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                            await eventually(lambda: _is_alive(client), "the API answers", _START_S)
                    headers = {"Authorization": f"Bearer {await _new_key(server.get_uri())}"}
                    yield System(urls, headers, server.get_uri(), start_dispatchers, pids, scratch)
                finally:
                    processes.stop()
        finally:
            server.cleanup()


async def _new_key(database_url: str) -> str:
    async with make_pool(database_url, max_size=1) as pool:
        accounts = AccountStore(pool)
        await accounts.add_user("load", "Load", by=None)
        return (await accounts.add_key("load", "", ["jobs:read", "jobs:write"], None, by=None))[1]


# -- jobs


async def post(client: httpx.AsyncClient) -> str:
    """A job of a link that no other one has; returns its id."""
    order = {"url": f"https://example.org/{uuid4().hex}.mp3", "lyrics": "Hello\n" * 20}
    answer = await client.post("/api/jobs", json=order)
    answer.raise_for_status()
    return answer.json()["id"]


async def queue_jobs(clients: Sequence[httpx.AsyncClient], count: int) -> tuple[list[str], list[float]]:
    """So many at once as there are workers; returns their ids, the oldest first, and how long each POST took."""
    numbers = iter(range(count))
    made: list[tuple[float, str, float]] = []

    async def work() -> None:
        for number in numbers:
            began_s = time.monotonic()
            made.append((began_s, await post(clients[number % len(clients)]), time.monotonic() - began_s))

    await asyncio.gather(*(work() for _ in range(_WORKERS)))
    return [job_id for _, job_id, _ in sorted(made)], sorted(took_s for _, _, took_s in made)


async def at_rate(per_s: float, seconds: float, do: Callable[[int], Awaitable[object]]) -> tuple[list[float], int]:
    """Does it so often, however long each takes; how long after it was due each was done, and how many failed."""
    began_s = time.monotonic()
    took_s: list[float] = []
    failed = 0

    async def once(number: int, due_s: float) -> None:
        nonlocal failed
        try:
            await do(number)
            took_s.append(time.monotonic() - due_s)
        except httpx.HTTPError as error:
            failed += 1
            if failed == 1:
                print(f"the first that failed: {error!r}", file=sys.stderr)

    async with asyncio.TaskGroup() as group:
        for number in range(round(per_s * seconds)):
            due_s = began_s + number / per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            group.create_task(once(number, due_s))
    return sorted(took_s), failed


# -- streams


def watch(urls: list[str], headers: dict[str, str], job_ids: list[str], streams: int) -> Watched:
    """In a process of its own: so many streams at once, each of one job after the other, until all jobs have ended."""
    return asyncio.run(_watch(urls, headers, job_ids, streams))


async def _watch(urls: list[str], headers: dict[str, str], job_ids: list[str], streams: int) -> Watched:
    watched = Watched()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(url, headers)) for url in urls]

        async def follow(first: int) -> None:
            for number in range(first, len(job_ids), streams):
                await _follow(clients[number % len(clients)], job_ids[number], watched)

        # What came until then counts, should a machine be too slow for all of it.
        with suppress(TimeoutError):
            async with asyncio.timeout(_STREAMS_END_S):
                await asyncio.gather(*(follow(first) for first in range(streams)))
    return watched


async def _follow(client: httpx.AsyncClient, job_id: str, watched: Watched) -> None:
    """As an EventSource does it: a stream that ends early is opened again, after the last event that came."""
    last, ended = 0, False
    while not ended:
        try:
            async with client.stream(
                "GET", f"/api/jobs/{job_id}/events", headers={"Last-Event-ID": str(last)}
            ) as answer:
                answer.raise_for_status()
                opened_s = time.time()
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        number = int(value)
                        watched.events += 1
                        watched.repeated += number <= last
                        watched.missing += max(0, number - last - 1)
                        last = max(last, number)
                    elif name == "data":
                        data = json.loads(value)
                        ended = data.get("state") in ("succeeded", "failed", "cancelled") and "stage" not in data
                        written_s = datetime.fromisoformat(data["at"]).timestamp()
                        if written_s > opened_s:
                            watched.delays_s.append(time.time() - written_s)
        except httpx.HTTPError:
            watched.refused += 1
            await asyncio.sleep(0.5)
    watched.streams_ended += 1


def _client(url: str, headers: dict[str, str]) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=60, limits=limits, trust_env=False)


# -- the peer


async def bare_inserts(database_url: str, seconds: float) -> float:
    """Rows of jobs that Postgres takes in a second from as many connections as the replicas have."""
    await execute(database_url, "CREATE TABLE bare (LIKE jobs INCLUDING ALL)")
    row = await execute(database_url, "SELECT request::text, formats::text FROM jobs LIMIT 1")
    end_s = time.monotonic() + seconds

    async def insert() -> int:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            for count in itertools.count():
                if time.monotonic() > end_s:
                    return count
                values = [uuid4(), *row[0]]
                await connection.execute(
                    "INSERT INTO bare (id, owner, request, formats) VALUES (%s, 'load', %s, %s)", values
                )
        raise AssertionError("an endless count has ended")

    return sum(await asyncio.gather(*(insert() for _ in range(_WORKERS)))) / seconds


# -- all of it


async def measure(load: Load) -> Found:
    async with running(load) as system, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(url, system.headers)) for url in system.urls]
        watchers = stack.enter_context(ProcessPoolExecutor(1, mp_context=_SPAWN))
        # Imports are no load.
        await asyncio.gather(*(client.get("/api/jobs") for client in clients))
        api_pids = list(system.pids().values())[: load.replicas]
        began_s, began_cpu_s = time.monotonic(), _cpu_s(api_pids)
        job_ids, queueing_s = await queue_jobs(clients, load.queued)
        accepted_per_s = load.queued / (time.monotonic() - began_s)
        cpu_s = (_cpu_s(api_pids) - began_cpu_s) / load.queued

        loop = asyncio.get_running_loop()
        began_s = time.monotonic()
        streams = loop.run_in_executor(watchers, watch, system.urls, system.headers, job_ids, load.streams)
        system.start_dispatchers()
        await eventually(lambda: _is_ready(clients[0]), "the dispatchers live", _START_S)
        before = {name: holding(pid) for name, pid in system.pids().items()}
        temporary_files = files_in(system.scratch / "tmp")
        # To look at dozens of connections of Postgres would itself be a load.
        census = Census({name: pid for name, pid in system.pids().items() if name != "postgres"}, every_s=5.0)
        census.start()
        since = datetime.now(UTC)
        (accepting_s, refused), (getting_s, _), (listing_s, _), most_connections = await asyncio.gather(
            at_rate(load.rate_per_s, load.seconds, lambda n: post(clients[n % len(clients)])),
            at_rate(_PROBES_PER_S, load.seconds, _probe(clients, lambda n: f"/api/jobs/{job_ids[n % len(job_ids)]}")),
            at_rate(_PROBES_PER_S, load.seconds, _probe(clients, lambda _: "/api/jobs")),
            _most_connections(system.database_url, load.seconds),
        )
        watched = await streams
        done = await execute(system.database_url, "SELECT count(*) FROM jobs WHERE state = 'succeeded'")
        done_per_s = done[0][0] / (time.monotonic() - began_s)
        census.stop()
        await stack.aclose()
        return Found(
            accepted_per_s=accepted_per_s,
            cpu_s=cpu_s,
            queueing_s=queueing_s,
            accepting_s=accepting_s,
            logged_s=_logged_s(system.scratch / "logs", since),
            refused=refused,
            getting_s=getting_s,
            listing_s=listing_s,
            watched=watched,
            done_per_s=done_per_s,
            inserted_per_s=await bare_inserts(system.database_url, _PEER_S),
            database_connections=most_connections,
            database_bytes=(await execute(system.database_url, "SELECT pg_database_size(current_database())"))[0][0],
            before=before,
            after={name: holding(pid) for name, pid in system.pids().items()},
            slopes={name: slope_percent_per_h(found[len(found) // 3 :]) for name, found in census.found.items()},
            temporary_files=(temporary_files, files_in(system.scratch / "tmp")),
        )


async def _is_alive(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


async def _is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


def _cpu_s(pids: Sequence[int]) -> float:
    """Processor time that they have used since they began."""
    return sum(times.user + times.system for times in (psutil.Process(pid).cpu_times() for pid in pids))


def _logged_s(logs: Path, since: datetime) -> list[float]:
    """How long each POST since then took, as the API says: without the client, which has the same processors."""
    lines = (json.loads(line) for path in logs.glob("api-*.log") for line in path.read_text().splitlines())
    return sorted(
        line["duration_s"]
        for line in lines
        if line.get("method") == "POST" and datetime.fromisoformat(line["time"]) > since
    )


def _probe(
    clients: Sequence[httpx.AsyncClient], path: Callable[[int], str]
) -> Callable[[int], Coroutine[Any, Any, None]]:
    async def get(number: int) -> None:
        (await clients[number % len(clients)].get(path(number))).raise_for_status()

    return get


async def _most_connections(database_url: str, seconds: float) -> int:
    most = 0
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            row = await cursor.fetchone()
            assert row is not None
            most = max(most, row[0])
            await asyncio.sleep(0.5)
    return most


# -- words


def _ms(times_s: Sequence[float], percent: float) -> str:
    return f"{1000 * float(np.percentile(times_s, percent)):.0f} ms" if times_s else "-"


def _three(times_s: Sequence[float]) -> str:
    return " / ".join(_ms(times_s, percent) for percent in (50, 95, 99))


def report(load: Load, found: Found) -> list[Table]:
    figures = Table("what", "measured")
    for row in (
        (f"jobs accepted at most, {_WORKERS} at once", f"{found.accepted_per_s:.0f} / s"),
        ("processor time of a POST, in the API", f"{1000 * found.cpu_s:.1f} ms"),
        ("bare INSERTs of the same Postgres", f"{found.inserted_per_s:.0f} / s"),
        ("accepted of what Postgres takes", f"{found.accepted_per_s / found.inserted_per_s:.2f}"),
        ("POST, as many as go: p50 / p95 / p99", _three(found.queueing_s)),
        (f"POST at {load.rate_per_s} / s: p50 / p95 / p99", _three(found.accepting_s)),
        ("the same as the API logs it", _three(found.logged_s)),
        ("POSTs refused or lost", str(found.refused)),
        ("GET of a job: p50 / p95 / p99", _three(found.getting_s)),
        ("GET of the list: p50 / p95 / p99", _three(found.listing_s)),
        (f"streams at once {load.streams}: ended well", f"{found.watched.streams_ended} of {load.queued}"),
        ("streams refused or cut, and opened again", str(found.watched.refused)),
        ("events delivered", str(found.watched.events)),
        ("events missing, repeated", f"{found.watched.missing}, {found.watched.repeated}"),
        ("row written to client: p50 / p95 / p99", _three(sorted(found.watched.delays_s))),
        ("jobs done meanwhile", f"{found.done_per_s:.0f} / s"),
        ("database connections at most", str(found.database_connections)),
        ("database at the end", f"{found.database_bytes / 2**20:.0f} MiB"),
        ("temporary files before, after", f"{found.temporary_files[0]}, {found.temporary_files[1]}"),
    ):
        figures.add_row(*row)
    return [figures, holdings(found.before, found.after, found.slopes)]


def holdings(before: dict[str, Holding], after: dict[str, Holding], slopes: dict[str, float]) -> Table:
    """What each process held, first and last."""
    table = Table("process", "MiB", "grows, %/h", "descriptors", "connections", "threads")
    for name, first in before.items():
        last = after[name]
        table.add_row(
            name,
            f"{first.memory_bytes / 2**20:.1f} → {last.memory_bytes / 2**20:.1f}",
            f"{slopes[name]:.1f}" if name in slopes else "-",
            f"{first.fds} → {last.fds}",
            f"{first.connections} → {last.connections}",
            f"{first.threads} → {last.threads}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = Load()
    parser.add_argument("--queued", type=int, default=usual.queued)
    parser.add_argument("--streams", type=int, default=usual.streams)
    parser.add_argument("--rate", type=int, default=usual.rate_per_s, help="jobs a second")
    parser.add_argument("--seconds", type=int, default=usual.seconds)
    parser.add_argument("--replicas", type=int, default=usual.replicas)
    parser.add_argument("--dispatchers", type=int, default=usual.dispatchers)
    given = parser.parse_args()
    load = Load(given.queued, given.streams, given.rate, given.seconds, given.replicas, given.dispatchers)
    found = asyncio.run(measure(load))
    Console().print(machine(), f"load average {os.getloadavg()[0]:.1f}", *report(load, found), sep="\n")


if __name__ == "__main__":
    main()
