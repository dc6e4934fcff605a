"""What is sent to us, read as it arrives. The file of a form goes to disk, and is counted and hashed on the way."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from singscript_gateway.api.problems import ProblemError
from singscript_gateway.api.requests import MAX_BODY_BYTES, allow_body
from singscript_gateway.uploads.disk import file_on_disk

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FILE_FIELD = "file"


@dataclass(frozen=True)
class ReceivedFile:
    """A whole file, on disk until the form is closed.

    Attributes:
        file_name: as the sender calls it, for display only.
    """

    path: Path
    file_name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Form:
    """What was sent: the texts of each field in their order, and the file."""

    fields: dict[str, list[str]]
    file: ReceivedFile | None


async def received_text(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The whole body of `request`.

    Raises:
        ProblemError: TOO_LARGE as soon as the limit is passed.
    """
    allow_body(request, max_bytes)
    return await request.body()


@asynccontextmanager
async def received_form(request: Request, max_file_bytes: int) -> AsyncIterator[Form]:
    """The form in the body of `request`, parts in any order; its file is removed at the end.

    Raises:
        ProblemError: TOO_LARGE as soon as the limit is passed, INVALID_FORM for what is not a whole form.
        NoTemporarySpace.
        starlette.requests.ClientDisconnect: the sender went away in the middle.
    """
    declared_bytes = request.headers.get("content-length", "")
    if declared_bytes.isdigit() and int(declared_bytes) > max_file_bytes + MAX_BODY_BYTES:
        raise too_large(max_file_bytes)
    # File and fields have limits of their own.
    allow_body(request, None)
    _, options = parse_options_header(request.headers.get("content-type"))
    if not (boundary := options.get(b"boundary")):
        raise _invalid("The Content-Type names no boundary")
    with file_on_disk() as disk:
        reader = _Reader(disk, max_file_bytes)
        try:
            parser = MultipartParser(boundary, reader.callbacks())
            received_bytes = 0
            async for chunk in request.stream():
                parser.write(chunk)
                received_bytes += len(chunk)
                # Also names, headers, and what is before, between and behind the parts.
                if received_bytes - reader.file_bytes > MAX_BODY_BYTES:
                    raise ProblemError(413, "TOO_LARGE", "The fields beside the file are too long.")
                if reader.pending:
                    await asyncio.to_thread(reader.write_pending)
            parser.finalize()
        except FormParserError as error:
            raise _invalid("Its parts cannot be told apart") from error
        if not reader.ended:
            raise _invalid("It was cut before its end")
        await asyncio.to_thread(disk.flush)
        yield Form(dict(reader.fields), reader.file(Path(disk.name)))


def too_large(limit_bytes: int, headers: Mapping[str, str] | None = None) -> ProblemError:
    """The refusal of a file."""
    detail = f"The file is larger than {limit_bytes} bytes. Send a shorter or more strongly compressed one."
    return ProblemError(413, "TOO_LARGE", detail, headers, limit_bytes=limit_bytes)


def _invalid(what: str) -> ProblemError:
    return ProblemError(422, "INVALID_FORM", f"The form cannot be read. {what}.")


@dataclass
class _Part:
    name: str = ""
    file_name: str | None = None
    header: bytes = b""
    value: bytes = b""
    disposition: bytes = b""
    text: bytearray = field(default_factory=bytearray)


class _Reader:
    """Takes the parser's callbacks. File data is collected in `pending` and written between two chunks of the body."""

    def __init__(self, disk: IO[bytes], max_file_bytes: int) -> None:
        self.fields: defaultdict[str, list[str]] = defaultdict(list)
        self.pending: list[bytes] = []
        self.ended = False
        self.file_bytes = 0
        self._disk = disk
        self._max_file_bytes = max_file_bytes
        self._part = _Part()
        self._file_name: str | None = None
        self._digest = hashlib.sha256()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all_read,
        }

    def write_pending(self) -> None:
        for block in self.pending:
            self._digest.update(block)
            self._disk.write(block)
        self.pending.clear()

    def file(self, path: Path) -> ReceivedFile | None:
        if self._file_name is None:
            return None
        return ReceivedFile(path, self._file_name, self.file_bytes, self._digest.hexdigest())

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        if part.header.lower() == b"content-disposition":
            part.disposition = part.value
        part.header = part.value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._part.disposition)
        if b"name" not in options:
            raise _invalid("A part has no name")
        self._part.name = options[b"name"].decode("utf-8", "replace")
        file_name = options.get(b"filename")
        if (file_name is not None) != (self._part.name == _FILE_FIELD):
            raise _invalid(f"The file, and nothing else, belongs into the part named {_FILE_FIELD!r}")
        if file_name is not None:
            if self._file_name is not None:
                raise _invalid("It holds more than one file")
            self._file_name = self._part.file_name = display_name(file_name.decode("utf-8", "replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.file_name is None:
            self._part.text += data[start:end]
            return
        self.file_bytes += end - start
        if self.file_bytes > self._max_file_bytes:
            raise too_large(self._max_file_bytes)
        self.pending.append(data[start:end])

    def _end(self) -> None:
        if self._part.file_name is None:
            try:
                self.fields[self._part.name].append(self._part.text.decode())
            except UnicodeDecodeError:
                raise _invalid(f"The part {self._part.name[:50]!r} is not UTF-8") from None

    def _all_read(self) -> None:
        self.ended = True


def display_name(file_name: str) -> str:
    """The last part of a name as somebody sent it, fit to be shown."""
    last = re.split(r"[/\\]", file_name)[-1]
    return "".join(c for c in last if c.isprintable())[:255] or "upload"
