"""What the REST side takes and gives."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from singscript_gateway.api import examples
from singscript_gateway.api.document import WordsDocument
from singscript_gateway.api.problems import Problem, problem_of
from singscript_gateway.jobs.model import (
    Artifact,
    Event,
    Failure,
    Format,
    Formats,
    Job,
    JobOptions,
    Karaoke,
    Levels,
    Lookup,
    Stage,
    UsageSum,
)
from singscript_gateway.jobs.states import JobState


def _is_written_out(value: object) -> object:
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        raise ValueError("A moment is written as 2026-12-01T00:00:00Z")
    return value


# Pydantic would also take a number: seconds since 1970, or milliseconds.
Moment = Annotated[AwareDatetime, BeforeValidator(_is_written_out)]


class CreateJob(JobOptions):
    """A link or an upload to work on, and how."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "url": "https://example.org/song.mp3",
                "language": "en",
                "lyrics": "La la la",
                "formats": ["srt", "ass"],
                "karaoke": {"fill": "sweep", "lead_in": True},
            }
        }
    )

    url: str | None = Field(
        default=None, max_length=2048, description="http or https: a page or a file that holds the sound."
    )
    upload: UUID | None = Field(
        default=None, description="Instead of `url`: the id of a finished upload of `/api/uploads`."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> CreateJob:
        if (self.url is None) == (self.upload is None):
            raise ValueError("Name one source: a url or an upload")
        return self

    @field_validator("url")
    @classmethod
    def _is_a_link(cls, url: str | None) -> str | None:
        if url is None:
            return url
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("This is no http or https link")
        return url


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a body that a route reads by itself, without references: none would find its way from there."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        match value:
            case {"$ref": str(reference), **rest}:
                return whole(parts[reference.rpartition("/")[2]] | rest)
            case dict():
                return {name: whole(item) for name, item in value.items()}
            case list():
                return [whole(item) for item in value]
            case _:
                return value

    return whole(schema)


class SourceShape(BaseModel):
    """Where the sound comes from."""

    kind: Literal["link", "upload"]
    url: str | None = Field(description="Of a link, without credentials.")
    file_name: str | None = Field(description="Of an upload.")
    size_bytes: int | None = Field(description="Of an upload.")


class OptionsShape(BaseModel):
    """What was asked for; lyrics, prompt and hot words themselves are not repeated."""

    language: str | None
    task: str
    listen: str
    lyrics_given: bool
    prompt_given: bool
    hot_words_given: bool
    separator_engines: list[str]
    transcriber_engines: list[str]
    aligner_engines: list[str]
    separator_model: str | None
    transcriber_model: str | None
    stems: str
    stem_format: str | None
    lookup: Lookup | None
    formats: list[Format]
    karaoke: Karaoke
    priority: str
    reuse: bool


class JobSummary(BaseModel):
    """A job in a list."""

    model_config = ConfigDict(json_schema_extra={"example": examples.SUMMARY})

    id: UUID
    state: JobState
    attempt: int = Field(description="How often work on it began.")
    cancel_requested: bool
    title: str
    source: SourceShape
    options: OptionsShape
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    problem: Problem | None = Field(description="Why it failed.")


class MediaShape(BaseModel):
    title: str
    artist: str
    duration_s: float | None
    webpage_url: str
    format: str


class WarningShape(BaseModel):
    stage: str
    reason: str
    message: str


class ArtifactShape(BaseModel):
    name: str
    stage: str
    media_type: str
    size_bytes: int
    sha256: str
    levels: Levels | None = Field(description="Of the stems; null for everything else.")
    url: str


class JobDetails(JobSummary):
    """A job with all that is known of it."""

    model_config = ConfigDict(json_schema_extra={"example": examples.DETAILS})

    media: MediaShape | None
    stages: list[Stage] = Field(description="Of the newest attempt; empty before the first.")
    warnings: list[WarningShape]
    artifacts: list[ArtifactShape]
    usage: list[UsageSum] = Field(description="Of engines that are paid for, over all attempts.")
    last_event: int = Field(description="Number of the newest event.")


class CreatedJob(JobDetails):
    """A job, and what is told only once."""

    model_config = ConfigDict(json_schema_extra={"example": examples.CREATED})

    webhook_secret: str | None = Field(
        default=None, description="Of a job with a webhook: what verifies the POST. Keep it; it is not shown again."
    )


class JobList(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [examples.SUMMARY], "next_cursor": "NDE"}})

    jobs: list[JobSummary]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


