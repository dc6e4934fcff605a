"""The running system: Postgres, the four services, the gateway's API and its dispatcher, each a process."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import platformdirs
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from singscript_serving.channel import dial_blocking
from singscript_standalone.processes import Child, ProcessFailed, Supervisor, free_port, stop_in_order

SERVICES = ("downloader", "separator", "transcriber", "aligner")
START_S = 60.0
# The upper bound of a queue of one machine: one job computes, another one may already download.
DISPATCHER_CONCURRENCY = "2"


def home() -> Path:
    """Where everything is kept: SINGSCRIPT_HOME, or the usual folder for data of this user."""
    return Path(os.environ.get("SINGSCRIPT_HOME") or platformdirs.user_data_dir("singscript")).absolute()


@dataclass(frozen=True)
class System:
    """What runs.

    Attributes:
        url: of the gateway: "http://127.0.0.1:8080".
        services: the address of each service by its name.
        children: all processes, in the order of their start.
        supervisor: watches them; its `restarted` lists who had to be started again.
    """

    url: str
    services: dict[str, str]
    children: list[Child]
    supervisor: Supervisor


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for one run, removed at its end; what crashed runs left behind is removed first."""
    runs = home() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for old in runs.iterdir():
        if old.name.isdigit() and not psutil.pid_exists(int(old.name)):
            shutil.rmtree(old, ignore_errors=True)
    folder = runs / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(
    folder: Path, *, port: int = 0, extra: dict[str, str] | None = None, say: Callable[[str], None] = lambda _: None
) -> Iterator[System]:
    """Starts the system with its data in `folder`; stops every process of it on the way out, however that is.

    Args:
        folder: database, stored objects and logs go there.
        port: of the gateway; 0 takes a free one.
        extra: settings on top of the environment.
        say: told what is being started.
    Raises:
        ProcessFailed: something did not start; the message says what, with the end of its log.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    shared = extra or {}
    if not (os.environ | shared).keys() & {"SINGSCRIPT_S3_ENDPOINT", "SINGSCRIPT_STORAGE_DIR"}:
        shared = shared | {"SINGSCRIPT_STORAGE_DIR": str(folder / "storage")}
    services, children = _services(folder, shared)
    uri_file = folder / "postgres.uri"
    uri_file.unlink(missing_ok=True)
    postgres = _child(folder, "postgres", ("singscript_standalone.postgres", str(folder / "postgres"), str(uri_file)))
    started: list[Child] = []

    def start(child: Child) -> None:
        child.start()
        started.append(child)

    with contextlib.ExitStack() as stack:
        stack.callback(lambda: stop_in_order(started))
        say("starting Postgres and the services")
        start(postgres)
        for child in children:
            start(child)
        with ThreadPoolExecutor(len(SERVICES) + 1) as pool:
            ready = [pool.submit(_wait_for_service, c, services[c.name]) for c in children]
            _child(folder, "storage", ("singscript_storage",), shared).run_to_end(START_S)
            uri = _wait_for_file(postgres, uri_file)
            known = {f"SINGSCRIPT_{name.upper()}": services[name] for name in ("separator", "transcriber", "aligner")}
            gateway = shared | known | {"SINGSCRIPT_DATABASE_URL": uri}
            _child(folder, "migrate", ("singscript_gateway", "migrate"), gateway).run_to_end(START_S)
            say("starting the gateway")
            url = f"http://127.0.0.1:{port or free_port()}"
            listen = {"SINGSCRIPT_LISTEN": url.removeprefix("http://"), "SINGSCRIPT_AUTH": "off"}
            api = _child(folder, "gateway", ("singscript_gateway", "api"), gateway | listen)
            worker = {"SINGSCRIPT_DISPATCHER_CONCURRENCY": DISPATCHER_CONCURRENCY}
            dispatcher = _child(folder, "dispatcher", ("singscript_gateway", "dispatcher"), gateway | worker)
            start(api)
            start(dispatcher)
            for one in ready:
                one.result()
        _wait_for_gateway(api, dispatcher, url)
        supervisor = Supervisor(started)
        supervisor.start()
        stack.pop_all()
    try:
        yield System(url, services, started, supervisor)
    finally:
        supervisor.stop()


@contextmanager
def running_services(folder: Path) -> Iterator[dict[str, str]]:
    """Only the four services: yields the address of each."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    services, children = _services(folder, {})
    try:
        for child in children:
            child.start()
        for child in children:
            _wait_for_service(child, services[child.name])
        yield services
    finally:
        stop_in_order(children)


def _services(folder: Path, shared: dict[str, str]) -> tuple[dict[str, str], list[Child]]:
    addresses = {name: f"127.0.0.1:{free_port()}" for name in SERVICES}
    known = {f"SINGSCRIPT_{name.upper()}": address for name, address in addresses.items()}
    children = [
        _child(folder, name, (f"singscript_{name}",), shared | known | {"SINGSCRIPT_LISTEN": addresses[name]})
        for name in SERVICES
    ]
    return addresses, children


def _child(folder: Path, name: str, arguments: tuple[str, ...], environment: dict[str, str] | None = None) -> Child:
    return Child(name, arguments, environment or {}, folder / "logs" / f"{name}.log")


def _wait_for_file(child: Child, path: Path) -> str:
    deadline_s = time.monotonic() + START_S
    while not path.exists():
        _check(child, deadline_s)
        time.sleep(0.05)
    return path.read_text()


def _wait_for_service(child: Child, address: str) -> None:
    deadline_s = time.monotonic() + START_S
    with dial_blocking(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            _check(child, deadline_s)
            try:
                stub.Check(health_pb2.HealthCheckRequest(), timeout=1)  # pyright: ignore[reportAttributeAccessIssue]  (no stubs)
                return
            except grpc.RpcError:
                time.sleep(0.1)


def _wait_for_gateway(api: Child, dispatcher: Child, url: str) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        _check(api, deadline_s)
        _check(dispatcher, deadline_s)
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)


def _check(child: Child, deadline_s: float) -> None:
    if not child.alive:
        raise ProcessFailed(f"The {child.name} ended at its start:\n{child.tail()}")
    if time.monotonic() > deadline_s:
        raise ProcessFailed(f"The {child.name} was not ready after {START_S:.0f} s:\n{child.tail()}")
