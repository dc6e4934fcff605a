"""What every store does, a folder or S3."""

from __future__ import annotations

import hashlib
import random
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from singscript_core.errors import Cancelled, NotFound, StageError
from singscript_core.stopping import Stop
from singscript_storage import (
    ChecksumMismatch,
    InvalidKey,
    ObjectNotFound,
    ObjectStore,
    S3Store,
    StoredObject,
    sha256_of,
)
from singscript_storage.store import BLOCK_BYTES

MakeFile = Callable[[bytes], Path]

# Empty, one byte, one block, a bit more, and (on S3) several parts.
SIZES_BYTES = [0, 1, 256 * 1024, 256 * 1024 + 1, 17 * 1024 * 1024 + 3]


def content_of(size_bytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def test_a_new_store_can_be_used(store: ObjectStore) -> None:
    store.check()
    assert list(store.list()) == []


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_what_is_put_comes_back(store: ObjectStore, make_file: MakeFile, tmp_path: Path, size_bytes: int) -> None:
    content = content_of(size_bytes)
    expected = StoredObject("jobs/1/vocals.flac", size_bytes, hashlib.sha256(content).hexdigest(), "audio/flac")

    assert store.put("jobs/1/vocals.flac", make_file(content), "audio/flac") == expected
    assert store.stat("jobs/1/vocals.flac") == expected
    assert store.fetch("jobs/1/vocals.flac", tmp_path / "back") == expected
    assert (tmp_path / "back").read_bytes() == content
    with store.open("jobs/1/vocals.flac") as reader:
        assert reader.stored == expected
        assert b"".join(reader) == content


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, None), (0, 0), (0, 10), (3, 4), (999, None), (999, 1), (998, 50), (1000, None), (1000, 5), (5000, 5)],
)
def test_a_part_is_what_a_slice_would_be(
    store: ObjectStore, make_file: MakeFile, offset: int, length: int | None
) -> None:
    content = content_of(1000)
    store.put("x", make_file(content), "text/plain")
    with store.open("x", offset, length) as reader:
        assert reader.stored.size_bytes == 1000
        assert b"".join(reader) == content[offset:][:length]


def test_a_negative_range_is_a_mistake_of_the_caller(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="negative"):
        store.open("x", -1)
    with pytest.raises(ValueError, match="negative"):
        store.open("x", 0, -1)


def test_a_reader_that_is_left_early_leaves_nothing_open(store: ObjectStore, make_file: MakeFile) -> None:
    store.put("x", make_file(content_of(2_000_000)), "text/plain")
    for _ in range(20):
        with store.open("x") as reader:
            next(reader)
    with store.open("x"):
        pass
    assert store.stat("x").size_bytes == 2_000_000


def test_a_second_put_replaces_the_first(store: ObjectStore, make_file: MakeFile, tmp_path: Path) -> None:
    store.put("x", make_file(b"long first content"), "text/plain")
    second = store.put("x", make_file(b"second"), "application/json")
    assert store.fetch("x", tmp_path / "back") == second
    assert (tmp_path / "back").read_bytes() == b"second"
    assert list(store.list()) == ["x"]


def test_what_is_not_there_is_not_found(store: ObjectStore, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.stat("no/such"),
        lambda: store.fetch("no/such", tmp_path / "back"),
        lambda: store.open("no/such"),
        lambda: store.open("no/such", 5, 5),
    ]
    for call in calls:
        with pytest.raises(ObjectNotFound) as raised:
            call()
        assert isinstance(raised.value, NotFound)
        assert raised.value.reason == "OBJECT_NOT_FOUND"
        assert not raised.value.retryable
        assert "no/such" in raised.value.message
    assert list(tmp_path.glob("*back*")) == []


def test_deleting_removes_one_object_and_may_be_repeated(store: ObjectStore, make_file: MakeFile) -> None:
    for key in ("a", "a/b", "a/b/c"):
        store.put(key, make_file(b"x"), "text/plain")
    store.delete("a/b")
    store.delete("a/b")
    assert list(store.list()) == ["a", "a/b/c"]
    with pytest.raises(ObjectNotFound):
        store.stat("a/b")


def test_a_prefix_is_the_start_of_a_key_not_a_folder(store: ObjectStore, make_file: MakeFile) -> None:
    keys = ["a-b", "a.b/x", "a/b", "a/b/c", "a/bc", "ab", "b/a"]
    for key in keys:
        store.put(key, make_file(b"x"), "text/plain")
    for prefix in ("", "a", "a/", "a/b", "a/b/", "b", "c", "a/x/y"):
        assert list(store.list(prefix)) == [key for key in keys if key.startswith(prefix)], prefix


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".", "..", "ä", "a b", "a\n", "a@"])
def test_a_key_that_could_lead_elsewhere_is_refused(
    store: ObjectStore, make_file: MakeFile, tmp_path: Path, key: str
) -> None:
    source = make_file(b"x")
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, source, "text/plain"),
        lambda: store.fetch(key, tmp_path / "back"),
        lambda: store.open(key),
        lambda: store.stat(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(InvalidKey) as raised:
            call()
        assert raised.value.reason == "INVALID_KEY"


@pytest.mark.parametrize("prefix", ["/a", "../", "a/../", "ä", "a@"])
def test_a_prefix_that_could_lead_elsewhere_is_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidKey):
        store.list(prefix)


