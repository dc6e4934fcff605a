"""Saving a file of a job: whole, or not at all."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import httpx

from singscript_client.connection import Connection, in_path
from singscript_client.errors import Damaged, SingscriptError, Unreachable, error_of
from singscript_client.shapes import Artifact

_BLOCK_BYTES = 1 << 18


def save(connection: Connection, job_id: str, artifact: Artifact, path: Path) -> None:
    """Writes the file under a temporary name beside `path`, which it gets once all of it is there and right.

    After a cut it goes on where it was.

    Raises:
        ApiError, Unreachable.
        Damaged: the bytes are not those that the job has announced, or no longer.
        OSError.
    """
    patience = connection.patience()
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as out:
            arriving, most_bytes = _Arriving(out), 0
            while arriving.size_bytes < artifact.size_bytes:
                try:
                    for block in _blocks(connection, job_id, artifact, arriving):
                        arriving.add(block)
                        # Not what comes once more where no ranges are known.
                        if arriving.size_bytes > most_bytes:
                            most_bytes = arriving.size_bytes
                            patience.renew()
                        if arriving.size_bytes > artifact.size_bytes:
                            break
                    if arriving.size_bytes < artifact.size_bytes:
                        raise Unreachable(connection.origin, EOFError("the file ended early"))
                except SingscriptError as error:
                    patience.pause(error)
            if arriving.size_bytes != artifact.size_bytes or arriving.sha256() != artifact.sha256:
                raise Damaged(
                    f"What came of {artifact.name} is not the file that the job has announced. Look the job up again: "
                    "its words may have been corrected meanwhile."
                )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Arriving:
    """What has come so far."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def add(self, block: bytes) -> None:
        self._out.write(block)
        self._digest.update(block)
        self.size_bytes += len(block)

    def begin_again(self) -> None:
        self._out.seek(0)
        self._out.truncate()
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def sha256(self) -> str:
        return self._digest.hexdigest()


def _blocks(connection: Connection, job_id: str, artifact: Artifact, arriving: _Arriving) -> Iterator[bytes]:
    """What is still to come, from the gateway or from the address that it names."""
    # Ranges are of the bytes themselves, not of what a proxy makes of them.
    headers = {"Accept-Encoding": "identity"}
    if arriving.size_bytes:
        headers["Range"] = f"bytes={arriving.size_bytes}-"
    with ExitStack() as stack:
        path = in_path("jobs", job_id, "artifacts", artifact.name)
        response = stack.enter_context(connection.stream("GET", path, headers=headers))
        if response.has_redirect_location:
            url = response.url.join(response.headers["Location"])
            response = stack.enter_context(connection.elsewhere(url, headers))
        if not response.is_success:
            raise error_of(response)
        if arriving.size_bytes and not _goes_on(response, arriving.size_bytes):
            arriving.begin_again()
        yield from response.iter_bytes(_BLOCK_BYTES)


def _goes_on(response: httpx.Response, at_bytes: int) -> bool:
    """Whether the answer begins there; one that knows no ranges begins at 0."""
    content_range = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status_code == 206 and content_range is not None and int(content_range[1]) == at_bytes
