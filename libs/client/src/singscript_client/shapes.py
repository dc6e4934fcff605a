"""What the gateway answers. What a later one adds is kept in `model_extra`; states and kinds are plain texts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


# -- jobs


class Problem(Shape):
    """Why a job failed; further facts are in `model_extra`."""

    reason: str
    detail: str
    status: int


class Source(Shape):
    """A link or an upload (`kind`)."""

    kind: str
    url: str | None = None
    file_name: str | None = None
    size_bytes: int | None = None


class JobSummary(Shape):
    """A job in a list.

    Attributes:
        state: queued, running, succeeded, failed, cancelled.
        attempt: how often work on it began.
        options: what was asked for; lyrics, prompt and hot words are not repeated.
    """

    id: str
    state: str
    attempt: int
    cancel_requested: bool
    title: str
    source: Source
    options: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    problem: Problem | None

    @property
    def final(self) -> bool:
        """Nothing more happens unless somebody asks for it."""
        return self.state in FINAL_STATES


class Media(Shape):
    title: str
    artist: str
    duration_s: float | None
    webpage_url: str
    format: str


class Stage(Shape):
    """One stage of the newest attempt.

    Attributes:
        state: pending, running, succeeded, failed, skipped.
        reused: its results are those of an earlier attempt, or of another job.
        resumed_s: up to where, of the sound, earlier work was used.
    """

    stage: str
    state: str
    engine: str | None
    model: str | None
    device: str | None
    done_s: float | None
    total_s: float | None
    done_bytes: int | None
    total_bytes: int | None
    reused: bool
    resumed_s: float | None
    started_at: datetime | None
    finished_at: datetime | None


class Warned(Shape):
    stage: str
    reason: str
    message: str


class Levels(Shape):
    """How loud a stem was before it was written; None for silence."""

    loudness_lufs: float | None
    peak_dbfs: float | None
    gain_db: float


class Artifact(Shape):
    """A file of a job."""

    name: str
    stage: str
    media_type: str
    size_bytes: int
    sha256: str
    levels: Levels | None


class UsageSum(Shape):
    """What a model that is paid for has used; `cost_usd` is None where no price is known."""

    engine: str
    model: str
    audio_s: float
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    unpriced_requests: int


class Job(JobSummary):
    """A job with all that is known of it.

    Attributes:
        last_event: number of its newest event.
    """

    media: Media | None
    stages: list[Stage]
    warnings: list[Warned]
    artifacts: list[Artifact]
    usage: list[UsageSum]
    last_event: int


class CreatedJob(Job):
    """A job that was just made; `webhook_secret` verifies what its webhook is told, and is not shown again."""

    webhook_secret: str | None = Field(default=None, repr=False)


class Result(Shape):
    """Of a job that succeeded.

    Attributes:
        words: the content of words.json.
    """

    id: str
    words: dict[str, Any]
    artifacts: list[Artifact]


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    Attributes:
        number: from 1, without gaps.
        kind: state, stage, progress, warning, engine, segment, line, artifact and others.
        data: `at`, `attempt`, and what the kind has.
    """

    number: int
    kind: str
    data: dict[str, Any]

    @property
    def final(self) -> bool:
        """The job has ended. More may follow: a retry, or a correction of its words."""
        return self.kind == "state" and self.data.get("state") in FINAL_STATES


@dataclass(frozen=True)
class Words:
    """words.json as it stands, or stood.

    Attributes:
        revision: which state of it that is; what a correction of it is made against.
    """

    revision: int
    document: dict[str, Any]


class Revision(Shape):
    """A state of the words, made by the aligner or a user."""

    revision: int
    made_by: str
    created_at: datetime


class Revisions(Shape):
    revisions: list[Revision]


class Rendered(Shape):
    """Files that were made of a revision of the words."""

    revision: int
    artifacts: list[Artifact]


# -- webhooks


class Delivery(Shape):
    """What a webhook is told.

    Attributes:
        state: waiting, delivered, given_up.
        job_id: of one's own webhook; None: a test.
    """

    id: str
    type: str
    state: str
    attempts: int
    last_status: int | None
    last_error: str | None
    due_at: datetime
    created_at: datetime
    ended_at: datetime | None
    job_id: str | None = None


class JobWebhook(Shape):
    """The webhook that a job was created with; `disabled_at`: its server has answered 410."""

    origin: str
    disabled_at: datetime | None
    deliveries: list[Delivery]


class AccountWebhook(Shape):
    """One's own webhook; `disabled_at`: its server has answered 410."""

    origin: str
    created_at: datetime
    disabled_at: datetime | None


class SetWebhook(AccountWebhook):
    """`secret`: the one that was made, if none was given; it is not shown again."""

    secret: str | None = Field(default=None, repr=False)


# -- accounts


class Limits(Shape):
    """The most that may be used. None: as the next wider one says; 0: no limit."""

    requests_per_minute: int | None = None
    active_jobs: int | None = None
    audio_minutes_per_day: float | None = None
    upload_bytes_per_day: int | None = None
    spend_usd_per_month: float | None = None


class Used(Shape):
    requests_per_minute: int
    active_jobs: int
    audio_minutes_per_day: float
    upload_bytes_per_day: int
    spend_usd_per_month: float


class Account(Shape):
    limits: Limits
    used: Used


class Quotas(Shape):
    """How much one may use, and has used; `key`: what holds for the key besides."""

    user: Account
    key: Account | None


class Key(Shape):
    """An API key, without what it consists of."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaced_by: str | None
    quotas: Limits


class CreatedKey(Key):
    """`key` is the key itself, which is not shown again."""

    key: str = Field(repr=False)


class Me(Shape):
    """Who asks."""

    user: str
    name: str
    scopes: list[str]
    key: Key | None


class User(Shape):
    id: str
    name: str
    issuer: str | None
    subject: str | None
    created_at: datetime
    disabled_at: datetime | None


class Entry(Shape):
    """Something that was done; `user` None: by the operator, on the command line."""

    at: datetime
    user: str | None
    key_id: str | None
    address: str | None
    action: str
    target: str


class Usage(Shape):
    since: datetime | None
    until: datetime | None
    usage: list[UsageSum]


# -- the system


class Engine(Shape):
    """A model of an engine; `problem`: why it is not available, and what to do about it."""

    engine: str
    model: str
    available: bool
    problem: str


class StageEngines(Shape):
    """In the order in which they are tried; `problem`: why the service cannot be asked."""

    engines: list[Engine]
    problem: str
    reason: str


class Engines(Shape):
    separate: StageEngines
    transcribe: StageEngines
    align: StageEngines


class Check(Shape):
    ok: bool
    detail: str


class Readiness(Shape):
    ready: bool
    checks: dict[str, Check]


# -- uploads


@dataclass(frozen=True)
class Upload:
    """A file on its way into the gateway; jobs can be made of it once it is complete.

    Attributes:
        expires_at: when it goes unless more comes.
    """

    id: str
    length_bytes: int
    offset_bytes: int
    expires_at: datetime

    @property
    def complete(self) -> bool:
        return self.offset_bytes == self.length_bytes


@dataclass(frozen=True)
class UploadRules:
    """What of the tus protocol the gateway speaks."""

    version: str
    extensions: tuple[str, ...]
    checksums: tuple[str, ...]
    max_bytes: int
