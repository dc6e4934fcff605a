"""What only a folder can suffer: crashes, a full disk, odd names."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singscript_storage import ChecksumMismatch, FolderStore, InvalidKey, StorageUnavailable
from singscript_storage.keys import check_key

MakeFile = Callable[[bytes], Path]

PARTS = st.text("abAB01._-", min_size=1, max_size=6).filter(lambda part: part not in (".", ".."))
KEYS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@given(keys=st.lists(KEYS, max_size=8))
def test_any_set_of_keys_can_exist_together(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = FolderStore(folder)
    for n, key in enumerate(keys):
        source = folder / "source"
        source.write_text(f"{n}")
        store.put(key, source, f"text/{n}")
    last = {key: n for n, key in enumerate(keys)}
    assert list(store.list()) == sorted(last)
    for key, n in last.items():
        assert store.stat(key).media_type == f"text/{n}"
        with store.open(key) as reader:
            assert b"".join(reader) == f"{n}".encode()
    for key in last:
        store.delete(key)
    assert list(store.list()) == []


@given(key=st.text(st.sampled_from("ab./\\~@\0 é\n"), max_size=12) | KEYS)
def test_an_accepted_key_stays_inside(key: str) -> None:
    try:
        check_key(key)
    except InvalidKey:
        return
    inside = Path("/store/objects")
    assert Path(os.path.normpath(inside / key)) == inside / key
    assert (inside / key).is_relative_to(inside)
    assert (inside / key) != inside


def test_a_writer_that_is_killed_leaves_nothing_to_see(tmp_path: Path, make_file: MakeFile) -> None:
    folder, pipe = tmp_path / "store", tmp_path / "pipe"
    os.mkfifo(pipe)
    store = FolderStore(folder)
    store.put("x", make_file(b"old"), "text/plain")
    program = (
        "import sys; from pathlib import Path; from singscript_storage import FolderStore\n"
        "FolderStore(Path(sys.argv[1])).put('x', Path(sys.argv[2]), 'text/plain')"
    )
    command = [sys.executable, "-c", program, str(folder), str(pipe)]
    with subprocess.Popen(command) as writer, pipe.open("wb", buffering=0) as source:
        # More than the pipe holds: when this returns, the writer is in the middle of its work.
        source.write(bytes(1_000_000))
        writer.kill()
    assert len(files_under(folder / "unfinished")) == 1
    assert list(store.list()) == ["x"]
    assert FolderStore(folder).fetch("x", tmp_path / "back").size_bytes == 3
    assert (tmp_path / "back").read_bytes() == b"old"


def test_old_leftovers_are_swept_at_the_start_and_young_ones_kept(tmp_path: Path) -> None:
    FolderStore(tmp_path)
    old, young = tmp_path / "unfinished" / "old", tmp_path / "unfinished" / "young"
    old.touch()
    young.touch()
    two_days_ago = young.stat().st_mtime - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    FolderStore(tmp_path)
    assert files_under(tmp_path / "unfinished") == [young]


def test_R32_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path / "store")
    source = make_file(b"x" * 1000)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageUnavailable, match="full") as raised:
            store.put("x", source, "text/plain")
    assert raised.value.retryable
    assert str(tmp_path) not in raised.value.message
    assert files_under(tmp_path / "store") == []


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageUnavailable, match="storage folder"):
        FolderStore(tmp_path / "file" / "store")


def test_a_folder_that_vanishes_is_found_by_check(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.check()
    (tmp_path / "store" / "unfinished").rmdir()
    with pytest.raises(StorageUnavailable):
        store.check()


@pytest.mark.parametrize("kept_bytes", [0, 1, 11, 12, 60, 1050, 1100])
def test_a_cut_file_is_damaged_not_short(tmp_path: Path, make_file: MakeFile, kept_bytes: int) -> None:
    store = FolderStore(tmp_path / "store")
    store.put("x", make_file(b"x" * 1000), "text/plain")
    (path,) = files_under(tmp_path / "store")
    with path.open("r+b") as file:
        file.truncate(kept_bytes)
    with pytest.raises(ChecksumMismatch):
        store.stat("x")
