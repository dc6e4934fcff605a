"""Every error as application/problem+json (RFC 9457), with the same `reason` that gRPC and the logs have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import grpc
import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from singscript_core.errors import StageError, Violation
from singscript_gateway.auth.refusals import ScopeMissing, Unauthenticated
from singscript_gateway.jobs.model import Failure
from singscript_gateway.jobs.refusals import UPLOAD_NOT_FOUND, WrongState
from singscript_gateway.quotas.model import QuotaExceeded, UploadAboveQuota
from singscript_serving.status import status_code

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TUS_VERSION = "1.0.0"
# A request may hold thousands.
MAX_ERRORS = 50

_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.FAILED_PRECONDITION: 422,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.ABORTED: 502,
}


class Problem(BaseModel):
    """What went wrong; further members are plain facts, such as `state` or `limit_bytes`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:singscript:problem:JOB_NOT_FINISHED",
                "title": "Job not finished",
                "status": 409,
                "detail": "The job is running; its result comes when it has succeeded.",
                "reason": "JOB_NOT_FINISHED",
                "state": "running",
            }
        },
    )

    type: str = Field(description="`urn:singscript:problem:` and the reason.")
    title: str = Field(description="The reason in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened and what to do.")
    reason: str = Field(description="Stable, UPPER_SNAKE.")


class ProblemError(HTTPException):
    """Raised by a route to answer with a problem. FastAPI hides all but HTTPExceptions while it reads a body."""

    def __init__(
        self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None, **facts: object
    ) -> None:
        super().__init__(status, detail, headers)
        self.status = status
        self.reason = reason
        self.facts = facts


def problem(status: int, reason: str, detail: str, **facts: object) -> dict[str, Any]:
    """The body of a problem."""
    return {
        "type": f"urn:singscript:problem:{reason}",
        "title": reason.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "reason": reason,
    } | facts


def problem_of(failure: Failure) -> dict[str, Any]:
    """The problem of a failed job: 422 when its input is at fault, 409 (there is no result) otherwise."""
    facts: dict[str, object] = {**failure.facts, "state": "failed"}
    if failure.stage:
        facts["stage"] = failure.stage
    return problem(422 if failure.input_at_fault else 409, failure.reason, failure.message) | facts


def problem_response(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body, status_code=body["status"], media_type=MEDIA_TYPE, headers=headers)


def invalid_input(error: ValidationError | RequestValidationError) -> dict[str, Any]:
    """The problem of a request that does not fit its description; the values themselves are not repeated."""
    wrong = violations(error)
    first = wrong[0] if wrong else Violation("", "")
    where = f"{first.field}: " if first.field else ""
    errors = [one._asdict() for one in wrong]
    return problem(422, "INVALID_INPUT", f"The request cannot be used. {where}{first.message}.", errors=errors)


def violations(error: ValidationError | RequestValidationError) -> list[Violation]:
    """What is wrong with each field, MAX_ERRORS at most."""
    return [Violation(_field(e["loc"]), e["msg"].removeprefix("Value error, ")) for e in error.errors()[:MAX_ERRORS]]


def _field(location: tuple[int | str, ...]) -> str:
    """`lines[3].words[2].start_s`."""
    parts = (part for part in location if part not in ("body", "query", "header", "path"))
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _methods(request: Request) -> str:
    """Those of all routes at the address of `request`; Starlette has those of the first alone."""
    path = getattr(request.scope.get("route"), "path", "")
    methods = {method.upper() for method in request.app.openapi()["paths"].get(path, ())}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def response_to(error: StageError | psycopg.OperationalError) -> JSONResponse:
    """The answer where a request cannot be served: by its sender's fault, or the database is away."""
    match error:
        case Unauthenticated():
            return problem_response(problem(401, error.reason, error.message), {"WWW-Authenticate": "Bearer"})
        case ScopeMissing():
            challenge = f'Bearer error="insufficient_scope", scope="{error.metadata["scope"]}"'
            body = problem(403, error.reason, error.message, **error.metadata)
            return problem_response(body, {"WWW-Authenticate": challenge})
        case QuotaExceeded():
            headers = {"Retry-After": f"{error.retry_after_s:.0f}"}
            return problem_response(problem(429, error.reason, error.message, **error.facts), headers)
        case UploadAboveQuota():
            return problem_response(problem(413, error.reason, error.message, **error.facts))
        case WrongState():
            return problem_response(problem(409, error.reason, error.message, **error.facts))
        case StageError():
            status = _STATUS.get(status_code(error), 500)
            headers = {"Retry-After": str(max(1, round(error.retry_after_s or 2)))} if status == 503 else None
            return problem_response(problem(status, error.reason, error.message, **error.metadata), headers)
        case _:
            logger.error("the database does not answer: %s", str(error).strip())
            detail = "The database does not answer. Nothing was changed; try again in a moment."
            return problem_response(problem(503, "DATABASE_UNAVAILABLE", detail), {"Retry-After": "2"})


def add_handlers(app: FastAPI) -> None:
    """Makes every error of `app` a problem, save defects: those are answered around it (`requests`)."""

    async def on_problem(_: Request, error: ProblemError) -> JSONResponse:
        return problem_response(problem(error.status, error.reason, error.detail, **error.facts), error.headers)

    async def on_expected(_: Request, error: StageError | psycopg.OperationalError) -> JSONResponse:
        return response_to(error)

    async def on_validation(_: Request, error: RequestValidationError) -> JSONResponse:
        if any(e["loc"] == ("header", "tus-resumable") for e in error.errors()):
            detail = f"Send Tus-Resumable: {TUS_VERSION}; no other version of the protocol is spoken here."
            headers = {"Tus-Resumable": TUS_VERSION, "Tus-Version": TUS_VERSION}
            return problem_response(problem(412, "UNSUPPORTED_VERSION", detail), headers)
        match next((e["loc"][1] for e in error.errors() if e["loc"][0] == "path"), None):
            case "job_id":
                return problem_response(problem(404, "JOB_NOT_FOUND", "There is no job with this id."))
            case "upload_id":
                return problem_response(problem(404, "UPLOAD_NOT_FOUND", UPLOAD_NOT_FOUND))
            case "key_id":
                return problem_response(problem(404, "KEY_NOT_FOUND", "There is no key with this id."))
            case "user_id":
                return problem_response(problem(404, "USER_NOT_FOUND", "There is no user with this id."))
            case _:
                pass
        return problem_response(invalid_input(error))

    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        match error.status_code:
            case 404:
                body = problem(404, "NOT_FOUND", "There is nothing at this address. /docs lists what there is.")
            case 405:
                detail = f"{request.method[:20]} cannot be used here. /docs lists what can."
                body = problem(405, "METHOD_NOT_ALLOWED", detail)
                return problem_response(body, {"Allow": _methods(request) or (error.headers or {}).get("Allow", "")})
            case 400:
                # FastAPI's, of a body that is not even text.
                body = problem(422, "INVALID_INPUT", "The request cannot be used. Its body is no JSON in UTF-8.")
            case status:
                body = problem(status, f"HTTP_{status}", str(error.detail))
        return problem_response(body, error.headers)

    # Starlette types every handler as one of any Exception.
    app.add_exception_handler(ProblemError, on_problem)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(StageError, on_expected)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(RequestValidationError, on_validation)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(HTTPException, on_http)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(psycopg.OperationalError, on_expected)  # pyright: ignore[reportArgumentType]
