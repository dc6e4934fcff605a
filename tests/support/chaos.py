"""What the chaos tests do to a running system: kill, freeze and stop its processes, and follow jobs all the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from httpx_sse import connect_sse

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_client.options import as_form
from singscript_standalone.demo import SONG, TEST_ENGINES, with_test_models
from singscript_standalone.processes import Child, stop_in_order
from singscript_standalone.system import System, running

RATE_HZ = 44_100
# So long that only something that never comes is given up.
PATIENCE_S = 180.0
FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
SERVICES = ("downloader", "separator", "transcriber", "aligner")

# A dead dispatcher is noticed in seconds; the relations are those of the defaults, with room for a busy machine.
QUICK = {
    "SINGSCRIPT_HEARTBEAT_S": "1.5",
    "SINGSCRIPT_LEASE_S": "8",
    "SINGSCRIPT_SWEEP_S": "0.5",
    "SINGSCRIPT_RETRY_BASE_S": "4",
    "SINGSCRIPT_RETRY_CAP_S": "8",
    # Several of these systems share a machine; threads that wait for each other would take much of it.
    "OMP_NUM_THREADS": "1",
}


def eventually(condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """The first true answer of `condition`."""
    deadline_s = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < deadline_s, f"this never came true: {what}"
        time.sleep(0.05)
    return answer


@dataclass(frozen=True)
class Event:
    """One event of a job: its number, its kind and its fields."""

    number: int
    kind: str
    data: dict[str, Any]

    def is_stage(self, stage: str, state: str) -> bool:
        return self.kind == "stage" and (self.data["stage"], self.data["state"]) == (stage, state)


@dataclass
class Rig:
    """A running system, to be broken. Whatever ends is started again by its own supervisor, as often as it takes."""

    system: System
    folder: Path
    http: httpx.Client

    # -- processes

    def child(self, name: str) -> Child:
        return next(child for child in self.system.children if child.name == name)

    def process(self, name: str) -> subprocess.Popen[bytes]:
        process = self.child(name).process
        assert process is not None
        return process

    def pids(self, name: str) -> list[int]:
        """The process, and with Postgres the server that it looks after."""
        pids = [self.process(name).pid]
        if name == "postgres":
            pids.append(int((self.folder / "postgres" / "postmaster.pid").read_text().splitlines()[0]))
        return pids

    def kill(self, *names: str) -> None:
        """SIGKILL; of Postgres both the server and the process that looks after it."""
        for pid in [pid for name in names for pid in self.pids(name)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end."""
        pid = self.process(name).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def terminate(self, name: str) -> int:
        """SIGTERM; the exit status. It is started again after that."""
        process = self.process(name)
        process.terminate()
        return process.wait(60)

    def change(self, name: str, **environment: str) -> None:
        """Other settings for a process, which is started again with them."""
        child = self.child(name)
        child.environment = child.environment | environment
        process = self.process(name)
        process.terminate()
        process.wait(60)
        eventually(lambda: self.process(name).pid != process.pid, f"the {name} is started again")
        self.ready()

    @contextmanager
    def one_more(self, like: str) -> Iterator[Child]:
        """A second process of a kind, which nobody starts again."""
        model = self.child(like)
        second = replace(model, name=f"second {like}", log=model.log.with_name(f"second-{like}.log"))
        second.start()
        try:
            yield second
        finally:
            stop_in_order([second])

    def ready(self) -> None:
        """Waits until the whole system is."""
        eventually(self.is_ready, f"the system is ready: {self.readiness()}")

    def is_ready(self) -> bool:
        return bool(self.readiness().get("ready"))

    def readiness(self) -> dict[str, Any]:
        with contextlib.suppress(httpx.TransportError):
            return self.http.get("/readyz").json()
        return {}

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """What a process has logged, in all its lives."""
        lines: list[dict[str, Any]] = []
        for line in self.child(name).log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict)]

    # -- jobs

    def submit(self, sound: Path, **options: str) -> str:
        """A job of a file, by the test models: its id. Sent again until it is answered."""
        key = {"Idempotency-Key": uuid4().hex}
        form = as_form(TEST_ENGINES) | options

        def answered() -> str | None:
            with contextlib.suppress(httpx.TransportError), sound.open("rb") as content:
                files = {"file": ("song.flac", content)}
                response = self.http.post("/api/jobs", data=form, files=files, headers=key)
                assert response.status_code < 500 or response.status_code == 503, response.text
                return response.json()["id"] if response.is_success else None

        return eventually(answered, "the job is taken")

    def job(self, job_id: str) -> dict[str, Any]:
        def answered() -> dict[str, Any] | None:
            with contextlib.suppress(httpx.TransportError):
                response = self.http.get(f"/api/jobs/{job_id}")
                return response.json() if response.is_success else None

        return eventually(answered, "the job can be read")

    def events(self, job_id: str) -> Iterator[Event]:
        """All events of a job, to its final one; asked for again after the last one that came, as often as it takes."""
        last, deadline_s = 0, time.monotonic() + PATIENCE_S
        while True:
            headers = {"Last-Event-ID": str(last)} if last else {}
            try:
                with connect_sse(self.http, "GET", f"/api/jobs/{job_id}/events", headers=headers) as source:
                    for sse in source.iter_sse() if source.response.status_code == 200 else ():
                        if not sse.data:
                            continue
                        last, deadline_s = int(sse.id), time.monotonic() + PATIENCE_S
                        event = Event(last, sse.event, json.loads(sse.data))
                        yield event
                        if event.kind == "state" and event.data["state"] in FINAL_STATES:
                            return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline_s, f"no event after {last}"
            time.sleep(0.1)

    def done(self, sound: Path, disturb: Callable[[Event], None], **options: str) -> tuple[str, list[Event]]:
        """Runs a job to its end: its id and its events, each of which `disturb` is told when it comes."""
        job, events = self.submit(sound, **options), list[Event]()
        for event in self.events(job):
            events.append(event)
            disturb(event)
        return job, events

    def result(self, job_id: str) -> Result:
        """What a job that succeeded has made; each file is as it was announced."""
        response = self.http.get(f"/api/jobs/{job_id}/result")
        assert response.status_code == 200, response.text
        files: dict[str, str] = {}
        for artifact in response.json()["artifacts"]:
            content = self.http.get(artifact["url"])
            assert content.status_code == 200, content.text
            assert hashlib.sha256(content.content).hexdigest() == artifact["sha256"], artifact["name"]
            assert artifact["name"] not in files, "one result"
            # Named by its kind of file, and not of the same bytes in two jobs that must not share their work.
            if not artifact["name"].startswith("original"):
                files[artifact["name"]] = artifact["sha256"]
        return Result(response.json()["words"], files)


