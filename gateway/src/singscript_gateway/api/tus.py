"""Resumable uploads: tus 1.0 (https://tus.io/protocols/resumable-upload), its core and five of its extensions."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC
from email.utils import format_datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.types import Message

from singscript_gateway.api.gateway import Gateway, GatewayDep, PrincipalDep, needs
from singscript_gateway.api.problems import TUS_VERSION, Problem, ProblemError
from singscript_gateway.api.requests import allow_body
from singscript_gateway.api.uploads import display_name, too_large
from singscript_gateway.jobs.refusals import UPLOAD_NOT_FOUND
from singscript_gateway.uploads import intake
from singscript_gateway.uploads.intake import Checksum, Conflict, TooManyParts, WrongChecksum
from singscript_gateway.uploads.model import StoredUpload

EXTENSIONS = ("creation", "creation-with-upload", "checksum", "expiration", "termination")
ALGORITHMS = ("sha1", "sha256")
CONTENT_TYPE = "application/offset+octet-stream"
MAX_METADATA_BYTES = 4096
_MAX_BYTES = 2**63 - 1
_KEPT = "What had arrived is stored; HEAD says how much that is."
# Also to look: whoever may not go on has no need to know.
_MAY = needs("jobs:write")
_TUS = {"Tus-Resumable": TUS_VERSION}

router = APIRouter(prefix="/api/uploads", tags=["uploads"])


def _header(description: str, example: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


_HEADERS = {
    "Tus-Resumable": _header("The version of the protocol.", TUS_VERSION),
    "Upload-Offset": _header("How many bytes are stored.", "8388608"),
    "Upload-Expires": _header("When it goes unless more comes.", "Tue, 24 Nov 2026 04:30:00 GMT"),
}
_BODY = {
    "requestBody": {
        "description": "The bytes from `Upload-Offset` on.",
        "content": {CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}, "example": "(bytes)"}},
    }
}
_VERSION_MISSING: dict[int | str, dict[str, Any]] = {
    412: {"model": Problem, "description": "UNSUPPORTED_VERSION: `Tus-Resumable` is not 1.0.0"}
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "UPLOAD_NOT_FOUND: it never was, was removed, or has expired"}
} | _VERSION_MISSING
_REFUSED: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "INVALID_CHECKSUM; UPLOAD_CUT: what came before is stored"},
    408: {"model": Problem, "description": "BODY_TOO_SLOW: what came before is stored"},
    409: {"model": Problem, "description": "OFFSET_CONFLICT: `offset_bytes` is what is stored"},
    413: {"model": Problem, "description": "TOO_LARGE, TOO_MANY_PARTS: nothing of it was stored"},
    415: {"model": Problem, "description": "UNSUPPORTED_MEDIA_TYPE"},
    422: {"model": Problem, "description": "INVALID_INPUT"},
    460: {"model": Problem, "description": "CHECKSUM_MISMATCH: nothing of this request was stored"},
    503: {"model": Problem, "description": "DATABASE_UNAVAILABLE, STORAGE_UNAVAILABLE, NO_TEMPORARY_SPACE, STOPPING"},
}


class Cut(intake.Cut):
    """The body ended too early; `problem` says why."""

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def _problem(
    status: int, reason: str, detail: str, headers: dict[str, str] | None = None, **facts: object
) -> ProblemError:
    return ProblemError(status, reason, detail, _TUS | (headers or {}), **facts)


async def _versioned(
    tus_resumable: Annotated[Literal["1.0.0"], Header(description="The version of the protocol.")],
) -> None:
    """Any other is answered by `problems.py`: UNSUPPORTED_VERSION."""


async def _found(
    gateway: GatewayDep,
    principal: PrincipalDep,
    upload_id: Annotated[UUID, Path(description="The last part of the `Location` that `POST /api/uploads` gave.")],
) -> StoredUpload:
    """Raises ProblemError UPLOAD_NOT_FOUND, also where it is somebody else's."""
    upload = await gateway.uploads.get(principal.owner, upload_id)
    if upload is None:
        raise _gone()
    return upload


UploadDep = Annotated[StoredUpload, Depends(_found)]
OffsetHeader = Annotated[int, Header(ge=0, le=_MAX_BYTES, description="Where the bytes begin.", examples=[0])]
ChecksumHeader = Annotated[
    str | None,
    Header(
        max_length=200,
        description="`sha1` or `sha256`, a space, and base64 of the digest of this body.",
        examples=["sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="],
    ),
]


@router.options(
    "",
    status_code=204,
    summary="What of tus is spoken here",
    responses={204: {"description": "In its headers.", "headers": {"Tus-Version": _header("Of tus.", TUS_VERSION)}}},
)
async def options(gateway: GatewayDep) -> Response:
    """The version, the extensions, the algorithms of checksums, and the size of the largest file."""
    headers = {
        "Tus-Version": TUS_VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        "Tus-Max-Size": str(gateway.settings.max_upload_bytes),
    }
    return Response(status_code=204, headers=_TUS | headers)


