"""What a job left behind: its result, and each of its files."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from singscript_gateway.api.gateway import GatewayDep, JobDep, needs, read_object
from singscript_gateway.api.heads import is_head
from singscript_gateway.api.problems import Problem, ProblemError, problem_of, problem_response
from singscript_gateway.api.shapes import JobResult, job_result
from singscript_gateway.jobs.model import RESULT_NAME, Artifact
from singscript_gateway.jobs.states import JobState
from singscript_storage import Reader

router = APIRouter(tags=["jobs"])

# What may be shown in a page of ours; anything else, such as HTML from a link, is for saving only.
_SHOWN = re.compile(r"(audio|video)/[\w.+-]+|application/json|text/plain|application/x-subrip|text/vtt")


@router.get(
    "/api/jobs/{job_id}/result",
    dependencies=[needs("jobs:read")],
    summary="The words of a job that succeeded",
    response_model=JobResult,
    responses={
        404: {"model": Problem, "description": "JOB_NOT_FOUND"},
        409: {
            "model": Problem,
            "description": "JOB_NOT_FINISHED, JOB_CANCELLED, or why it failed on our side",
        },
        422: {"model": Problem, "description": "Why it failed when the input is at fault"},
    },
)
async def get_result(gateway: GatewayDep, job: JobDep) -> Response:
    """Media, lines with timed words, what was heard, engines and warnings, and the files that can be fetched."""
    if job.problem:
        return problem_response(problem_of(job.problem))
    if job.state is JobState.CANCELLED:
        raise ProblemError(409, "JOB_CANCELLED", "The job was cancelled; it has no result.", state=job.state)
    if job.state is not JobState.SUCCEEDED:
        detail = f"The job is {job.state}; its result comes when it has succeeded."
        raise ProblemError(409, "JOB_NOT_FINISHED", detail, state=job.state)
    artifacts = await gateway.store.artifacts(job.id, job.owner)
    key = next(a.key for a in artifacts if a.name == RESULT_NAME)
    words = json.loads(await asyncio.to_thread(read_object, gateway.objects, key))
    return Response(job_result(job, words, artifacts), media_type="application/json")


@router.get(
    "/api/jobs/{job_id}/artifacts/{name}",
    dependencies=[needs("jobs:read")],
    summary="A file that a job made",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The whole file.", "content": {"*/*": {}}},
        206: {"description": "The part that `Range` asked for.", "content": {"*/*": {}}},
        304: {"description": "`If-None-Match` has its ETag, which is its SHA-256."},
        307: {
            "description": "The storage has it, at this address for a few minutes; ask there without the key, and for "
            "the same `Range`. Only where the operator has told at which address clients reach the storage.",
            "headers": {
                "Location": {
                    "description": "Whoever has it can read the file: a secret.",
                    "schema": {"type": "string", "format": "uri"},
                },
                "Cache-Control": {"description": "`no-store`.", "schema": {"type": "string"}},
            },
        },
        404: {"model": Problem, "description": "JOB_NOT_FOUND, ARTIFACT_NOT_FOUND, OBJECT_NOT_FOUND"},
        416: {"model": Problem, "description": "RANGE_NOT_SATISFIABLE"},
    },
)
async def get_artifact(
    request: Request,
    gateway: GatewayDep,
    job: JobDep,
    name: Annotated[str, Path(description="As `artifacts` of the job has it.", examples=["vocals.flac"])],
    range: Annotated[str | None, Header(description="One range of bytes.")] = None,
    if_none_match: Annotated[
        str | None, Header(description="The `sha256` of a copy, in quotes: 304 where the file is still that one.")
    ] = None,
) -> Response:
    """Such as `vocals.flac`, `drums.mp3`, `words.json`, `lyrics.srt`. Also before the job has ended."""
    artifact = next((a for a in await gateway.store.artifacts(job.id, job.owner) if a.name == name), None)
    if artifact is None:
        raise ProblemError(
            404, "ARTIFACT_NOT_FOUND", "The job has no file of this name. Its artifacts are listed in it."
        )
    headers = _headers(artifact)
    if if_none_match and headers["ETag"] in (tag.strip().removeprefix("W/") for tag in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    # A signed address is good for GET alone.
    head = is_head(request)
    link = None if head else gateway.objects.link(artifact.key, _content_type(artifact), headers["Content-Disposition"])
    if link is not None:
        return Response(status_code=307, headers={"Location": link, "Cache-Control": "no-store"})
    first, last = _span(range, artifact.size_bytes)
    length = last - first + 1
    headers["Content-Length"] = str(length)
    status = 200
    if range is not None and length < artifact.size_bytes:
        status = 206
        headers["Content-Range"] = f"bytes {first}-{last}/{artifact.size_bytes}"
    if head:
        return Response(None, status, headers, _content_type(artifact))
    # Asked for without a length, the whole file is checked before its last block is sent.
    part_bytes = length if status == 206 else None
    reader = await asyncio.to_thread(gateway.objects.open, artifact.key, first, part_bytes)
    return StreamingResponse(_blocks(reader), status, headers, _content_type(artifact))


def _content_type(artifact: Artifact) -> str:
    # Without it browsers guess.
    return f"{artifact.media_type}; charset=utf-8" if artifact.media_type.startswith("text/") else artifact.media_type


def _headers(artifact: Artifact) -> dict[str, str]:
    shown = _SHOWN.fullmatch(artifact.media_type)
    name = re.sub(r"[^\w. -]", "_", artifact.name, flags=re.ASCII)
    return {
        "ETag": f'"{artifact.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def _span(header: str | None, size_bytes: int) -> tuple[int, int]:
    """First and last byte to send; all of them for a header that is none of one range."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header or "")
    if not match or match.group(1, 2) == ("", ""):
        return 0, size_bytes - 1
    start, end = match.group(1, 2)
    if start == "":
        first, last = max(0, size_bytes - int(end)), size_bytes - 1
    else:
        first, last = int(start), min(int(end or size_bytes), size_bytes - 1)
    if first > last and end and start and int(end) < int(start):
        return 0, size_bytes - 1
    if first > last:
        detail = f"The file has {size_bytes} bytes; the range lies outside."
        headers = {"Content-Range": f"bytes */{size_bytes}"}
        raise ProblemError(416, "RANGE_NOT_SATISFIABLE", detail, headers, size_bytes=size_bytes)
    return first, last


async def _blocks(reader: Reader) -> AsyncIterator[bytes]:
    with reader:
        while block := await asyncio.to_thread(next, reader, b""):
            yield block
