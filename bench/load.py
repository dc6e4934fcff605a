"""The gateway under load: jobs that are accepted, streams of events, pages, and what its processes hold meanwhile.

    .venv/bin/python bench/load.py [--queued 1000] [--streams 200] [--rate 100] [--seconds 30] [--replicas 3]

Real are Postgres, the API processes, the two dispatchers and the keys. The only stand-in is the aligner: a real gRPC
server that answers each job at once with what a short song gives, so that the load is all the gateway's. First jobs are
queued as fast as they are accepted; then, while all are worked on and streams watch them, more come at a fixed rate.

The times of a POST count from when it was due, so that a gateway that is late is not let off. Those of events are from
when the row was written until its stream's client has it. The peer is Postgres itself: bare INSERTs of the same rows.

Jobs are done as fast as the machine can: it is always busy. So there is processor time beside each process, that of the
load's own clients too, which have the same processors.
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
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp
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

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
# What tests share is no package.
sys.path.append(str(ROOT / "tests" / "support"))

from gateway_testing import (  # noqa: E402  (of the path above)
    Processes,
    eventually,
    execute,
    free_address,
    serving,
    whole_song,
)

_SPAWN = multiprocessing.get_context("spawn")
# Of those that POST, and as many of those that watch: one alone would be the bottleneck.
_CLIENTS = 2
_WORKERS = 30
# Jobs that a dispatcher works on at once.
_CONCURRENCY = 8
_PROBES_PER_S = 10
# How long processes may take to begin, on a machine that is busy.
_START_S = 120.0
# How long streams may take to their jobs' ends, at most.
_STREAMS_END_S = 240.0
# Between two bytes of a stream: heartbeats come far more often.
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_read=60)
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
    cpu_s: float = 0.0

    def __add__(self, other: Watched) -> Watched:
        return Watched(
            self.events + other.events,
            self.streams_ended + other.streams_ended,
            self.refused + other.refused,
            self.missing + other.missing,
            self.repeated + other.repeated,
            self.delays_s + other.delays_s,
            self.cpu_s + other.cpu_s,
        )


@dataclass(frozen=True)
class Made:
    """A job, when it was asked for and how long that took."""

    began_s: float
    took_s: float
    job_id: str


@dataclass(frozen=True)
class Sent:
    """What requests at a rate came to: how long after it was due each was answered."""

    took_s: list[float]
    failed: int
    cpu_s: float


@dataclass(frozen=True)
class Found:
    """What one run has measured; times in seconds."""

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
    used_s: dict[str, float]
    worked_s: float
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
    aligner_pid: int
    scratch: Path


@contextmanager
def scripted_aligner(storage: Path) -> Iterator[tuple[str, int]]:
    """Its address and its pid. A process of its own: what it costs is not the load's."""
    address = free_address()
    process = _SPAWN.Process(target=_serve_aligner, args=(address, storage), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield address, process.pid
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
            with scripted_aligner(scratch / "storage") as (aligner, aligner_pid):
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
                        async with _client(url, {}) as client:
                            await eventually(lambda: _is_alive(client), "the API answers", _START_S)
                    headers = {"Authorization": f"Bearer {await _new_key(server.get_uri())}"}
                    yield System(urls, headers, server.get_uri(), start_dispatchers, pids, aligner_pid, scratch)
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


async def post(client: aiohttp.ClientSession) -> str:
    """A job of a link that no other one has; returns its id."""
    order = {"url": f"https://example.org/{uuid4().hex}.mp3", "lyrics": "Hello\n" * 20}
    async with client.post("/api/jobs", json=order) as answer:
        return (await answer.json())["id"]


def queue_jobs(urls: list[str], headers: dict[str, str], count: int, workers: int) -> list[Made]:
    """In a process of its own: so many jobs, as many at once as there are workers."""
    return asyncio.run(_queue_jobs(urls, headers, count, workers))


async def _queue_jobs(urls: list[str], headers: dict[str, str], count: int, workers: int) -> list[Made]:
    numbers = iter(range(count))
    made: list[Made] = []

    async def work(clients: list[aiohttp.ClientSession]) -> None:
        for number in numbers:
            began_s = time.monotonic()
            job_id = await post(clients[number % len(clients)])
            made.append(Made(began_s, time.monotonic() - began_s, job_id))

    async with _clients(urls, headers) as clients:
        await asyncio.gather(*(work(clients) for _ in range(workers)))
    return made


def post_jobs(urls: list[str], headers: dict[str, str], per_s: float, began_s: float, seconds: float) -> Sent:
    """In a process of its own: one after the other when it is due, whatever became of those before."""

    async def run() -> Sent:
        async with _clients(urls, headers) as clients:
            return await at_rate(per_s, began_s, seconds, lambda n: post(clients[n % len(clients)]))

    return asyncio.run(run())


async def at_rate(per_s: float, began_s: float, seconds: float, do: Callable[[int], Awaitable[object]]) -> Sent:
    """Does it so often from `began_s` on, of the monotonic clock, however long each takes."""
    took_s: list[float] = []
    failed = 0
    began_cpu_s = time.process_time()

    async def once(number: int, due_s: float) -> None:
        nonlocal failed
        try:
            await do(number)
            took_s.append(time.monotonic() - due_s)
        except (aiohttp.ClientError, TimeoutError) as error:
            failed += 1
            if failed == 1:
                print(f"the first that failed: {error!r}", file=sys.stderr)

    async with asyncio.TaskGroup() as group:
        for number in range(round(per_s * seconds)):
            due_s = began_s + number / per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            group.create_task(once(number, due_s))
    return Sent(took_s, failed, time.process_time() - began_cpu_s)


# -- streams


def watch(urls: list[str], headers: dict[str, str], job_ids: list[str], streams: int) -> Watched:
    """In a process of its own: so many streams at once, each of one job after the other, until all jobs have ended."""
    return asyncio.run(_watch(urls, headers, job_ids, streams))


async def _watch(urls: list[str], headers: dict[str, str], job_ids: list[str], streams: int) -> Watched:
    watched = Watched()
    began_cpu_s = time.process_time()
    async with _clients(urls, headers) as clients:

        async def follow(first: int) -> None:
            for number in range(first, len(job_ids), streams):
                await _follow(clients[number % len(clients)], job_ids[number], watched)

        # What came until then counts, should a machine be too slow for all of it.
        with suppress(TimeoutError):
            async with asyncio.timeout(_STREAMS_END_S):
                await asyncio.gather(*(follow(first) for first in range(streams)))
    watched.cpu_s = time.process_time() - began_cpu_s
    return watched


async def _follow(client: aiohttp.ClientSession, job_id: str, watched: Watched) -> None:
    """As an EventSource does it: a stream that ends early is opened again, after the last event that came."""
    last, ended = 0, False
    while not ended:
        try:
            async with client.get(
                f"/api/jobs/{job_id}/events", headers={"Last-Event-ID": str(last)}, timeout=_STREAM_TIMEOUT
            ) as answer:
                opened_s = time.time()
                async for line in answer.content:
                    name, _, value = line.partition(b": ")
                    if name == b"id":
                        number = int(value)
                        watched.events += 1
                        watched.repeated += number <= last
                        watched.missing += max(0, number - last - 1)
                        last = max(last, number)
                    elif name == b"data":
                        data = json.loads(value)
                        ended = data.get("state") in ("succeeded", "failed", "cancelled") and "stage" not in data
                        written_s = datetime.fromisoformat(data["at"]).timestamp()
                        if written_s > opened_s:
                            watched.delays_s.append(time.time() - written_s)
        except (aiohttp.ClientError, TimeoutError):
            watched.refused += 1
            await asyncio.sleep(0.5)
    watched.streams_ended += 1


def _client(url: str, headers: dict[str, str]) -> aiohttp.ClientSession:
    """Raises for what is refused; as many connections as there are requests at once."""
    return aiohttp.ClientSession(
        url,
        headers=headers,
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=60),
        raise_for_status=True,
    )


