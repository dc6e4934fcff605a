"""Every test that takes `store` runs on a folder and on a real S3 server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import s3server
from hypothesis import settings
from minio import Minio

from singscript_storage import FolderStore, ObjectStore, S3Store

# No test here is about time, and machines are shared.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of its own for one test."""

    server: Any
    name: str

    def open(self, **changed: Any) -> S3Store:
        how: dict[str, Any] = {
            "bucket": self.name,
            "access_key": self.server.access_key,
            "secret_key": self.server.secret_key,
            "secure": False,
        }
        how |= changed
        return S3Store(how.pop("endpoint", self.server.endpoint), **how)

    def uploads_under_way(self) -> list[str]:
        """The objects that parts are kept of, and which are not whole yet."""
        admin: Any = _admin(self.server)
        return [upload.object_name for upload in admin._list_multipart_uploads(self.name).uploads]


def _admin(server: Any) -> Minio:
    return Minio(server.endpoint, server.access_key, server.secret_key, secure=False, region=server.region)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with s3server.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3_server: Any) -> Bucket:
    name = f"test-{uuid4().hex}"
    _admin(s3_server).make_bucket(name)
    return Bucket(s3_server, name)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    return request.getfixturevalue("bucket").open()


@pytest.fixture
def stored_files(store: ObjectStore, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], list[Path]]:
    """The files in which the store of this test keeps the bytes of its objects."""
    if isinstance(store, FolderStore):
        return lambda: sorted((tmp_path / "store" / "objects").glob("**/*@"))
    return request.getfixturevalue("s3_server").stored_files


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(content: bytes) -> Path:
        path = tmp_path / f"source-{uuid4().hex}"
        path.write_bytes(content)
        return path

    return make
