"""R24: streams that nobody reads any more leave nothing behind: no handler, no file, no process."""

from __future__ import annotations

from pathlib import Path

import chaos
import grpc
import psutil
import pytest
from chaos import SERVICES, Once, Rig
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

ROUNDS = 3


def open_streams(rig: Rig) -> int:
    """Of the services that tell."""
    options = [("grpc.enable_http_proxy", 0)]
    with (
        grpc.insecure_channel(rig.system.services["separator"], options=options) as separator,
        grpc.insecure_channel(rig.system.services["transcriber"], options=options) as transcriber,
    ):
        one = separator_pb2_grpc.SeparatorServiceStub(separator).GetLoad(separator_pb2.GetLoadRequest(), timeout=60)
        other = transcriber_pb2_grpc.TranscriberServiceStub(transcriber).GetLoad(
            transcriber_pb2.GetLoadRequest(), timeout=60
        )
        return one.open_streams + other.open_streams


def held(rig: Rig) -> dict[str, tuple[int, int]]:
    """Open files and child processes of each service."""
    processes = {name: psutil.Process(rig.process(name).pid) for name in SERVICES}
    return {name: (p.num_fds(), len(p.children(recursive=True))) for name, p in processes.items()}


def abandon(rig: Rig, sound: Path) -> None:
    """A job whose dispatcher is killed in the middle, which is cancelled then."""
    rig.ready()
    job = rig.submit(sound)
    die = Once(chaos.computes("transcribe"), lambda: rig.kill("dispatcher"))
    for event in rig.events(job):
        die(event)
        if die.done and event.kind == "state" and event.data["state"] == "queued":
            rig.http.post(f"/api/jobs/{job}/cancel")
    assert die.done
    chaos.eventually(lambda: open_streams(rig) == 0, "no stream is left")


def test_r24_callers_that_die_leave_nothing_behind(rig: Rig, another: Path, tmp_path: Path) -> None:
    # The first time something is made that stays for the next ones.
    abandon(rig, another)
    before = held(rig)
    for number in range(ROUNDS):
        abandon(rig, chaos.another_file(another, tmp_path / f"{number}.flac"))

    def is_as_before(name: str) -> bool:
        """What is left each time would be as much as there were rounds."""
        (files, children), (files_before, children_before) = held(rig)[name], before[name]
        return files < files_before + ROUNDS and children <= children_before

    for name in SERVICES:
        chaos.eventually(lambda name=name: is_as_before(name), f"the {name} holds what it held", within_s=60)
