"""Jobs: create, list, look at, cancel, retry, delete."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError
from pydantic_core import from_json

from singscript_core import logs
from singscript_gateway.api.cursors import Cursor, Limit, number_of, page_of
from singscript_gateway.api.gateway import QUOTAS_OF_JOBS, Gateway, GatewayDep, JobDep, PrincipalDep, needs
from singscript_gateway.api.problems import UPLOAD_NOT_FOUND, Problem, ProblemError, invalid_input, problem_response
from singscript_gateway.api.requests import MAX_BODY_BYTES
from singscript_gateway.api.shapes import (
    CreatedJob,
    CreateJob,
    JobDetails,
    JobList,
    JobSummary,
    Moment,
    body_schema,
    job_details,
    job_summary,
)
from singscript_gateway.api.uploads import Form, ReceivedFile, received_form, received_text
from singscript_gateway.jobs.model import Job, JobOptions, JobRequest, Upload
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import Answer, Filter, Keyed
from singscript_gateway.jobs.transaction import ObjectRemoved
from singscript_gateway.uploads.intake import Conflict
from singscript_storage import artifact_key

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

_LISTS = ("separator_engines", "transcriber_engines", "aligner_engines", "hot_words", "formats")
_OBJECTS = ("lookup", "karaoke", "webhook")
# How often an upload is stored, should it be removed meanwhile with another job that had the same file.
_STORE_TRIES = 3
_STORE_PAUSE_S = 0.5
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "JOB_NOT_FOUND"}}


def _form_schema() -> dict[str, Any]:
    schema = body_schema(CreateJob)
    file = {"type": "string", "format": "binary", "description": "The sound; instead of `url`."}
    return {"type": "object", "properties": {"file": file} | schema["properties"]}


@router.post(
    "",
    status_code=202,
    dependencies=[needs("jobs:write")],
    summary="Create a job",
    response_model=CreatedJob,
    responses={
        202: {"headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}}},
        404: {"model": Problem, "description": "UPLOAD_NOT_FOUND"},
        409: {"model": Problem, "description": "UPLOAD_NOT_FINISHED"},
        413: {"model": Problem, "description": "TOO_LARGE"},
        415: {"model": Problem, "description": "UNSUPPORTED_MEDIA_TYPE"},
        422: {"model": Problem, "description": "INVALID_INPUT, INVALID_FORM, IDEMPOTENCY_KEY_REUSED"},
        429: QUOTAS_OF_JOBS,
        503: {"model": Problem, "description": "DATABASE_UNAVAILABLE, STORAGE_UNAVAILABLE, OBJECT_REMOVED"},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": body_schema(CreateJob)},
                "multipart/form-data": {"schema": _form_schema()},
            },
        }
    },
)
async def create_job(
    request: Request,
    gateway: GatewayDep,
    principal: PrincipalDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x20-\x7e]*$",
            description="Any text that is new for each job, such as a UUID. Sent again within 24 hours it makes no "
            "second job: the answer is the first one.",
            examples=["5b1c1f0e-6c1f-4a8e-9d5e-0a4f6f0b8f57"],
        ),
    ] = None,
) -> Response:
    """From a link or a finished upload (JSON), or from one of these or a file (a form, parts in any order)."""
    try:
        match request.headers.get("content-type", "").partition(";")[0].strip().lower():
            case "application/json":
                order = CreateJob.model_validate_json(await received_text(request))
                answer = await _create(gateway, principal.owner, _request(order), order.upload, idempotency_key)
            case "multipart/form-data":
                await _check_size(request, gateway, principal.owner)
                async with received_form(request, gateway.settings.max_upload_bytes) as form:
                    if form.file:
                        wanted, source = _file_request(form, form.file), form.file
                    else:
                        order = CreateJob.model_validate(_fields(form))
                        wanted, source = _request(order), order.upload
                    answer = await _create(gateway, principal.owner, wanted, source, idempotency_key)
            case _:
                detail = "Send application/json with a link or an upload, or multipart/form-data with a file."
                raise ProblemError(415, "UNSUPPORTED_MEDIA_TYPE", detail)
    except ValidationError as error:
        return problem_response(invalid_input(error))
    logs.job_id.set(str(answer.job_id))
    logger.info("job created before, with the same key" if answer.repeated else "job created")
    headers = {"Location": f"/api/jobs/{answer.job_id}"}
    return Response(answer.body, status_code=202, headers=headers, media_type="application/json")


@router.get(
    "",
    dependencies=[needs("jobs:read")],
    summary="List jobs, newest first",
    response_model=JobList,
    responses={422: {"model": Problem}},
)
async def list_jobs(
    gateway: GatewayDep,
    principal: PrincipalDep,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in one of these states.")] = None,
    since: Annotated[Moment | None, Query(description="Created at this moment or later.")] = None,
    until: Annotated[Moment | None, Query(description="Created before this moment.")] = None,
    reason: Annotated[
        str | None, Query(pattern=r"^[A-Z0-9_]{1,100}$", description="Failed with this `reason` of their problem.")
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JobList:
    wanted = Filter(states=state, since=since, until=until, reason=reason)
    jobs = await gateway.store.list_jobs(principal.owner, wanted, before=number_of(cursor), limit=limit + 1)
    page, next_cursor = page_of(jobs, limit)
    return JobList(jobs=[JobSummary.model_validate(job_summary(job)) for job in page], next_cursor=next_cursor)


@router.get(
    "/{job_id}", dependencies=[needs("jobs:read")], summary="A job", response_model=JobDetails, responses=_NOT_FOUND
)
async def get_job(gateway: GatewayDep, job: JobDep) -> JobDetails:
    """Its state, stages, warnings and files."""
    return await _details(gateway, job)


@router.post(
    "/{job_id}/cancel",
    dependencies=[needs("jobs:write")],
    summary="Cancel a job",
    response_model=JobDetails,
    responses=_NOT_FOUND
    | {
        200: {"description": "It is cancelled."},
        202: {"model": JobDetails, "description": "It is running, and will be cancelled in a moment."},
        409: {"model": Problem, "description": "JOB_FINISHED: it has succeeded or failed"},
    },
)
async def cancel_job(gateway: GatewayDep, job: JobDep, response: Response) -> JobDetails:
    """May be repeated. The job and what it made stay until it is deleted."""
    now = await gateway.store.cancel(job.id, job.owner) or job
    if now.state.final and now.state is not JobState.CANCELLED:
        raise ProblemError(
            409, "JOB_FINISHED", f"The job has {now.state}; there is nothing to cancel.", state=now.state
        )
    if not now.state.final:
        response.status_code = 202
    logger.info("cancel requested", extra={"state": now.state})
    return await _details(gateway, now)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    dependencies=[needs("jobs:write")],
    summary="Retry a job",
    response_model=JobDetails,
    responses=_NOT_FOUND
    | {
        409: {"model": Problem, "description": "JOB_NOT_ENDED: it is under way; JOB_SUCCEEDED: it is done"},
        429: QUOTAS_OF_JOBS,
    },
)
async def retry_job(gateway: GatewayDep, job: JobDep) -> JobDetails:
    """Queues a job that has failed or was cancelled. What it has stored of the stages before is not done again."""
    now = await gateway.store.restart(job.id, job.owner)
    if now is None:
        now = await gateway.store.get(job.id, job.owner) or job
        if now.state is JobState.SUCCEEDED:
            raise ProblemError(409, "JOB_SUCCEEDED", "The job has succeeded; there is nothing to retry.")
        raise ProblemError(409, "JOB_NOT_ENDED", f"The job is {now.state}. Wait for its end, or cancel it first.")
    logger.info("retry requested")
    return await _details(gateway, now)


@router.delete(
    "/{job_id}",
    status_code=204,
    dependencies=[needs("jobs:write")],
    summary="Delete a job that has ended, with its files",
    responses=_NOT_FOUND
    | {
        204: {"description": "There is no such job any more."},
        409: {"model": Problem, "description": "JOB_NOT_FINISHED: cancel it first"},
    },
)
async def delete_job(gateway: GatewayDep, job: JobDep) -> None:
    """Its upload, its files and every revision of its words go, too, save what other jobs have in common with it.
    What it has spent stays in `GET /api/usage`.
    """
    now = await gateway.store.delete(job.id, job.owner) or job
    if not now.state.final:
        detail = f"The job is {now.state}. Cancel it with POST /api/jobs/{job.id}/cancel; delete it when it has ended."
        raise ProblemError(409, "JOB_NOT_FINISHED", detail, state=now.state)
    gateway.remover.wake()
    logger.info("job deleted", extra={"state": now.state})


async def _check_size(request: Request, gateway: Gateway, owner: str) -> None:
    """Before a file is received that its sender may not send. Raises QuotaExceeded, UploadAboveQuota."""
    declared = request.headers.get("content-length", "")
    # What is beside the file is at most this large; without a length, or below it, the file is judged once it is here.
    if declared.isdecimal() and len(declared) < 19 and int(declared) > MAX_BODY_BYTES:
        await gateway.quotas.check_upload(owner, int(declared) - MAX_BODY_BYTES)


async def _details(gateway: Gateway, job: Job) -> JobDetails:
    return job_details(job, *await gateway.store.details(job))


async def _create(
    gateway: Gateway, owner: str, order: JobRequest, source: ReceivedFile | UUID | None, key: str | None
) -> Answer:
    """Makes the job, and stores its file before that; or finds the answer that was given to the same key.

    Args:
        source: the file of the form, or the id of an upload; None for a link.

    Raises:
        IdempotencyKeyReused: the key was sent with another job.
        ObjectRemoved: the file was removed with another job, again and again.
        ProblemError: UPLOAD_NOT_FOUND, UPLOAD_NOT_FINISHED.
    """
    keyed = Keyed(owner, key, _digest(order, source)) if key else None
    if keyed and (kept := await gateway.store.answer(keyed)):
        return kept
    tries = 1
    while True:
        try:
            since = None
            match source:
                case UUID():
                    order, since = await _with_upload(gateway, owner, order, source)
                case ReceivedFile() if order.upload:
                    since = await _store(gateway, order.upload.key, source)
                case _:
                    pass
            return await _insert(gateway, owner, order, keyed, since)
        except ObjectRemoved:
            if tries == _STORE_TRIES:
                raise
        tries += 1
        await asyncio.sleep(_STORE_PAUSE_S)


async def _insert(
    gateway: Gateway, owner: str, order: JobRequest, keyed: Keyed | None, since: datetime | None
) -> Answer:
    if keyed:
        return await gateway.store.create_once(order, keyed, _body, since)
    job = await gateway.store.create(order, owner, since)
    secret = await gateway.webhooks.secret_of(job.id, owner) if order.webhook else None
    return Answer(job.id, _body(job, secret), repeated=False)


def _body(job: Job, webhook_secret: str | None) -> str:
    """The answer to a job that was just made."""
    created = job_details(job, [], [], [], []).model_dump(mode="json")
    if webhook_secret:
        created["webhook_secret"] = webhook_secret
    return json.dumps(created, ensure_ascii=False)


def _digest(order: JobRequest, source: ReceivedFile | UUID | None) -> str:
    """The same for what asks for the same, whatever the file is called."""
    asked = order.model_dump(mode="json", exclude_defaults=True, exclude={"upload"})
    if isinstance(source, UUID):
        asked["upload"] = str(source)
    elif order.upload:
        asked["upload"] = order.upload.key
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _request(order: CreateJob) -> JobRequest:
    """Without the upload, of which only the id is known."""
    return JobRequest(**order.model_dump(exclude={"upload"}))


async def _with_upload(
    gateway: Gateway, owner: str, order: JobRequest, upload_id: UUID
) -> tuple[JobRequest, datetime | None]:
    """The order with its upload, and since when that has been stored."""
    upload = await gateway.uploads.get(owner, upload_id)
    if upload and not upload.complete:
        detail = f"Of the upload {upload.offset_bytes} of {upload.length_bytes} bytes are stored. Go on with it first."
        raise ProblemError(409, "UPLOAD_NOT_FINISHED", detail, offset_bytes=upload.offset_bytes)
    try:
        # Whoever took its last byte may have died before it was put together.
        upload = await gateway.intake.finished(upload) if upload else None
    except Conflict:
        upload = None
    if upload is None or upload.key is None:
        raise ProblemError(404, "UPLOAD_NOT_FOUND", UPLOAD_NOT_FOUND)
    stored = Upload(key=upload.key, file_name=upload.file_name, size_bytes=upload.length_bytes, counted=True)
    return order.model_copy(update={"upload": stored}), upload.stored_since


def _file_request(form: Form, file: ReceivedFile) -> JobRequest:
    """What a form with a file asks for; nothing is stored yet."""
    fields = _fields(form)
    if "url" in fields or "upload" in fields:
        raise ProblemError(422, "INVALID_INPUT", "The form holds a file and another source. Send one of them.")
    if file.size_bytes == 0:
        raise ProblemError(422, "INVALID_INPUT", "The file is empty.")
    key = artifact_key("upload", {}, file.sha256, "original")
    upload = Upload(key=key, file_name=file.file_name, size_bytes=file.size_bytes)
    return JobRequest(**JobOptions.model_validate(fields).model_dump(), upload=upload)


async def _store(gateway: Gateway, key: str, file: ReceivedFile) -> datetime:
    """Stores the file; returns since when it was expected. Raises ObjectRemoved when it is being removed just now."""
    since = await gateway.store.expect_object(key)
    await asyncio.to_thread(gateway.objects.put, key, file.path, "application/octet-stream")
    return since


def _fields(form: Form) -> dict[str, object]:
    """The form's texts as the JSON would have them: lists by commas, objects as JSON; what is empty was left out."""
    fields: dict[str, object] = {}
    for name, texts in form.fields.items():
        if name in _LISTS:
            fields[name] = [part.strip() for text in texts for part in text.split(",") if part.strip()]
        elif len(texts) > 1:
            raise ProblemError(422, "INVALID_INPUT", f"The form holds {name[:50]!r} more than once.")
        elif texts[0]:
            fields[name] = _read_json(name, texts[0]) if name in _OBJECTS else texts[0]
    return fields


def _read_json(name: str, text: str) -> object:
    try:
        # Like the body that is JSON: no half of a surrogate pair, and no depth without end.
        return from_json(text)
    except ValueError:
        raise ProblemError(422, "INVALID_INPUT", f"The field {name!r} of the form is no JSON.") from None
