"""What a user does with jobs, however they were asked for."""

from __future__ import annotations

import logging
from uuid import UUID

from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.refusals import JobNotFound, WrongState
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore

logger = logging.getLogger(__name__)


async def find(store: JobStore, job_id: UUID, owner: str) -> Job:
    """The job as it is now; raises JobNotFound, also where it is somebody else's."""
    job = await store.get(job_id, owner)
    if job is None:
        raise JobNotFound
    return job


async def cancel(store: JobStore, job: Job) -> Job:
    """The job, cancelled or about to be; raises WrongState JOB_FINISHED."""
    now = await store.cancel(job.id, job.owner) or job
    if now.state.final and now.state is not JobState.CANCELLED:
        raise WrongState("JOB_FINISHED", f"The job has {now.state}; there is nothing to cancel.", state=now.state)
    logger.info("cancel requested", extra={"state": now.state})
    return now


async def retry(store: JobStore, job: Job) -> Job:
    """The job, queued; raises WrongState JOB_SUCCEEDED, JOB_NOT_ENDED; QuotaExceeded."""
    now = await store.restart(job.id, job.owner)
    if now is None:
        now = await store.get(job.id, job.owner) or job
        if now.state is JobState.SUCCEEDED:
            raise WrongState("JOB_SUCCEEDED", "The job has succeeded; there is nothing to retry.")
        raise WrongState("JOB_NOT_ENDED", f"The job is {now.state}. Wait for its end, or cancel it first.")
    logger.info("retry requested")
    return now


async def delete(store: JobStore, job: Job) -> None:
    """Its objects are due for removal from then on. Raises WrongState JOB_NOT_FINISHED."""
    now = await store.delete(job.id, job.owner) or job
    if not now.state.final:
        detail = f"The job is {now.state}. Cancel it first; delete it when it has ended."
        raise WrongState("JOB_NOT_FINISHED", detail, state=now.state)
    logger.info("job deleted", extra={"state": now.state})
