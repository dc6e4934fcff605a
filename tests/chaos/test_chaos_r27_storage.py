"""R27: a storage that hangs, has no bucket, or is left in the middle of an upload."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import chaos
import pytest
import s3server
from chaos import Event, Once, Result, Rig
from faulty_proxy import FaultyProxy
from minio import Minio

from singscript_storage import S3Store

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("chaos-r27"), pytest.mark.timeout(400)]

BUCKET = "songs"


@dataclass
class Storage:
    """The S3 server, and the proxy that all processes reach it through."""

    server: s3server.S3Server
    proxy: FaultyProxy

    @property
    def admin(self) -> Minio:
        """Past the proxy."""
        server = self.server
        return Minio(server.endpoint, server.access_key, server.secret_key, secure=False, region=server.region)

    @property
    def store(self) -> S3Store:
        server = self.server
        return S3Store(
            server.endpoint, bucket=BUCKET, access_key=server.access_key, secret_key=server.secret_key, secure=False
        )


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with tempfile.TemporaryDirectory(prefix="singscript-tests-") as folder, s3server.running(Path(folder)) as server:
        host, port = server.endpoint.split(":")
        with FaultyProxy((host, int(port))) as proxy:
            yield Storage(server, proxy)


@pytest.fixture(scope="module")
def rig(storage: Storage) -> Iterator[Rig]:
    settings = {
        "SINGSCRIPT_S3_ENDPOINT": storage.proxy.address,
        "SINGSCRIPT_S3_BUCKET": BUCKET,
        "SINGSCRIPT_S3_ACCESS_KEY": storage.server.access_key,
        "SINGSCRIPT_S3_SECRET_KEY": storage.server.secret_key,
        "SINGSCRIPT_S3_REGION": storage.server.region,
        "SINGSCRIPT_S3_SECURE": "false",
    }
    with chaos.rig(**settings) as made:
        yield made
        storage.proxy.release()


def is_not_ready(rig: Rig) -> bool:
    answer = rig.readiness()
    return not answer["ready"] and not answer["checks"]["storage"]["ok"]


def test_r27_a_storage_that_hangs(rig: Rig, storage: Storage, undisturbed: Result, another: Path) -> None:
    rig.ready()
    hang = Once(chaos.computes("separate"), storage.proxy.hold)

    def mend() -> None:
        chaos.eventually(lambda: is_not_ready(rig), "readiness drops")
        storage.proxy.release()

    mended = Once(lambda event: bool(chaos.reasons([event])), mend)

    def disturb(event: Event) -> None:
        hang(event)
        mended(event)

    try:
        job, events = rig.done(another, disturb)
    finally:
        storage.proxy.release()
    chaos.succeeded(events)
    assert "STORAGE_UNAVAILABLE" in chaos.reasons(events)
    rig.ready()
    assert rig.result(job) == undisturbed


def test_r27_a_producer_that_dies_while_it_uploads(
    rig: Rig, storage: Storage, undisturbed: Result, another: Path, tmp_path: Path
) -> None:
    rig.ready()
    before = set(storage.store.list())

    def all_is_separated(event: Event) -> bool:
        return event.is_stage("download", "succeeded")

    def disturb(event: Event) -> None:
        if all_is_separated(event) and not killed:
            killed.append(True)
            storage.proxy.hold()
            done_s = max(e.data["done_s"] for e in seen if e.kind == "progress" and e.data["stage"] == "separate")
            assert done_s > 0
            chaos.eventually(lambda: uploads_wait(rig), "the separator uploads")
            rig.kill("separator")
            storage.proxy.release()
        seen.append(event)

    killed: list[bool] = []
    seen: list[Event] = []
    try:
        job, events = rig.done(another, disturb)
    finally:
        storage.proxy.release()
    assert killed
    chaos.succeeded(events)
    assert rig.result(job) == undisturbed
    for number, key in enumerate(sorted(set(storage.store.list()) - before)):
        storage.store.fetch(key, tmp_path / str(number))  # raises where it is not what it says


def uploads_wait(rig: Rig) -> bool:
    """Whether the separator has a connection to the storage: it has one only to store its stems."""
    import psutil

    address = rig.child("separator").environment["SINGSCRIPT_S3_ENDPOINT"]
    connections = psutil.Process(rig.process("separator").pid).net_connections("tcp")
    return any(c.raddr and f"{c.raddr.ip}:{c.raddr.port}" == address for c in connections)


def test_r27_a_bucket_that_is_missing(rig: Rig, storage: Storage, another: Path) -> None:
    rig.ready()
    keys = [o.object_name for o in storage.admin.list_objects(BUCKET, recursive=True)]
    for key in keys:
        assert key
        storage.admin.remove_object(BUCKET, key)
    storage.admin.remove_bucket(BUCKET)
    try:
        chaos.eventually(lambda: is_not_ready(rig), "readiness drops")
        with another.open("rb") as content:
            answer = rig.http.post("/api/jobs", files={"file": ("song.flac", content)})
        assert answer.status_code == 503 and answer.json()["reason"] == "STORAGE_UNAVAILABLE"
        assert BUCKET in answer.json()["detail"] or "bucket" in answer.json()["detail"]
    finally:
        storage.admin.make_bucket(BUCKET)
    rig.ready()
    _, events = rig.done(another, lambda _: None)
    chaos.succeeded(events)
