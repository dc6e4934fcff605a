"""Jobs: create, list, look at, cancel, retry, delete."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError
from pydantic_core import from_json

from singscript_gateway.api.cursors import Cursor, Limit, number_of, page_of
from singscript_gateway.api.gateway import QUOTAS_OF_JOBS, Gateway, GatewayDep, JobDep, PrincipalDep, needs
from singscript_gateway.api.problems import Problem, ProblemError, invalid_input, problem_response
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
from singscript_gateway.jobs import actions
from singscript_gateway.jobs.model import Job, JobOptions, JobRequest, Upload
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import Filter
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
        503: {
            "model": Problem,
            "description": "DATABASE_UNAVAILABLE, STORAGE_UNAVAILABLE, NO_TEMPORARY_SPACE, OBJECT_REMOVED",
        },
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": body_schema(CreateJob)},
                "multipart/form-data": {
                    "schema": _form_schema(),
                    "example": {"file": "(bytes)", "lyrics": "La la la", "formats": "srt,ass", "language": "en"},
                },
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
                answer = await gateway.creation.create(principal.owner, _request(order), order.upload, idempotency_key)
            case "multipart/form-data":
                await _check_size(request, gateway, principal.owner)
                async with received_form(request, gateway.settings.max_upload_bytes) as form:
                    if form.file:
                        wanted, source = _file_request(form, form.file), form.file.path
                    else:
                        order = CreateJob.model_validate(_fields(form))
                        wanted, source = _request(order), order.upload
                    answer = await gateway.creation.create(principal.owner, wanted, source, idempotency_key)
            case _:
                detail = "Send application/json with a link or an upload, or multipart/form-data with a file."
                raise ProblemError(415, "UNSUPPORTED_MEDIA_TYPE", detail)
    except ValidationError as error:
        return problem_response(invalid_input(error))
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
    """Your own. `next_cursor` leads to the page after."""
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
    now = await actions.cancel(gateway.store, job)
    if not now.state.final:
        response.status_code = 202
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
    return await _details(gateway, await actions.retry(gateway.store, job))


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
    await actions.delete(gateway.store, job)
    gateway.remover.wake()


async def _check_size(request: Request, gateway: Gateway, owner: str) -> None:
    """Before a file is received that its sender may not send. Raises QuotaExceeded, UploadAboveQuota."""
    declared = request.headers.get("content-length", "")
    # What is beside the file is at most this large; without a length, or below it, the file is judged once it is here.
    if declared.isdecimal() and len(declared) < 19 and int(declared) > MAX_BODY_BYTES:
        await gateway.quotas.check_upload(owner, int(declared) - MAX_BODY_BYTES)


async def _details(gateway: Gateway, job: Job) -> JobDetails:
    return job_details(job, *await gateway.store.details(job))


def _request(order: CreateJob) -> JobRequest:
    """Without the upload, of which only the id is known."""
    return JobRequest(**order.model_dump(exclude={"upload"}))


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
