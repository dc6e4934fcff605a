"""How a job is made: its upload is stored before it, and what was asked for with the same key makes none."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from singscript_core import logs
from singscript_gateway.api.shapes import created_job
from singscript_gateway.jobs.model import JobRequest, Upload
from singscript_gateway.jobs.refusals import UploadNotFound, WrongState
from singscript_gateway.jobs.store import Answer, Keyed
from singscript_gateway.jobs.transaction import ObjectRemoved
from singscript_gateway.uploads.intake import Conflict, Intake
from singscript_gateway.webhooks.store import WebhookStore

logger = logging.getLogger(__name__)

# How often an upload is stored, should it be removed meanwhile with another job that had the same file.
_STORE_TRIES = 3
_STORE_PAUSE_S = 0.5


@dataclass(frozen=True)
class Creation:
    """Makes jobs."""

    intake: Intake
    webhooks: WebhookStore

    async def create(self, owner: str, order: JobRequest, source: Path | UUID | None, key: str | None) -> Answer:
        """Makes the job, and stores its file before that; or finds the answer that was given to the same key.

        Args:
            source: the file that is `order.upload`, or the id of an upload; None for a link.

        Raises:
            IdempotencyKeyReused: the key was sent with another job.
            ObjectRemoved: the file was removed with another job, again and again.
            QuotaExceeded, UploadAboveQuota: the owner may not, for now.
            UploadNotFound.
            WrongState: UPLOAD_NOT_FINISHED.
        """
        keyed = Keyed(owner, key, _digest(order, source)) if key else None
        answer = await self.intake.jobs.answer(keyed) if keyed else None
        if answer is None:
            answer = await self._make(owner, order, source, keyed)
        logs.job_id.set(str(answer.job_id))
        logger.info("job created before, with the same key" if answer.repeated else "job created")
        return answer

    async def _make(self, owner: str, order: JobRequest, source: Path | UUID | None, keyed: Keyed | None) -> Answer:
        tries = 1
        while True:
            try:
                since = None
                match source:
                    case UUID():
                        order, since = await self._with_upload(owner, order, source)
                    case Path() if order.upload:
                        since = await self._store(order.upload.key, source)
                    case _:
                        pass
                return await self._insert(owner, order, keyed, since)
            except ObjectRemoved:
                if tries == _STORE_TRIES:
                    raise
            tries += 1
            await asyncio.sleep(_STORE_PAUSE_S)

    async def _insert(self, owner: str, order: JobRequest, keyed: Keyed | None, since: datetime | None) -> Answer:
        if keyed:
            return await self.intake.jobs.create_once(order, keyed, created_job, since)
        job = await self.intake.jobs.create(order, owner, since)
        secret = await self.webhooks.secret_of(job.id, owner) if order.webhook else None
        return Answer(job.id, created_job(job, secret), repeated=False)

    async def _with_upload(self, owner: str, order: JobRequest, upload_id: UUID) -> tuple[JobRequest, datetime | None]:
        """The order with its upload, and since when that has been stored."""
        upload = await self.intake.uploads.get(owner, upload_id)
        if upload and not upload.complete:
            detail = (
                f"Of the upload {upload.offset_bytes} of {upload.length_bytes} bytes are stored. Go on with it first."
            )
            raise WrongState("UPLOAD_NOT_FINISHED", detail, offset_bytes=upload.offset_bytes)
        try:
            # Whoever took its last byte may have died before it was put together.
            upload = await self.intake.finished(upload) if upload else None
        except Conflict:
            upload = None
        if upload is None or upload.key is None:
            raise UploadNotFound
        stored = Upload(key=upload.key, file_name=upload.file_name, size_bytes=upload.length_bytes, counted=True)
        return order.model_copy(update={"upload": stored}), upload.stored_since

    async def _store(self, key: str, path: Path) -> datetime:
        """Returns since when the file was expected. Raises ObjectRemoved when it is being removed just now."""
        since = await self.intake.jobs.expect_object(key)
        await asyncio.to_thread(self.intake.objects.put, key, path, "application/octet-stream")
        return since


def _digest(order: JobRequest, source: Path | UUID | None) -> str:
    """The same for what asks for the same, whatever the file is called."""
    asked = order.model_dump(mode="json", exclude_defaults=True, exclude={"upload"})
    if isinstance(source, UUID):
        asked["upload"] = str(source)
    elif order.upload:
        asked["upload"] = order.upload.key
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