@pytest.fixture(params=[1000, 4_000_000])
def flipped_bytes(
    request: pytest.FixtureRequest,
    store: ObjectStore,
    make_file: MakeFile,
    stored_files: Callable[[], list[Path]],
) -> int:
    """How large the object "x" is, one bit of which is not what was stored."""
    before = set(stored_files())
    store.put("x", make_file(content_of(request.param, seed=28)), "audio/flac")
    largest = max(set(stored_files()) - before, key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(500)
        flipped = bytes([file.read(1)[0] ^ 1])
        file.seek(500)
        file.write(flipped)
    return request.param


@pytest.mark.usefixtures("flipped_bytes")
def test_R28_a_flipped_byte_is_found(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "back").write_bytes(b"an older copy")
    with pytest.raises(ChecksumMismatch) as raised:
        store.fetch("x", tmp_path / "back")
    assert raised.value.reason == "CHECKSUM_MISMATCH"
    assert raised.value.retryable
    assert (tmp_path / "back").read_bytes() == b"an older copy"
    assert list(tmp_path.glob(".*part")) == []


def test_R28_what_is_passed_on_block_by_block_never_passes_for_whole(store: ObjectStore, flipped_bytes: int) -> None:
    passed_on = bytearray()
    with pytest.raises(ChecksumMismatch), store.open("x") as reader:
        for block in reader:
            passed_on += block
    assert len(passed_on) < flipped_bytes


def test_readers_and_writers_of_one_key_never_see_a_mixture(
    store: ObjectStore, make_file: MakeFile, tmp_path: Path
) -> None:
    contents = [content_of(300_000 + n, seed=n) for n in range(4)]
    sources = [make_file(content) for content in contents]
    store.put("x", sources[0], "text/0")
    stop = threading.Event()

    def write(n: int) -> None:
        for _ in range(8):
            store.put("x", sources[n], f"text/{n}")

    def read(n: int) -> int:
        reads = 0
        while not stop.is_set():
            path = tmp_path / f"read-{n}"
            stored = store.fetch("x", path)
            assert path.read_bytes() == contents[int(stored.media_type.removeprefix("text/"))]
            reads += 1
        return reads

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read, n) for n in range(2)]
        writers = [pool.submit(write, n) for n in range(4)]
        try:
            for writer in writers:
                writer.result()
        finally:
            stop.set()
        assert all(reader.result() for reader in readers)
    assert list(store.list()) == ["x"]


def test_no_whole_file_is_held_in_memory(store: ObjectStore, make_file: MakeFile, tmp_path: Path) -> None:
    large = make_file(b"")
    with large.open("r+b") as file:
        file.truncate(80 * 1024 * 1024)
    tracemalloc.start()
    try:
        store.put("x", large, "text/plain")
        store.fetch("x", tmp_path / "back")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40 * 1024 * 1024


def test_every_error_is_one_that_a_stage_may_report() -> None:
    assert issubclass(ObjectNotFound, StageError)
    assert issubclass(ChecksumMismatch, StageError)
    assert issubclass(InvalidKey, StageError)


class _SetAtLook(Stop):
    """Somebody sets it between two looks at it."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_a_digest_that_nobody_waits_for_any_more(make_file: MakeFile) -> None:
    file, stop = make_file(content_of(4 * BLOCK_BYTES)), _SetAtLook(2)
    with file.open("rb") as opened, stop.governing(), pytest.raises(Cancelled):
        sha256_of(opened)
    with file.open("rb") as opened, _SetAtLook(4).governing():
        assert sha256_of(opened) == hashlib.sha256(content_of(4 * BLOCK_BYTES)).hexdigest()


@pytest.mark.parametrize("looks", [0, 60, 100])  # 100: on S3 while the first of several parts goes up
def test_a_put_that_nobody_waits_for_any_more_leaves_nothing(
    store: ObjectStore, make_file: MakeFile, looks: int, request: pytest.FixtureRequest
) -> None:
    size_bytes = 128 * BLOCK_BYTES
    file = make_file(bytes(size_bytes))
    with _SetAtLook(looks).governing(), pytest.raises(Cancelled):
        store.put("x", file, "text/plain")
    assert list(store.list()) == []
    if isinstance(store, S3Store):
        bucket = request.getfixturevalue("bucket")
        assert bucket.uploads_under_way() == []
    assert store.put("x", file, "text/plain").size_bytes == size_bytes


def test_a_fetch_that_nobody_waits_for_any_more_leaves_nothing(
    store: ObjectStore, make_file: MakeFile, tmp_path: Path
) -> None:
    store.put("x", make_file(content_of(10 * BLOCK_BYTES)), "text/plain")
    folder = tmp_path / "fetched"
    folder.mkdir()
    with _SetAtLook(3).governing(), pytest.raises(Cancelled):
        store.fetch("x", folder / "x")
    assert list(folder.iterdir()) == []
    assert store.fetch("x", folder / "x").size_bytes == 10 * BLOCK_BYTES
