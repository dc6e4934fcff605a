"""What a job's webhook was told."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from singscript_gateway.api.gateway import GatewayDep, JobDep, needs
from singscript_gateway.api.problems import Problem, ProblemError
from singscript_gateway.webhooks.model import Delivery, origin

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


class WebhookShape(BaseModel):
    """A job's webhook. Its path, its query and its secrets are not shown."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "origin": "https://example.com",
                "disabled_at": None,
                "deliveries": [
                    {
                        "id": "5b1c1f0e-6c1f-4a8e-9d5e-0a4f6f0b8f57",
                        "type": "job.succeeded",
                        "state": "waiting",
                        "attempts": 1,
                        "last_status": 502,
                        "last_error": None,
                        "due_at": "2026-12-01T08:05:05Z",
                        "created_at": "2026-12-01T08:04:59Z",
                        "ended_at": None,
                    }
                ],
            }
        }
    )

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
