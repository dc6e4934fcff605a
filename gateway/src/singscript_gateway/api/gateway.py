"""What the routes share, and how they get it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request
from singscript.aligner.v1 import aligner_pb2_grpc

from singscript_core import logs
from singscript_gateway.api.problems import ProblemError
from singscript_gateway.api.removal import Remover
from singscript_gateway.jobs.listen import Listener
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.settings import ApiSettings
from singscript_gateway.webhooks.store import WebhookStore
from singscript_storage import ObjectStore


@dataclass(frozen=True)
class Gateway:
    """Attributes:
    remover: removes what no job refers to any more.
    aligner: renders subtitle files.
    closing: set when the process is to stop, so that event streams end.
    """

    settings: ApiSettings
    store: JobStore
    webhooks: WebhookStore
    objects: ObjectStore
    remover: Remover
    events: Listener
    aligner: aligner_pb2_grpc.AlignerServiceAsyncStub
    closing: asyncio.Event


def _gateway(request: Request) -> Gateway:
    return request.app.state.gateway


GatewayDep = Annotated[Gateway, Depends(_gateway)]


async def current_job(
    gateway: GatewayDep, job_id: Annotated[UUID, Path(description="What `POST /api/jobs` gave.")]
) -> Job:
    """The job as it is now; raises ProblemError JOB_NOT_FOUND."""
    logs.job_id.set(str(job_id))
    job = await gateway.store.get(job_id)
    if job is None:
        raise ProblemError(404, "JOB_NOT_FOUND", "There is no job with this id.")
    return job


JobDep = Annotated[Job, Depends(current_job)]


def read_object(objects: ObjectStore, key: str) -> bytes:
    """The whole object; blocking. Raises what the store does."""
    with objects.open(key) as reader:
        return b"".join(reader)
