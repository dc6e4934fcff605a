"""Jobs: create, list, look at, cancel, retry."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from singscript_core import logs
from singscript_gateway.api.gateway import Gateway, GatewayDep, JobDep
from singscript_gateway.api.problems import Problem, ProblemError, invalid_input, problem_response
from singscript_gateway.api.shapes import (
    CreatedJob,
    CreateJob,
    JobDetails,
    JobList,
    JobSummary,
    body_schema,
    job_details,
    job_summary,
)
from singscript_gateway.api.uploads import Form, ReceivedFile, received_form, received_text
from singscript_gateway.jobs.model import Job, JobOptions, JobRequest, Upload
from singscript_gateway.jobs.states import JobState
from singscript_storage import artifact_key

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

_LISTS = ("separator_engines", "transcriber_engines", "aligner_engines", "hot_words", "formats")
_OBJECTS = ("lookup", "karaoke", "webhook")
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "JOB_NOT_FOUND"}}


def _form_schema() -> dict[str, Any]:
    schema = body_schema(CreateJob)
    file = {"type": "string", "format": "binary", "description": "The sound; instead of `url`."}
    return {"type": "object", "properties": {"file": file} | schema["properties"]}


@router.post(
    "",
    status_code=202,
    summary="Create a job",
    response_model=CreatedJob,
    responses={
        202: {"headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}}},
        413: {"model": Problem, "description": "TOO_LARGE"},
        415: {"model": Problem, "description": "UNSUPPORTED_MEDIA_TYPE"},
        422: {"model": Problem, "description": "INVALID_INPUT, INVALID_FORM"},
        503: {"model": Problem, "description": "DATABASE_UNAVAILABLE, STORAGE_UNAVAILABLE"},
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
async def create_job(request: Request, gateway: GatewayDep) -> Response:
    """From a link (JSON), or from a file or a link (a form, parts in any order)."""
    try:
        match request.headers.get("content-type", "").partition(";")[0].strip().lower():
            case "application/json":
                order = CreateJob.model_validate_json(await received_text(request))
                job = await gateway.store.create(JobRequest(**order.model_dump()))
            case "multipart/form-data":
                async with received_form(request, gateway.settings.max_upload_bytes) as form:
                    job = await gateway.store.create(await _form_request(gateway, form))
            case _:
                detail = "Send application/json with a link, or multipart/form-data with a file."
                raise ProblemError(415, "UNSUPPORTED_MEDIA_TYPE", detail)
    except ValidationError as error:
        return problem_response(invalid_input(error))
    logs.job_id.set(str(job.id))
    logger.info("job created")
    created = (await _details(gateway, job)).model_dump(mode="json")
    if secret := await gateway.webhooks.secret_of(job.id):
        created["webhook_secret"] = secret
    return JSONResponse(created, status_code=202, headers={"Location": f"/api/jobs/{job.id}"})


@router.get("", summary="List jobs, newest first", response_model=JobList, responses={422: {"model": Problem}})
async def list_jobs(
    gateway: GatewayDep,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=100)] = None,
) -> JobList:
    before = _number(cursor) if cursor else None
    jobs = await gateway.store.list_jobs(state=state, before=before, limit=limit + 1)
    page = jobs[:limit]
    return JobList(
        jobs=[JobSummary.model_validate(job_summary(job)) for job in page],
        next_cursor=_cursor(page[-1].number) if len(jobs) > limit else None,
    )


@router.get("/{job_id}", summary="A job", response_model=JobDetails, responses=_NOT_FOUND)
async def get_job(gateway: GatewayDep, job: JobDep) -> JobDetails:
    """Its state, stages, warnings and files."""
    return await _details(gateway, job)


@router.delete(
    "/{job_id}",
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
    """May be repeated."""
    now = await gateway.store.cancel(job.id) or job
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
    summary="Retry a job",
    response_model=JobDetails,
    responses=_NOT_FOUND
    | {409: {"model": Problem, "description": "JOB_NOT_ENDED: it is under way; JOB_SUCCEEDED: it is done"}},
)
async def retry_job(gateway: GatewayDep, job: JobDep) -> JobDetails:
    """Queues a job that has failed or was cancelled. What it has stored of the stages before is not done again."""
    now = await gateway.store.restart(job.id)
    if now is None:
        now = await gateway.store.get(job.id) or job
        if now.state is JobState.SUCCEEDED:
            raise ProblemError(409, "JOB_SUCCEEDED", "The job has succeeded; there is nothing to retry.")
        raise ProblemError(409, "JOB_NOT_ENDED", f"The job is {now.state}. Wait for its end, or cancel it first.")
    logger.info("retry requested")
    return await _details(gateway, now)


async def _details(gateway: Gateway, job: Job) -> JobDetails:
    return job_details(job, *await gateway.store.details(job))


async def _form_request(gateway: Gateway, form: Form) -> JobRequest:
    """Checks all fields first; the file is stored only when everything is right."""
    fields = _fields(form)
    if form.file is None:
        return JobRequest(**CreateJob.model_validate(fields).model_dump())
    if "url" in fields:
        raise ProblemError(422, "INVALID_INPUT", "The form holds a file and a link. Send one of them.")
    if form.file.size_bytes == 0:
        raise ProblemError(422, "INVALID_INPUT", "The file is empty.")
    options = JobOptions.model_validate(fields)
    return JobRequest(**options.model_dump(), upload=await _store(gateway, form.file))


async def _store(gateway: Gateway, file: ReceivedFile) -> Upload:
    key = artifact_key("upload", {}, file.sha256, "original")
    await asyncio.to_thread(gateway.objects.put, key, file.path, "application/octet-stream")
    return Upload(key=key, file_name=file.file_name, size_bytes=file.size_bytes)


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
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ProblemError(422, "INVALID_INPUT", f"The field {name!r} of the form is no JSON.") from None


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(b"%d" % number).decode().rstrip("=")


def _number(cursor: str) -> int:
    try:
        number = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        number = -1
    if not 0 <= number < 2**63:
        raise ProblemError(422, "INVALID_INPUT", "The cursor is not one of ours. Use next_cursor of the page before.")
    return number
