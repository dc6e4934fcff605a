"""What a store does, and the errors that it raises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self
from uuid import uuid4

from singscript_core import stopping
from singscript_core.errors import BrokenStream, InvalidInput, NotFound, Unavailable

BLOCK_BYTES = 256 * 1024
# Only the beginning of a download has to fall into it.
LINK_S = 300


class InvalidKey(InvalidInput):
    """Not a name that an object can have."""

    reason = "INVALID_KEY"


class ObjectNotFound(NotFound):
    """No object of that name."""

    reason = "OBJECT_NOT_FOUND"

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no object {key!r} in storage.", metadata={"key": key})


class StorageUnavailable(Unavailable):
    """The storage cannot be reached, refuses the credentials, has no such bucket, or is full."""

    reason = "STORAGE_UNAVAILABLE"


class ChecksumMismatch(BrokenStream):
    """What was read is not what was stored."""

    reason = "CHECKSUM_MISMATCH"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The object {key!r} was damaged in storage: its checksum differs. Make it again.", metadata={"key": key}
        )


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What is known of an object.

    Attributes:
        sha256: lower-case hexadecimal; empty for an object that something else put into the bucket.
    """

    key: str
    size_bytes: int
    sha256: str
    media_type: str


class ObjectStore(Protocol):
    """Whole objects under keys. Blocking; usable from several threads and processes at once.

    An object is visible only once it is whole, and replaced in one step. Every method raises `InvalidKey` for a key
    that `check_key` refuses, and `StorageUnavailable`; `put` and `fetch` end with `Cancelled` between two blocks when
    what governs their thread is set (`singscript_core.stopping`).
    """

    def check(self) -> None:
        """Returns if objects can be stored here now."""
        ...

    def put(self, key: str, path: Path, media_type: str) -> StoredObject:
        """Stores a file, in place of what was there."""
        ...

    def fetch(self, key: str, path: Path) -> StoredObject:
        """Writes an object to a file, which appears (or is replaced) only once it is whole and its checksum is right.

        Raises:
            ObjectNotFound, ChecksumMismatch.
        """
        ...

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Reader:
        """Reads an object, or the part of it from `offset` (bytes) on; less than `length` where the object ends.

        Raises:
            ObjectNotFound: at once.
            ChecksumMismatch: after the last block, when the whole object was read.
        """
        ...

    def stat(self, key: str) -> StoredObject:
        """What is known of an object.

        Raises:
            ObjectNotFound.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """All keys that start with `prefix`, in order."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object. It is no error if there is none."""
        ...

    def link(self, key: str, media_type: str, disposition: str) -> str | None:
        """An address at which whoever has it can read the object for `LINK_S`, in part, too; None: there is none.

        Only computed: that there is such an object is not looked up. The address is a secret.

        Args:
            media_type, disposition: the `Content-Type` and `Content-Disposition` that its answers have.
        """
        ...


class Reader:
    """The blocks of an object, of at most a few hundred KiB each. Iterate over it inside a `with`.

    The last one comes only when all of them are what was stored, so what is passed on at once never passes for whole.

    Attributes:
        stored: the whole object, also when only a part is read.
    """

    def __init__(
        self, stored: StoredObject, blocks: Iterator[bytes], close: Callable[[], None], *, whole: bool
    ) -> None:
        self.stored = stored
        self._blocks = self._checked(blocks) if whole else blocks
        self._close = close

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._blocks)
        except BaseException:
            self.close()
            raise

    def _checked(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        digest, last = hashlib.sha256(), b""
        for block in blocks:
            digest.update(block)
            if last:
                yield last
            last = block
        if self.stored.sha256 not in ("", digest.hexdigest()):
            raise ChecksumMismatch(self.stored.key)
        if last:
            yield last

    def close(self) -> None:
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_range(offset: int, length: int | None) -> None:
    """Raises `ValueError` for a part that no object can have."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"offset {offset} and length {length} may not be negative")


def sha256_of(file: BinaryIO) -> str:
    """The digest of an open file from here to its end, lower-case hexadecimal; raises Cancelled as `put` does."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK_BYTES):
        stopping.check()
        digest.update(block)
    return digest.hexdigest()


def save(reader: Reader, path: Path) -> StoredObject:
    """Writes all of a reader to `path` by way of a file beside it, so that `path` is never half written."""
    part = path.with_name(f".{uuid4().hex}.part")
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        with reader, part.open("wb") as file:
            for block in reader:
                stopping.check()
                digest.update(block)
                size_bytes += len(block)
                file.write(block)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return replace(reader.stored, size_bytes=size_bytes, sha256=digest.hexdigest())
