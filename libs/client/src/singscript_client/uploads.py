"""Uploads that go on after a cut (tus 1.0), in pieces that are checked one by one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from singscript_client.connection import Connection, in_path, unexpected
from singscript_client.errors import Damaged, NotFound, SingscriptError
from singscript_client.shapes import Upload, UploadRules

# As large as the parts that the gateway stores.
PIECE_BYTES = 8 * 1024 * 1024
# Putting a file of GiBs together, before the last answer.
ANSWER_S = 300.0
_VERSION = {"Tus-Resumable": "1.0.0"}
# Of a piece that was cut or mangled on its way, or whose forerunner is still being stored.
_AGAIN = frozenset({"BODY_TOO_SLOW", "CHECKSUM_MISMATCH", "OFFSET_CONFLICT", "UPLOAD_CUT"})

Progress = Callable[[int, int], None]


class Uploads:
    """Files that jobs are made of."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, path: Path, *, file_name: str | None = None, progress: Progress | None = None) -> Upload:
        """Uploads a whole file; a job can then be made of it. After a cut it goes on where it was.

        Args:
            file_name: what the job is called by. By default that of `path`.
            progress: told after each piece how many bytes are stored, and of how many.

        Raises:
            ApiError, Unreachable, OSError.
        """
        begun = self.begin(path.stat().st_size, file_name or path.name)
        return self.go_on(begun.id, path, progress=progress)

    def begin(self, length_bytes: int, file_name: str) -> Upload:
        """Announces a file of which nothing is sent yet. Its id is what `go_on` needs, also in another process."""
        name = base64.b64encode(file_name.encode()).decode()
        headers = _VERSION | {"Upload-Length": str(length_bytes), "Upload-Metadata": f"filename {name}"}
        response = self._connection.send_until_answered("POST", in_path("uploads"), headers=headers)
        return _read(response, response.headers.get("Location", "").rpartition("/")[2], length_bytes)

    def go_on(self, upload_id: str, path: Path, *, progress: Progress | None = None) -> Upload:
        """Sends what is not stored yet of an upload that was begun.

        Raises:
            ApiError, Unreachable, OSError.
            Damaged: the file is shorter than was announced.
        """
        patience = self._connection.patience()
        upload: Upload | None = None
        stored_bytes = -1
        with path.open("rb") as file:
            while upload is None or not upload.complete:
                try:
                    upload = self._send_piece(upload, file) if upload else self.get(upload_id)
                except SingscriptError as error:
                    patience.pause(error, also=_AGAIN)
                    upload = None
                    continue
                if upload.offset_bytes > stored_bytes:
                    stored_bytes = upload.offset_bytes
                    patience.renew()
                    if progress:
                        progress(stored_bytes, upload.length_bytes)
        return upload

    def get(self, upload_id: str) -> Upload:
        """How much of it is stored."""
        try:
            response = self._connection.send("HEAD", in_path("uploads", upload_id), headers=_VERSION)
        except NotFound as error:
            # The answer to HEAD has no body that could say so.
            detail = "There is no such upload: it was removed, or has expired."
            raise NotFound(404, "UPLOAD_NOT_FOUND", detail, request_id=error.request_id) from None
        return _read(response, upload_id, None)

    def delete(self, upload_id: str) -> None:
        """Finished or not; jobs that were made of it keep their file."""
        self._connection.send("DELETE", in_path("uploads", upload_id), headers=_VERSION)

    def rules(self) -> UploadRules:
        """What of tus is spoken, and how large a file may be."""
        response = self._connection.send("OPTIONS", in_path("uploads"))
        told = response.headers
        try:
            return UploadRules(
                version=told["Tus-Version"],
                extensions=tuple(told["Tus-Extension"].split(",")),
                checksums=tuple(told["Tus-Checksum-Algorithm"].split(",")),
                max_bytes=int(told["Tus-Max-Size"]),
            )
        except (KeyError, ValueError):
            raise unexpected(response) from None

    def _send_piece(self, upload: Upload, file: BinaryIO) -> Upload:
        file.seek(upload.offset_bytes)
        piece = file.read(min(PIECE_BYTES, upload.length_bytes - upload.offset_bytes))
        if not piece:
            raise Damaged("The file is shorter than it was when its upload began. Upload it anew.")
        digest = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        headers: dict[str, Any] = _VERSION | {
            "Upload-Offset": str(upload.offset_bytes),
            "Upload-Checksum": f"sha256 {digest}",
            "Content-Type": "application/offset+octet-stream",
        }
        path = in_path("uploads", upload.id)
        response = self._connection.send("PATCH", path, headers=headers, content=piece, answer_s=ANSWER_S)
        return _read(response, upload.id, upload.length_bytes)


def _read(response: httpx.Response, upload_id: str, length_bytes: int | None) -> Upload:
    """What the headers say; they have the length unless it is known."""
    told = response.headers
    try:
        return Upload(
            id=upload_id,
            length_bytes=int(told["Upload-Length"]) if length_bytes is None else length_bytes,
            offset_bytes=int(told["Upload-Offset"]),
            expires_at=parsedate_to_datetime(told["Upload-Expires"]),
        )
    except (KeyError, ValueError):
        raise unexpected(response) from None
