"""The words of a job that succeeded: read, corrected, and rendered to more subtitle files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import ValidationError

from singscript_gateway.api.document import WordsDocument
from singscript_gateway.api.gateway import Gateway, GatewayDep, JobDep, needs, read_object
from singscript_gateway.api.problems import MAX_ERRORS, Problem, ProblemError, invalid_input, problem_response
from singscript_gateway.api.shapes import (
    RenderedFiles,
    RenderOrder,
    RevisionList,
    RevisionShape,
    artifact_shape,
    body_schema,
)
from singscript_gateway.api.uploads import received_text
from singscript_gateway.jobs import actions
from singscript_gateway.jobs.model import RESULT_NAME, Artifact, Format, Job, Karaoke, Revision
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.subtitles import render_requests
from singscript_gateway.jobs.words import MAX_BYTES, Correction, corrected, faults
from singscript_serving.calls import response
from singscript_storage import ObjectStore, artifact_key

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/api/jobs/{job_id}", tags=["words"])

# For all files of one request.
RENDER_TIMEOUT_S = 60.0
_MEDIA_TYPE = "application/json"
_NOT_THERE: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "JOB_NOT_FOUND"},
    409: {"model": Problem, "description": "JOB_NOT_FINISHED: only a job that succeeded has words"},
}
_NOT_RENDERED: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "INVALID_INPUT, with the place of each fault in `errors`"},
    503: {
        "model": Problem,
        "description": "UPSTREAM_UNAVAILABLE: the aligner cannot be reached; OBJECT_REMOVED: the same file went with "
        "a job that was deleted meanwhile. Nothing was changed.",
    },
}
_ETAG = {"ETag": {"description": "The revision, in quotes.", "schema": {"type": "string"}, "example": '"2"'}}


async def _finished(job: JobDep) -> Job:
    if job.state is not JobState.SUCCEEDED:
        detail = f"The job is {job.state}; only one that has succeeded has words."
        raise ProblemError(409, "JOB_NOT_FINISHED", detail, state=job.state)
    return job


FinishedJobDep = Annotated[Job, Depends(_finished)]


@router.get(
    "/words",
    dependencies=[needs("jobs:read")],
    summary="The words of a job that succeeded, as they stand",
    response_model=WordsDocument,
    responses={200: {"description": "words.json.", "headers": _ETAG}, **_NOT_THERE},
)
async def get_words(
    gateway: GatewayDep,
    job: FinishedJobDep,
    revision: Annotated[int | None, Query(ge=1, description="An older state of them.")] = None,
) -> Response:
    """Its `ETag` is what a correction needs in `If-Match`."""
    revisions = await gateway.store.revisions(job.id, job.owner)
    wanted = revisions[-1] if revision is None else next((r for r in revisions if r.revision == revision), None)
    if wanted is None:
        detail = f"The words have {len(revisions)} revisions; there is no number {revision}."
        raise ProblemError(404, "REVISION_NOT_FOUND", detail, revision=revisions[-1].revision)
    content = await asyncio.to_thread(read_object, gateway.objects, wanted.key)
    return Response(content, media_type=_MEDIA_TYPE, headers={"ETag": _etag(wanted.revision)})


@router.get(
    "/words/revisions",
    dependencies=[needs("jobs:read")],
    summary="What the words were before",
    response_model=RevisionList,
    responses=_NOT_THERE,
)
async def list_revisions(gateway: GatewayDep, job: FinishedJobDep) -> RevisionList:
    """Each can be read: `GET …/words?revision=1`."""
    revisions = await gateway.store.revisions(job.id, job.owner)
    return RevisionList(revisions=[RevisionShape(**r.model_dump(exclude={"key"})) for r in revisions])


@router.put(
    "/words",
    dependencies=[needs("jobs:write")],
    summary="Correct the words",
    response_model=RenderedFiles,
    responses={
        200: {"description": "They stand, and every subtitle file shows them.", "headers": _ETAG},
        **_NOT_THERE,
        412: {"model": Problem, "description": "WORDS_CHANGED: `revision` is the one that stands"},
        413: {"model": Problem, "description": "TOO_LARGE"},
        428: {"model": Problem, "description": "WORDS_REVISION_MISSING"},
        **_NOT_RENDERED,
    },
    openapi_extra={"requestBody": {"required": True, "content": {_MEDIA_TYPE: {"schema": body_schema(Correction)}}}},
)
async def put_words(
    request: Request,
    gateway: GatewayDep,
    job: FinishedJobDep,
    if_match: Annotated[str | None, Header(description='`ETag` of the words that were corrected: `"1"`.')] = None,
) -> Response:
    """All lines are sent, right ones as they were. Words whose text or time is new are `corrected` from then on; the
    others keep their `timing`. What the words were before stays: see `/words/revisions`.
    """
    if if_match is None:
        detail = 'Send If-Match with the revision that was corrected, as its ETag has it: "1".'
        raise ProblemError(428, "WORDS_REVISION_MISSING", detail)
    content = await received_text(request, MAX_BYTES)
    try:
        correction = await asyncio.to_thread(Correction.model_validate_json, content)
    except ValidationError as error:
        return problem_response(invalid_input(error))
    while True:
        standing, document = await _words(gateway, job)
        # Quotes are often forgotten, and a weak tag of these bytes means the same; "*" is whatever stands.
        tags = {tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")}
        if not tags & {str(standing.revision), "*"}:
            raise _changed(standing.revision)
        document, content = await asyncio.to_thread(_corrected, document, correction, standing.revision + 1)
        files = {RESULT_NAME: (content, _MEDIA_TYPE)} | await _rendered(gateway, document, job.formats)
        stored, since = await _store(gateway, standing, files)
        if await gateway.store.put_files(job, job.formats, stored, since):
            logger.info("words corrected", extra={"revision": standing.revision + 1})
            return _answer(job, standing.revision + 1, stored)
        # The words were corrected meanwhile, or other files were made.
        job = await actions.find(gateway.store, job.id, job.owner)


@router.post(
    "/render",
    dependencies=[needs("jobs:write")],
    summary="Make more subtitle files",
    response_model=RenderedFiles,
    responses={
        200: {"description": "They are among its files.", "headers": _ETAG},
        **_NOT_THERE,
        **_NOT_RENDERED,
    },
)
async def render(gateway: GatewayDep, job: FinishedJobDep, order: RenderOrder) -> Response:
    """Of the words as they stand, without the sound. Formats that the job has already are made anew."""
    while True:
        standing, document = await _words(gateway, job)
        wanted = dict.fromkeys(order.formats, order.karaoke)
        files = await _rendered(gateway, document, wanted)
        stored, since = await _store(gateway, standing, files)
        if await gateway.store.put_files(job, job.formats | wanted, stored, since):
            return _answer(job, standing.revision, stored)
        job = await actions.find(gateway.store, job.id, job.owner)


async def _words(gateway: Gateway, job: Job) -> tuple[Revision, dict[str, Any]]:
    """The words that stand."""
    standing = (await gateway.store.revisions(job.id, job.owner))[-1]
    return standing, json.loads(await asyncio.to_thread(read_object, gateway.objects, standing.key))


def _corrected(document: dict[str, Any], correction: Correction, revision: int) -> tuple[dict[str, Any], bytes]:
    """The next revision of words.json, and its bytes.

    Raises:
        ProblemError: INVALID_INPUT, with the place of each fault.
    """
    if found := list(islice(faults(correction, document), MAX_ERRORS)):
        detail = f"The words cannot be kept. {found[0].field}: {found[0].message}."
        raise ProblemError(422, "INVALID_INPUT", detail, errors=[fault._asdict() for fault in found])
    document = corrected(document, correction, revision)
    return document, json.dumps(document, ensure_ascii=False, indent=1).encode()


def _changed(revision: int) -> ProblemError:
    detail = f"The words were changed meanwhile: revision {revision} stands. Read them again and repeat the correction."
    return ProblemError(412, "WORDS_CHANGED", detail, {"ETag": _etag(revision)}, revision=revision)


async def _rendered(
    gateway: Gateway, document: dict[str, Any], formats: Mapping[Format, Karaoke]
) -> dict[str, tuple[bytes, str]]:
    """Content and media type of each file, by its name.

    Raises:
        StageError: the aligner cannot be reached, takes too long, or refuses.
    """
    deadline_s = time.monotonic() + RENDER_TIMEOUT_S
    files: dict[str, tuple[bytes, str]] = {}
    for request in await asyncio.to_thread(render_requests, document, formats):
        call = gateway.aligner.Render(request, timeout=max(0.0, deadline_s - time.monotonic()))
        file = await response(call, "aligner")
        files[file.name] = (file.content, file.media_type)
    return files


async def _store(
    gateway: Gateway, standing: Revision, files: Mapping[str, tuple[bytes, str]]
) -> tuple[list[Artifact], datetime]:
    """Stores files that were made of the words that stand; returns them, and since when they were expected.

    Raises:
        ObjectRemoved: one is being removed just now, with another job.
    """
    source_sha256 = hashlib.sha256(standing.key.encode()).hexdigest()
    keys = {
        name: artifact_key("align", {"content": hashlib.sha256(content).hexdigest()}, source_sha256, name)
        for name, (content, _) in files.items()
    }
    expected = [await gateway.store.expect_object(key) for key in keys.values()]
    return await asyncio.to_thread(_put, gateway.objects, keys, files), min(expected)


def _put(objects: ObjectStore, keys: Mapping[str, str], files: Mapping[str, tuple[bytes, str]]) -> list[Artifact]:
    """Blocking."""
    artifacts: list[Artifact] = []
    with tempfile.TemporaryDirectory(prefix="singscript-words-") as folder:
        path = Path(folder) / "file"
        for name, (content, media_type) in files.items():
            path.write_bytes(content)
            found = objects.put(keys[name], path, media_type)
            artifacts.append(
                Artifact(
                    name=name,
                    stage="align",
                    key=found.key,
                    media_type=media_type,
                    size_bytes=found.size_bytes,
                    sha256=found.sha256,
                    levels=None,
                )
            )
    return artifacts


def _answer(job: Job, revision: int, stored: list[Artifact]) -> Response:
    made = RenderedFiles(revision=revision, artifacts=[artifact_shape(job.id, artifact) for artifact in stored])
    return Response(made.model_dump_json(), media_type=_MEDIA_TYPE, headers={"ETag": _etag(revision)})


def _etag(revision: int) -> str:
    return f'"{revision}"'