@router.post(
    "",
    status_code=201,
    response_class=Response,
    summary="Begin an upload",
    dependencies=[_MAY, Depends(_versioned)],
    responses={
        201: {
            "description": "`Location` is where the bytes go; its last part is the upload's id.",
            "headers": _HEADERS
            | {"Location": _header("The upload.", "/api/uploads/5b1c1f0e-6c1f-4a8e-9d5e-0a4f6f0b8f57")},
        }
    }
    | _VERSION_MISSING
    | _REFUSED,
    openapi_extra=_BODY,
)
async def create(
    request: Request,
    gateway: GatewayDep,
    principal: PrincipalDep,
    upload_length: Annotated[
        int, Header(ge=1, le=_MAX_BYTES, description="Size of the whole file, in bytes.", examples=[8388608])
    ],
    upload_metadata: Annotated[
        str,
        Header(
            max_length=MAX_METADATA_BYTES,
            pattern=r"^[\x20-\x7e]*$",
            description="Names and base64 values, separated by commas; `filename` is shown.",
            examples=["filename c29uZy5tcDM="],
        ),
    ] = "",
    upload_checksum: ChecksumHeader = None,
) -> Response:
    """The file's first bytes may come with this request, as those of `PATCH` do."""
    if upload_length > gateway.settings.max_upload_bytes:
        raise too_large(gateway.settings.max_upload_bytes, _TUS)
    name = _file_name(upload_metadata)
    checksum = _checksum(upload_checksum)
    with_bytes = _media_type(request) == CONTENT_TYPE
    if with_bytes:
        _check_size(request, upload_length)
    upload = await gateway.uploads.create(
        principal.owner, length_bytes=upload_length, file_name=name, metadata=upload_metadata
    )
    location = {"Location": f"/api/uploads/{upload.id}"}
    if with_bytes:
        try:
            upload = await _take(request, gateway, upload, checksum)
        except ProblemError as error:
            error.headers = {**(error.headers or {}), **location}
            raise
    return Response(status_code=201, headers=_state(upload) | location)


@router.head(
    "/{upload_id}",
    response_class=Response,
    summary="How much of an upload is stored",
    dependencies=[_MAY, Depends(_versioned)],
    responses={200: {"description": "In its headers.", "headers": _HEADERS}} | _NOT_FOUND,
)
async def look(upload: UploadDep) -> Response:
    """An upload that was cut goes on from there."""
    headers = {"Upload-Length": str(upload.length_bytes), "Cache-Control": "no-store"}
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return Response(status_code=200, headers=_state(upload) | headers)


@router.patch(
    "/{upload_id}",
    status_code=204,
    summary="Go on with an upload",
    dependencies=[_MAY, Depends(_versioned)],
    responses={204: {"description": "All of it is stored.", "headers": _HEADERS}} | _NOT_FOUND | _REFUSED,
    openapi_extra=_BODY,
)
async def add(
    request: Request,
    gateway: GatewayDep,
    upload: UploadDep,
    upload_offset: OffsetHeader,
    upload_checksum: ChecksumHeader = None,
) -> Response:
    """Bytes that arrived before a cut are kept, unless they came with a checksum. Of two at once only one is taken."""
    if _media_type(request) != CONTENT_TYPE:
        raise _problem(415, "UNSUPPORTED_MEDIA_TYPE", f"Send the bytes as {CONTENT_TYPE}.")
    checksum = _checksum(upload_checksum)
    if upload_offset != upload.offset_bytes:
        raise _conflict(upload)
    _check_size(request, upload.length_bytes - upload.offset_bytes)
    upload = await _take(request, gateway, upload, checksum)
    return Response(status_code=204, headers=_state(upload))


@router.delete(
    "/{upload_id}",
    status_code=204,
    summary="Remove an upload",
    dependencies=[_MAY, Depends(_versioned)],
    responses={204: {"description": "There is no such upload any more."}} | _NOT_FOUND,
)
async def remove(gateway: GatewayDep, upload: UploadDep) -> Response:
    """Finished or not. Jobs that were made of it keep their file."""
    if not await gateway.uploads.delete(upload.owner, upload.id):
        raise _gone()
    gateway.remover.wake()
    return Response(status_code=204, headers=_TUS)


