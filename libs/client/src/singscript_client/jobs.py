"""Jobs: made, listed, watched, saved, corrected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Unpack
from uuid import uuid4

from singscript_client import artifacts, events
from singscript_client.connection import Connection, in_path, shaped, unexpected
from singscript_client.errors import SingscriptError
from singscript_client.options import Format, JobOptions, Karaoke, as_form, as_json
from singscript_client.shapes import (
    Artifact,
    CreatedJob,
    Event,
    Job,
    JobSummary,
    JobWebhook,
    Rendered,
    Result,
    Revision,
    Revisions,
    Words,
)
from singscript_client.uploads import ANSWER_S

# The gateway gives up after a minute.
_RENDER_S = 90.0


class Jobs:
    """Everything below /api/jobs. Methods raise ApiError and Unreachable.

    A job that is made is sent with an `Idempotency-Key`, so that it can be sent again when its answer is lost and still
    makes one job. Whoever wants that beyond this process's life gives a key of their own: any text of up to 255
    characters, new for each job.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create_from_link(
        self, url: str, *, idempotency_key: str | None = None, **options: Unpack[JobOptions]
    ) -> CreatedJob:
        """A job of what is behind a link."""
        return self._create(idempotency_key, {"url": url} | as_json(options))

    def create_from_upload(
        self, upload_id: str, *, idempotency_key: str | None = None, **options: Unpack[JobOptions]
    ) -> CreatedJob:
        """A job of a finished upload, as `uploads.send` makes it."""
        return self._create(idempotency_key, {"upload": upload_id} | as_json(options))

    def create_from_file(
        self, path: Path, *, idempotency_key: str | None = None, **options: Unpack[JobOptions]
    ) -> CreatedJob:
        """A job of a file, which is sent with it; after a cut it is sent from its beginning. For large ones, or bad
        networks, see `uploads.send`. Also raises OSError.
        """
        headers = _key(idempotency_key)
        form = as_form(options)
        patience = self._connection.patience()
        while True:
            try:
                with path.open("rb") as file:
                    sent: dict[str, Any] = {"data": form, "files": {"file": (path.name, file)}, "headers": headers}
                    response = self._connection.send("POST", in_path("jobs"), answer_s=ANSWER_S, **sent)
                return shaped(CreatedJob, response)
            except SingscriptError as error:
                patience.pause(error)

    def list(
        self,
        *,
        states: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        reason: str | None = None,
    ) -> Iterator[JobSummary]:
        """Jobs, newest first; pages are asked for as they are used.

        Args:
            states: only jobs in one of these.
            since: created then or later. With its zone, as `until`: created before.
            reason: failed with this reason.
        """
        return self._connection.pages(
            in_path("jobs"),
            "jobs",
            JobSummary,
            state=list(states) if states else None,
            since=since and since.isoformat(),
            until=until and until.isoformat(),
            reason=reason,
        )

    def get(self, job_id: str) -> Job:
        return shaped(Job, self._connection.send("GET", in_path("jobs", job_id)))

    def watch(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """The events of a job after number `after`, each once and in order, as they come.

        A lost connection is taken up again. It ends when the job has, and nothing more can come; whoever retries the
        job when it has failed sees what follows.
        """
        return events.watch(self._connection, job_id, after)

    def result(self, job_id: str) -> Result:
        """The words and files of a job that succeeded; of one that failed, why, as an ApiError."""
        return shaped(Result, self._connection.send("GET", in_path("jobs", job_id, "result")))

    def save(self, job_id: str, artifact: Artifact, path: Path) -> None:
        """Saves a file of the job as `path`, whole and checked, or not at all; after a cut it goes on where it was.

        Also raises Damaged, OSError.
        """
        artifacts.save(self._connection, job_id, artifact, path)

    def cancel(self, job_id: str) -> Job:
        """One that runs is cancelled in a moment. May be repeated; raises Conflict when the job has ended otherwise."""
        return shaped(Job, self._connection.send("POST", in_path("jobs", job_id, "cancel")))

    def retry(self, job_id: str) -> Job:
        """Queues a job that has failed or was cancelled; it goes on from what it has stored. Raises Conflict."""
        return shaped(Job, self._connection.send("POST", in_path("jobs", job_id, "retry")))

    def delete(self, job_id: str) -> None:
        """With its files. Raises Conflict where it has not ended."""
        self._connection.send("DELETE", in_path("jobs", job_id))

    def webhook(self, job_id: str) -> JobWebhook:
        """What the webhook of the job was told; raises NotFound where it was made without one."""
        return shaped(JobWebhook, self._connection.send("GET", in_path("jobs", job_id, "webhook")))

    def words(self, job_id: str, *, revision: int | None = None) -> Words:
        """The words as they stand, or stood; raises Conflict before the job has succeeded."""
        path = in_path("jobs", job_id, "words")
        response = self._connection.send("GET", path, params={"revision": revision})
        try:
            return Words(int(response.headers["ETag"].strip('"')), json.loads(response.content))
        except (KeyError, ValueError):
            raise unexpected(response) from None

    def revisions(self, job_id: str) -> Sequence[Revision]:
        """What the words were, oldest first."""
        response = self._connection.send("GET", in_path("jobs", job_id, "words", "revisions"))
        return shaped(Revisions, response).revisions

    def correct(self, job_id: str, document: dict[str, Any], *, revision: int | None) -> Rendered:
        """Puts corrected words in place; every subtitle file shows them then.

        Args:
            document: words.json with all its lines, right ones as they were.
            revision: the one that was corrected; another one stands: raises Conflict WORDS_CHANGED. None: whichever.
        """
        headers = {"If-Match": "*" if revision is None else f'"{revision}"'}
        path = in_path("jobs", job_id, "words")
        response = self._connection.send("PUT", path, json=document, headers=headers, answer_s=_RENDER_S)
        return shaped(Rendered, response)

    def render(self, job_id: str, formats: Sequence[Format], *, karaoke: Karaoke | None = None) -> Rendered:
        """Makes more subtitle files of the words as they stand."""
        order = {"formats": list(formats), "karaoke": karaoke or {}}
        path = in_path("jobs", job_id, "render")
        return shaped(Rendered, self._connection.send("POST", path, json=order, answer_s=_RENDER_S))

    def _create(self, key: str | None, order: dict[str, Any]) -> CreatedJob:
        response = self._connection.send_until_answered("POST", in_path("jobs"), json=order, headers=_key(key))
        return shaped(CreatedJob, response)


def _key(given: str | None) -> dict[str, str]:
    return {"Idempotency-Key": given or str(uuid4())}