class UsageReport(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"example": {"since": "2026-12-01T00:00:00Z", "until": None, "usage": [examples.USAGE]}}
    )

    since: datetime | None
    until: datetime | None
    usage: list[UsageSum] = Field(description="By engine and model.")


class JobResult(BaseModel):
    """For the OpenAPI document; the answer is made by `job_result`."""

    model_config = ConfigDict(json_schema_extra={"example": examples.RESULT})

    id: UUID
    words: WordsDocument = Field(description="The content of words.json.")
    artifacts: list[ArtifactShape]


class RevisionShape(BaseModel):
    """A state of the words."""

    revision: int
    made_by: Literal["aligner", "user"]
    created_at: datetime


class RevisionList(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"revisions": [{"revision": 1, "made_by": "aligner", "created_at": "2026-12-01T08:04:59Z"}]}
        }
    )

    revisions: list[RevisionShape] = Field(description="Oldest first; the last one stands.")


class RenderOrder(BaseModel):
    """Subtitle files to make of the words as they stand."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"formats": ["ass", "vtt"], "karaoke": {"syllables": True}}}
    )

    formats: Formats
    karaoke: Karaoke = Karaoke()


class RenderedFiles(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"revision": 2, "artifacts": [examples.SUBTITLES]}})

    revision: int = Field(description="Of the words that the files show; also in `ETag`.")
    artifacts: list[ArtifactShape] = Field(description="What was made.")


def job_summary(job: Job) -> dict[str, Any]:
    """The members of a JobSummary."""
    request, upload = job.request, job.request.upload
    url = _without_credentials(request.url) if request.url else None
    file_name = upload.file_name if upload else None
    return {
        "id": job.id,
        "state": job.state,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "title": request.title or (job.media or {}).get("title") or file_name or url or "",
        "source": {
            "kind": "upload" if upload else "link",
            "url": url,
            "file_name": file_name,
            "size_bytes": upload.size_bytes if upload else None,
        },
        "options": request.model_dump(exclude={"lyrics", "prompt", "hot_words", "title", "url", "upload", "webhook"})
        | {
            "lyrics_given": bool(request.lyrics.strip()),
            "prompt_given": bool(request.prompt.strip()),
            "hot_words_given": bool(request.hot_words),
        },
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "problem": problem_of(job.problem) if job.problem else None,
    }


def job_details(
    job: Job, stages: list[Stage], warnings: list[dict[str, Any]], artifacts: list[Artifact], usage: list[UsageSum]
) -> JobDetails:
    return JobDetails.model_validate(
        job_summary(job)
        | {
            "media": job.media,
            "stages": stages,
            "warnings": warnings,
            "artifacts": [artifact_shape(job.id, a) for a in artifacts],
            "usage": usage,
            "last_event": job.last_seq,
        }
    )


def created_job(job: Job, webhook_secret: str | None) -> str:
    """The answer to a job that was just made, as JSON: a CreatedJob, without the secret where there is none."""
    created = job_details(job, [], [], [], []).model_dump(mode="json")
    if webhook_secret:
        created["webhook_secret"] = webhook_secret
    return json.dumps(created, ensure_ascii=False)


def job_result(job: Job, words: dict[str, Any], artifacts: list[Artifact]) -> str:
    """A JobResult as JSON."""
    files = [artifact_shape(job.id, artifact).model_dump(mode="json") for artifact in artifacts]
    return json.dumps({"id": str(job.id), "words": words, "artifacts": files}, ensure_ascii=False)


def artifact_shape(job_id: UUID, artifact: Artifact) -> ArtifactShape:
    return ArtifactShape(**artifact.model_dump(exclude={"key"}), url=_artifact_url(job_id, artifact.name))


def event_data(job_id: UUID, event: Event) -> dict[str, Any]:
    """What the `data:` of a server-sent event holds."""
    data = dict(event.data)
    if event.kind == "artifact":
        del data["key"]
        # Those written before there were levels have none.
        data.setdefault("levels", None)
        data["url"] = _artifact_url(job_id, data["name"])
    if event.kind == "usage":
        del data["number"]
    if "problem" in data:
        data["problem"] = problem_of(Failure.model_validate(data["problem"]))
    at = event.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {"at": at, "attempt": event.attempt} | data


def _artifact_url(job_id: UUID, name: str) -> str:
    return f"/api/jobs/{job_id}/artifacts/{quote(name, safe='')}"


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
