"""What a webhook is told. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from singscript_gateway.api.shapes import job_details
from singscript_gateway.jobs.model import Artifact, Job, Stage, UsageSum
from singscript_gateway.webhooks.model import TEST


def event_type(job: Job) -> str:
    return f"job.{job.state}"


def test_payload() -> str:
    """What a webhook is told that is only to be tried."""
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"type": TEST, "timestamp": at, "data": {}})


def payload(
    job: Job, stages: list[Stage], warnings: list[dict[str, str]], artifacts: list[Artifact], usage: list[UsageSum]
) -> str:
    """The end of `job` as JSON: its type, when it came, and the job as `GET /api/jobs/{id}` shows it then."""
    assert job.finished_at is not None
    at = job.finished_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    data = job_details(job, stages, warnings, artifacts, usage).model_dump(mode="json")
    return json.dumps({"type": event_type(job), "timestamp": at, "data": data})