@router.post("/{upload_id}", include_in_schema=False, dependencies=[_MAY, Depends(_versioned)])
async def by_other_name(
    request: Request,
    gateway: GatewayDep,
    upload: UploadDep,
    x_http_method_override: Annotated[str, Header()] = "",
    upload_offset: Annotated[int | None, Header(ge=0, le=_MAX_BYTES)] = None,
    upload_checksum: ChecksumHeader = None,
) -> Response:
    """For clients that are let do nothing but POST."""
    match x_http_method_override.upper():
        case "PATCH":
            if upload_offset is None:
                raise _problem(422, "INVALID_INPUT", "Send Upload-Offset: where the bytes begin.")
            return await add(request, gateway, upload, upload_offset, upload_checksum)
        case "HEAD":
            return await look(upload)
        case "DELETE":
            return await remove(gateway, upload)
        case _:
            detail = "POST needs X-HTTP-Method-Override here: PATCH, HEAD or DELETE."
            raise _problem(405, "METHOD_NOT_ALLOWED", detail, {"Allow": "PATCH, HEAD, DELETE"})


async def _take(request: Request, gateway: Gateway, upload: StoredUpload, checksum: Checksum | None) -> StoredUpload:
    """Stores the body, and puts the file together when that was all of it."""
    try:
        async with aclosing(_chunks(request, gateway, upload)) as chunks:
            upload = await gateway.intake.take(upload, chunks, checksum)
        return await gateway.intake.finished(upload) if upload.complete else upload
    except Cut as cut:
        raise cut.problem from None
    except TooManyParts:
        detail = "The file came in too many small pieces. Begin another upload, and send more at once: 64 KiB at least."
        raise _problem(413, "TOO_MANY_PARTS", detail) from None
    except WrongChecksum:
        gateway.remover.wake()
        detail = "The bytes are not what their checksum says, and were not stored. Send them again."
        raise _problem(460, "CHECKSUM_MISMATCH", detail) from None
    except Conflict:
        now = await gateway.uploads.get(upload.owner, upload.id)
        raise _conflict(now) if now else _gone() from None


async def _chunks(request: Request, gateway: Gateway, upload: StoredUpload) -> AsyncGenerator[bytes]:
    """The body as it comes; raises Cut when it ends too early, and ProblemError for more than fits."""
    left_bytes = upload.length_bytes - upload.offset_bytes
    # It is counted here.
    allow_body(request, None)
    closing = asyncio.create_task(gateway.closing.wait())
    try:
        more = True
        while more:
            receiving = asyncio.create_task(_received(request))
            try:
                await asyncio.wait({receiving, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not receiving.done():
                    detail = f"This process is to stop. {_KEPT}"
                    raise Cut(_problem(503, "STOPPING", detail, {"Retry-After": "1"}))
                message = receiving.result()
            finally:
                receiving.cancel()
            if message["type"] == "http.disconnect":
                raise Cut(_problem(400, "UPLOAD_CUT", f"The request ended before its body did. {_KEPT}"))
            chunk, more = message.get("body", b""), message.get("more_body", False)
            left_bytes -= len(chunk)
            if left_bytes < 0:
                raise _too_much(upload.length_bytes - upload.offset_bytes)
            if chunk:
                yield chunk
    finally:
        closing.cancel()


async def _received(request: Request) -> Message:
    """The next message of the server; raises Cut when the sender is too slow."""
    try:
        return await request.receive()
    except ProblemError as error:
        raise Cut(error) from None


def _check_size(request: Request, left_bytes: int) -> None:
    declared_bytes = request.headers.get("content-length", "")
    if declared_bytes.isdigit() and int(declared_bytes) > left_bytes:
        raise _too_much(left_bytes)


def _too_much(left_bytes: int) -> ProblemError:
    return _problem(413, "TOO_LARGE", "These are more bytes than Upload-Length has announced.", limit_bytes=left_bytes)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _state(upload: StoredUpload) -> dict[str, str]:
    return _TUS | {
        "Upload-Offset": str(upload.offset_bytes),
        "Upload-Expires": format_datetime(upload.expires_at.astimezone(UTC), usegmt=True),
    }


def _gone() -> ProblemError:
    return _problem(404, "UPLOAD_NOT_FOUND", UPLOAD_NOT_FOUND)


def _conflict(upload: StoredUpload) -> ProblemError:
    detail = f"{upload.offset_bytes} bytes of the upload are stored. Go on from there."
    return _problem(409, "OFFSET_CONFLICT", detail, _state(upload), offset_bytes=upload.offset_bytes)


def _file_name(metadata: str) -> str:
    for pair in metadata.split(","):
        name, _, value = pair.strip().partition(" ")
        try:
            content = base64.b64decode(value, validate=True)
        except binascii.Error:
            detail = "Upload-Metadata has a value that is no base64."
            raise _problem(422, "INVALID_INPUT", detail) from None
        if name == "filename":
            return display_name(content.decode("utf-8", "replace"))
    return display_name("")


def _checksum(header: str | None) -> Checksum | None:
    if header is None:
        return None
    algorithm, _, value = header.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if algorithm not in ALGORITHMS or not digest:
        detail = f"Upload-Checksum is one of {', '.join(ALGORITHMS)}, a space, and base64 of the digest."
        raise _problem(400, "INVALID_CHECKSUM", detail)
    return Checksum(algorithm, digest)