@dataclass(frozen=True)
class Result:
    """What a job has made: the content of words.json, and the SHA-256 of each file but the original."""

    words: dict[str, Any]
    files: dict[str, str]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Result)
        assert self.words == other.words  # says more than that the bytes differ
        return self.files == other.files


def succeeded(events: list[Event]) -> None:
    """The job succeeded; its events have no gap, and one of them is final."""
    assert events[-1].data.get("state") == "succeeded", (events[-1], reasons(events))
    assert [e.number for e in events] == list(range(1, len(events) + 1))
    assert [e.data["state"] for e in events if e.kind == "state" and e.data["state"] in FINAL_STATES] == ["succeeded"]


def reasons(events: list[Event]) -> list[str]:
    """Why the job was queued again, each time."""
    return [
        e.data["reason"] for e in events if e.kind == "state" and e.data["state"] == "queued" and "reason" in e.data
    ]


class Once:
    """Does something at the first event that is meant."""

    def __init__(self, when: Callable[[Event], bool], action: Callable[[], Any]) -> None:
        self._when, self._action = when, action
        self.done = False

    def __call__(self, event: Event) -> None:
        if not self.done and self._when(event):
            self.done = True
            self._action()


def computes(stage: str) -> Callable[[Event], bool]:
    """Whether an event says that the stage is at work, with more to do."""

    def is_at_work(event: Event) -> bool:
        match stage:
            case "transcribe":
                return event.kind == "segment"
            case "align":  # the last words are still to be placed
                return event.is_stage("transcribe", "succeeded")
            case "download":  # soon all of a short song is on its way
                return event.is_stage("download", "running")
            case _:
                progress = event.kind == "progress" and event.data["stage"] == stage
                return progress and not event.data["finished"] and bool(event.data["done_s"])

    return is_at_work


@contextmanager
def rig(**settings: str) -> Iterator[Rig]:
    """A system with the test models and leases of seconds, in a folder of its own."""
    # Not below pytest's own folder: as root Postgres runs as another user, whom those are closed to.
    with tempfile.TemporaryDirectory(prefix="singscript-tests-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running(folder, extra=with_test_models(folder) | QUICK | settings) as system:
            system.supervisor.max_restarts = 1000
            with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as http:
                yield Rig(system, folder, http)


def song(path: Path, duration_s: float) -> Path:
    """The demo's mix again and again, so long."""
    left = round(duration_s * RATE_HZ)
    with FlacWriter(path, sample_rate_hz=RATE_HZ, channels=2, bits=16) as writer:
        blocks = chain.from_iterable(decode(file, sample_rate_hz=RATE_HZ, channels=2) for file in repeat(SONG))
        while left > 0:
            block = next(blocks)[:left]
            writer.write(block)
            left -= len(block)
    return path


def another_file(sound: Path, path: Path) -> Path:
    """The same sound in a file of other bytes, so that nothing that was made of the first one can be used again."""
    content = sound.read_bytes()
    # FLAC: the mark, STREAMINFO (38 bytes with its header), then other blocks; 2 is one for applications.
    assert content[:4] == b"fLaC" and content[4] in (0, 0x80)
    note = uuid4().bytes
    block = bytes([2 | content[4]]) + len(note).to_bytes(3, "big") + note
    path.write_bytes(content[:4] + bytes([0]) + content[5:42] + block + content[42:])
    return path
