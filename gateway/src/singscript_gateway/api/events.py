"""A job's events as they happen: server-sent events that go on where the client left off."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from singscript_gateway.api.gateway import Gateway, GatewayDep, JobDep, needs
from singscript_gateway.api.problems import Problem
from singscript_gateway.api.shapes import event_data
from singscript_gateway.auth.oidc import IssuerUnavailable
from singscript_gateway.auth.refusals import Unauthenticated
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.refusals import JobNotFound
from singscript_gateway.jobs.watching import Stopping

logger = logging.getLogger(__name__)

router = APIRouter(tags=["jobs"])

_MAX_SEQ = 2**63 - 1
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@router.get(
    "/api/jobs/{job_id}/events",
    dependencies=[needs("jobs:read")],
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events from the first, or the one after `Last-Event-ID`, to the last one.",
            "content": {
                "text/event-stream": {
                    "schema": {
                        "type": "object",
                        "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
                        "required": ["id", "event", "data"],
                    },
                    "example": 'id: 7\nevent: progress\ndata: {"stage": "separate", "done_s": 12.5}\n\n',
                }
            },
        },
        204: {"description": "The job has ended, and nothing happened after `Last-Event-ID`."},
        404: {"model": Problem, "description": "JOB_NOT_FOUND"},
    },
)
async def watch_job(
    request: Request,
    gateway: GatewayDep,
    job: JobDep,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=_MAX_SEQ, description="Number of the last event seen.")
    ] = None,
    after: Annotated[int, Query(ge=0, le=_MAX_SEQ, description="As `Last-Event-ID`, which wins.")] = 0,
) -> Response:
    """Each event has a number (`id`), a kind (`event`) and JSON data with `at`, `attempt` and what the kind has:
    `state`, `stage`, `progress`, `warning`, `engine`, `resumed`, `usage`, `artifact`, `media`, `lyrics`, `segment`,
    `dropped`, `line`, `unmatched`, and `words` when somebody corrected them.
    The stream ends when the job has and all is told, or the key has ended. Comments keep it open in between.
    """
    start = after if last_event_id is None else last_event_id
    if job.state.final and start >= job.last_seq:
        # Tells an EventSource not to come back.
        return Response(status_code=204)
    return StreamingResponse(
        _stream(gateway, job, start, request.headers.get("authorization")),
        media_type="text/event-stream",
        headers=_HEADERS,
    )


async def _stream(gateway: Gateway, job: Job, after: int, authorization: str | None) -> AsyncIterator[bytes]:
    yield format_sse_event(data_str=None, retry=2000)
    sent_at_s = time.monotonic()
    heartbeat_s = gateway.settings.sse_heartbeat_s

    async def judge() -> None:
        await gateway.authenticator.principal(authorization)

    try:
        async with aclosing(gateway.watching.watch(job, after, judge, heartbeat_s)) as pages:
            async for events in pages:
                for event in events:
                    data = json.dumps(event_data(job.id, event), ensure_ascii=False)
                    yield format_sse_event(data_str=data, event=event.kind, id=str(event.seq))
                    sent_at_s = time.monotonic()
                if time.monotonic() - sent_at_s >= heartbeat_s:
                    yield format_sse_event(data_str=None, comment="heartbeat")
                    sent_at_s = time.monotonic()
    except (Unauthenticated, IssuerUnavailable, JobNotFound, Stopping) as error:
        # The client comes back, and is told then.
        logger.info("an event stream ends early", extra={"reason": error.reason})
