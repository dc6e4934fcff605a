"""Objects as files of a folder.

An object is one file, `objects/<key>@`: its bytes, then what is known of it as JSON, then the length of the JSON and a
mark. So one rename makes object and description visible together, and no two writers can mix them up.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from singscript_core import stopping
from singscript_storage.keys import check_key, check_prefix
from singscript_storage.store import (
    BLOCK_BYTES,
    ChecksumMismatch,
    ObjectNotFound,
    Reader,
    StorageUnavailable,
    StoredObject,
    check_range,
    save,
)

# No key has this character, so the objects "a" and "a/b" can both exist.
_SUFFIX = "@"
_MARK = b"SINGSCR1"
_TAIL = struct.Struct("<I8s")
_LEFTOVER_AGE_S = 24 * 3600.0


class FolderStore:
    """An `ObjectStore` in a folder of a local file system.

    Args:
        folder: created if need be. What a crash left half written here more than a day ago is removed.

    Raises:
        StorageUnavailable: the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        self._unfinished = folder / "unfinished"
        with _translated():
            self._objects.mkdir(parents=True, exist_ok=True)
            self._unfinished.mkdir(exist_ok=True)
            _remove_older(self._unfinished, time.time() - _LEFTOVER_AGE_S)

    def check(self) -> None:
        with _translated(), self._unfinished_file() as (_, file):
            # On a full disk an empty file can still be made.
            file.write(_MARK)
            file.flush()

    def put(self, key: str, path: Path, media_type: str) -> StoredObject:
        check_key(key)
        with path.open("rb") as source, _translated(), self._unfinished_file() as (part, file):
            digest = hashlib.sha256()
            size_bytes = 0
            while block := source.read(BLOCK_BYTES):
                stopping.check()
                digest.update(block)
                size_bytes += len(block)
                file.write(block)
            stored = StoredObject(key, size_bytes, digest.hexdigest(), media_type)
            file.write(_footer(stored))
            file.flush()
            os.fsync(file.fileno())
            self._publish(part, self._path(key))
        return stored

    def fetch(self, key: str, path: Path) -> StoredObject:
        return save(self.open(key), path)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Reader:
        check_range(offset, length)
        file, stored = self._opened(key)
        end = stored.size_bytes if length is None else min(offset + length, stored.size_bytes)
        whole = offset == 0 and end == stored.size_bytes
        return Reader(stored, _blocks(file, offset, end), file.close, whole=whole)

    def stat(self, key: str) -> StoredObject:
        file, stored = self._opened(key)
        file.close()
        return stored

    def list(self, prefix: str = "") -> Iterator[str]:
        check_prefix(prefix)
        with _translated():
            keys = sorted(key for key in self._keys(prefix) if key.startswith(prefix))
        return iter(keys)

    def delete(self, key: str) -> None:
        check_key(key)
        path = self._path(key)
        with _translated():
            path.unlink(missing_ok=True)

    def link(self, key: str, media_type: str, disposition: str) -> str | None:
        check_key(key)
        return None

    def _path(self, key: str) -> Path:
        return self._objects / (key + _SUFFIX)

    def _keys(self, prefix: str) -> Iterator[str]:
        for folder, _, names in os.walk(self._objects / prefix.rpartition("/")[0]):
            for name in names:
                yield (Path(folder) / name.removesuffix(_SUFFIX)).relative_to(self._objects).as_posix()

    def _opened(self, key: str) -> tuple[BinaryIO, StoredObject]:
        """The file of an object, which the caller closes, and what its footer says."""
        check_key(key)
        with _translated():
            try:
                file = self._path(key).open("rb")
            except FileNotFoundError:
                raise ObjectNotFound(key) from None
            try:
                return file, _described(key, file)
            except BaseException:
                file.close()
                raise

    @contextmanager
    def _unfinished_file(self) -> Generator[tuple[Path, BinaryIO], None, None]:
        """A new file on the same file system as the objects; removed at the end unless it was renamed."""
        path = self._unfinished / uuid4().hex
        try:
            with path.open("xb") as file:
                yield path, file
        finally:
            path.unlink(missing_ok=True)

    def _publish(self, part: Path, target: Path) -> None:
        """Renames, and makes the rename outlive a loss of power."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        for folder in target.parents:
            _sync_folder(folder)
            if folder == self._objects:
                break


def _footer(stored: StoredObject) -> bytes:
    description = json.dumps({"sha256": stored.sha256, "media_type": stored.media_type}).encode()
    return description + _TAIL.pack(len(description), _MARK)


def _described(key: str, file: BinaryIO) -> StoredObject:
    """Reads the footer; a file that has none, or a broken one, was damaged."""
    file_bytes = file.seek(0, os.SEEK_END)
    try:
        file.seek(file_bytes - _TAIL.size)
        description_bytes, mark = _TAIL.unpack(file.read())
        size_bytes = file_bytes - _TAIL.size - description_bytes
        file.seek(size_bytes)
        description = json.loads(file.read(description_bytes))
        if mark != _MARK:
            raise ChecksumMismatch(key)
        return StoredObject(key, size_bytes, description["sha256"], description["media_type"])
    except (ValueError, KeyError, TypeError, struct.error, OSError) as error:
        raise ChecksumMismatch(key) from error


def _blocks(file: BinaryIO, offset: int, end: int) -> Iterator[bytes]:
    with _translated():
        file.seek(offset)
        while (left := end - file.tell()) > 0 and (block := file.read(min(BLOCK_BYTES, left))):
            yield block


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_older(folder: Path, than: float) -> None:
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < than:
                path.unlink()


@contextmanager
def _translated() -> Generator[None, None, None]:
    """Trouble with the file system as a `StorageUnavailable`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = "The disk that holds the storage is full. Make room on it and try again."
        else:
            message = f"The storage folder cannot be used ({error.strerror}). Check that it exists and can be written."
        raise StorageUnavailable(message) from error