@asynccontextmanager
async def _clients(urls: list[str], headers: dict[str, str]) -> AsyncIterator[list[aiohttp.ClientSession]]:
    clients = [_client(url, headers) for url in urls]
    try:
        yield clients
    finally:
        for client in clients:
            await client.close()


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
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(2 * _CLIENTS, mp_context=_SPAWN) as processes:
        async with running(load) as system, _clients(system.urls, system.headers) as clients:

            async def each(do: Callable[..., T], *arguments: Callable[[int], object]) -> list[T]:
                """Runs `do` in as many processes as there are clients; the number of each gives its arguments."""
                of_all = ([argument(number) for argument in arguments] for number in range(_CLIENTS))
                calls = (partial(do, system.urls, system.headers, *own) for own in of_all)
                return await asyncio.gather(*(loop.run_in_executor(processes, call) for call in calls))

            def share(count: int) -> Callable[[int], int]:
                return lambda number: count // _CLIENTS + (number < count % _CLIENTS)

            # The start of processes is no load: all of them, of those who POST and of those who watch.
            await asyncio.gather(*(each(queue_jobs, lambda _: 0, lambda _: 0) for _ in range(2)))
            await asyncio.gather(*(_get(client, "/api/jobs") for client in clients))
            api_pids = list(system.pids().values())[: load.replicas]
            began_s, began_cpu_s = time.monotonic(), sum(map(_cpu_s, api_pids))
            of_clients = await each(queue_jobs, share(load.queued), share(_WORKERS))
            accepted_per_s = load.queued / (time.monotonic() - began_s)
            cpu_s = (sum(map(_cpu_s, api_pids)) - began_cpu_s) / load.queued
            made = sorted((one for of_client in of_clients for one in of_client), key=lambda one: one.began_s)
            job_ids = [one.job_id for one in made]

            began_s = time.monotonic()
            streams = asyncio.create_task(each(watch, lambda n: job_ids[n::_CLIENTS], share(load.streams)))
            system.start_dispatchers()
            await eventually(lambda: _is_ready(clients[0]), "the dispatchers live", _START_S)
            before = {name: holding(pid) for name, pid in system.pids().items()}
            worked = system.pids() | {"aligner's stand-in": system.aligner_pid}
            before_s, before_cpu_s, own_cpu_s = time.monotonic(), _cpu_of(worked), time.process_time()
            temporary_files = files_in(system.scratch / "tmp")
            # To look at dozens of connections of Postgres would itself be a load.
            census = Census({name: pid for name, pid in system.pids().items() if name != "postgres"}, every_s=5.0)
            census.start()
            since = datetime.now(UTC)
            # So that all begin at once.
            at_s = time.monotonic() + 0.5
            sent, getting, listing, most_connections = await asyncio.gather(
                each(post_jobs, lambda _: load.rate_per_s / _CLIENTS, lambda _: at_s, lambda _: load.seconds),
                at_rate(_PROBES_PER_S, at_s, load.seconds, _probe(clients, lambda n: f"/{job_ids[n % len(job_ids)]}")),
                at_rate(_PROBES_PER_S, at_s, load.seconds, _probe(clients, lambda _: "")),
                _most_connections(system.database_url, load.seconds),
            )
            watched = sum(await streams, Watched())
            worked_s = time.monotonic() - before_s
            used_s = {name: used - before_cpu_s[name] for name, used in _cpu_of(worked).items()}
            # Those who watch began a little earlier.
            used_s["the load's clients"] = (
                time.process_time() - own_cpu_s + watched.cpu_s + sum(client.cpu_s for client in sent)
            )
            done = await execute(system.database_url, "SELECT count(*) FROM jobs WHERE state = 'succeeded'")
            done_per_s = done[0][0] / (time.monotonic() - began_s)
            census.stop()
            for client in clients:
                await client.close()
            return Found(
                accepted_per_s=accepted_per_s,
                cpu_s=cpu_s,
                queueing_s=[one.took_s for one in made],
                accepting_s=[took_s for client in sent for took_s in client.took_s],
                logged_s=_logged_s(system.scratch / "logs", since),
                refused=sum(client.failed for client in sent),
                getting_s=getting.took_s,
                listing_s=listing.took_s,
                watched=watched,
                done_per_s=done_per_s,
                inserted_per_s=await bare_inserts(system.database_url, _PEER_S),
                database_connections=most_connections,
                database_bytes=(await execute(system.database_url, "SELECT pg_database_size(current_database())"))[0][
                    0
                ],
                before=before,
                after={name: holding(pid) for name, pid in system.pids().items()},
                used_s=used_s,
                worked_s=worked_s,
                slopes={name: slope_percent_per_h(found[len(found) // 3 :]) for name, found in census.found.items()},
                temporary_files=(temporary_files, files_in(system.scratch / "tmp")),
            )


async def _get(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as answer:
        await answer.read()


async def _is_alive(client: aiohttp.ClientSession) -> bool:
    try:
        await _get(client, "/healthz")
    except aiohttp.ClientError:
        return False
    return True


async def _is_ready(client: aiohttp.ClientSession) -> bool:
    try:
        await _get(client, "/readyz")
    except aiohttp.ClientResponseError:
        return False
    return True


def _cpu_s(pid: int) -> float:
    """Processor time that a process has used since it began, with its children, those that have ended too."""
    process = psutil.Process(pid)
    total_s = 0.0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            times = one.cpu_times()
            total_s += times.user + times.system + times.children_user + times.children_system
    return total_s


def _cpu_of(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: _cpu_s(pid) for name, pid in pids.items()}


def _logged_s(logs: Path, since: datetime) -> list[float]:
    """How long each POST since then took, as the API says: without the client, which has the same processors."""
    lines = (json.loads(line) for path in logs.glob("api-*.log") for line in path.read_text().splitlines())
    return [
        line["duration_s"]
        for line in lines
        if line.get("method") == "POST" and datetime.fromisoformat(line["time"]) > since
    ]


def _probe(
    clients: Sequence[aiohttp.ClientSession], below: Callable[[int], str]
) -> Callable[[int], Coroutine[Any, Any, None]]:
    return lambda number: _get(clients[number % len(clients)], f"/api/jobs{below(number)}")


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
        ("row written to client: p50 / p95 / p99", _three(found.watched.delays_s)),
        ("jobs done meanwhile", f"{found.done_per_s:.0f} / s"),
        ("database connections at most", str(found.database_connections)),
        ("database at the end", f"{found.database_bytes / 2**20:.0f} MiB"),
        ("temporary files before, after", f"{found.temporary_files[0]}, {found.temporary_files[1]}"),
    ):
        figures.add_row(*row)
    held = holdings(found.before, found.after, found.slopes)
    used = Table("process", "processor time", "of one core", title=f"in {found.worked_s:.0f} s of work on jobs")
    for name, cpu_s in (found.used_s | {"together": sum(found.used_s.values())}).items():
        used.add_row(name, f"{cpu_s:.1f} s", f"{100 * cpu_s / found.worked_s:.0f} %")
    return [figures, held, used]


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
