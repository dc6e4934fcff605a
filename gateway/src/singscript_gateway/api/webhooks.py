"""What a job's webhook was told."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from singscript_gateway.api.gateway import GatewayDep, JobDep, needs
from singscript_gateway.api.problems import Problem, ProblemError
from singscript_gateway.webhooks.model import Delivery, origin

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


class WebhookShape(BaseModel):
    """A job's webhook. Its path, its query and its secrets are not shown."""

    origin: str = Field(description="Scheme, host and port.")
    disabled_at: datetime | None = Field(description="When its server answered 410; it is told nothing more.")
    deliveries: list[Delivery] = Field(description="Oldest first; empty until the job has ended.")


@router.get(
    "/{job_id}/webhook",
    dependencies=[needs("jobs:read")],
    summary="What a job's webhook was told",
    responses={404: {"model": Problem, "description": "JOB_NOT_FOUND, WEBHOOK_NOT_FOUND"}},
)
async def get_webhook(gateway: GatewayDep, job: JobDep) -> WebhookShape:
    """The webhook that the job was created with; the operator's, which is told of every job, is not shown."""
    found = await gateway.webhooks.of_job(job.id, job.owner)
    if found is None:
        raise ProblemError(404, "WEBHOOK_NOT_FOUND", "The job was created without a webhook.")
    webhook, deliveries = found
    return WebhookShape(origin=origin(webhook.url), disabled_at=webhook.disabled_at, deliveries=deliveries)
