"""What the gRPC side takes and gives, from and to what the REST side has. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ValidationError
from singscript.aligner.v1 import aligner_pb2
from singscript.gateway.v1 import gateway_pb2
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_core.errors import InvalidInput, Violation
from singscript_gateway.api.problems import Problem, violations
from singscript_gateway.api.shapes import (
    ArtifactShape,
    CreateJob,
    JobDetails,
    JobSummary,
    MediaShape,
    OptionsShape,
    WarningShape,
)
from singscript_gateway.jobs.model import JobRequest, Levels, Stage, UsageSum
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.subtitles import format_of, options_of
from singscript_serving.events import duration

# Those of REST's options that are texts or lists of them in both.
_TEXTS = ("lyrics", "language", "title", "separator_model", "transcriber_model", "prompt")
_LISTS = ("separator_engines", "transcriber_engines", "aligner_engines", "hot_words")
_ENUMS: dict[str, tuple[EnumDescriptor, str]] = {
    "task": (transcriber_pb2.Task.DESCRIPTOR, "TASK_"),
    "listen": (transcriber_pb2.Listen.DESCRIPTOR, "LISTEN_"),
    "stems": (separator_pb2.Split.DESCRIPTOR, "SPLIT_"),
    "stem_format": (separator_pb2.StemFormat.DESCRIPTOR, "STEM_FORMAT_"),
    "priority": (gateway_pb2.Priority.DESCRIPTOR, "PRIORITY_"),
}
_FORMAT = "SUBTITLE_FORMAT_"
_MAX_KEY_CHARS = 255


# -- what is taken


def order_of(request: gateway_pb2.CreateJobRequest) -> tuple[JobRequest, UUID | None]:
    """What is asked for, and of which upload; raises InvalidInput with the fields that cannot be."""
    options = request.options
    order: dict[str, Any] = {name: getattr(options, name) for name in _TEXTS if getattr(options, name)}
    order |= {name: list(getattr(options, name)) for name in _LISTS}
    for name, (enum, prefix) in _ENUMS.items():
        if value := getattr(options, name):
            order[name] = _word(enum, prefix, value)
    match request.WhichOneof("source"):
        case "url":
            order["url"] = request.url
        case "upload_id":
            order["upload"] = request.upload_id
        case None:
            pass
    if options.HasField("lookup"):
        order["lookup"] = {"artist": options.lookup.artist, "title": options.lookup.title}
    if options.formats:
        order["formats"] = [_word(aligner_pb2.SubtitleFormat.DESCRIPTOR, _FORMAT, value) for value in options.formats]
    if options.HasField("karaoke"):
        order["karaoke"] = {"lead_in": options.karaoke.lead_in, "syllables": options.karaoke.syllables}
        if fill := options.karaoke.fill:
            order["karaoke"] |= {"fill": _word(aligner_pb2.KaraokeFill.DESCRIPTOR, "KARAOKE_FILL_", fill)}
    if options.HasField("webhook"):
        order["webhook"] = {"url": options.webhook.url, "secrets": list(options.webhook.secrets)}
    if options.HasField("reuse"):
        order["reuse"] = options.reuse
    try:
        valid = CreateJob.model_validate(order)
        return JobRequest(**valid.model_dump(exclude={"upload"})), valid.upload
    except ValidationError as error:
        raise invalid(*(Violation(_place(one.field), one.message) for one in violations(error))) from None


def key_of(request: gateway_pb2.CreateJobRequest) -> str | None:
    """None: there is no key. Raises InvalidInput."""
    key = request.idempotency_key
    if len(key) > _MAX_KEY_CHARS or not all(" " <= char <= "~" for char in key):
        raise invalid(Violation("idempotency_key", f"A key has at most {_MAX_KEY_CHARS} printable ASCII characters"))
    return key or None


def states_of(request: gateway_pb2.ListJobsRequest) -> list[JobState] | None:
    """Which are wanted, None: all; raises InvalidInput."""
    try:
        return [
            JobState(_word(gateway_pb2.JobState.DESCRIPTOR, "JOB_STATE_", value)) for value in request.states
        ] or None
    except ValueError:
        raise invalid(Violation("states", "This is no state of a job")) from None


def invalid(*wrong: Violation) -> InvalidInput:
    """As REST says it."""
    where = f"{wrong[0].field}: " if wrong[0].field else ""
    error = InvalidInput(f"The request cannot be used. {where}{wrong[0].message}.")
    error.violations = wrong
    return error


def _word(enum: EnumDescriptor, prefix: str, value: int) -> str:
    """The name that REST has for the value; of one that this version does not know, its number."""
    known = enum.values_by_number.get(value)
    return known.name.removeprefix(prefix).lower().replace("_", "-") if known else str(value)


def _place(field: str) -> str:
    """Where the field of a CreateJob stands in the request."""
    match field:
        case "":
            return "source"
        case "url":
            return "url"
        case "upload":
            return "upload_id"
        case _:
            return f"options.{field}"


# -- what is given


def job_of(job: JobSummary) -> gateway_pb2.Job:
    """With what a JobDetails has, where it is one."""
    options = job.options
    shown = gateway_pb2.Job(
        id=str(job.id),
        state=job_state(job.state),
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        title=job.title,
        options=_options(options),
        lyrics_given=options.lyrics_given,
        prompt_given=options.prompt_given,
        hot_words_given=options.hot_words_given,
        created_at=moment(job.created_at),
        started_at=moment(job.started_at),
        finished_at=moment(job.finished_at),
        problem=_problem(job.problem) if job.problem else None,
    )
    if job.source.kind == "link":
        shown.url = job.source.url or ""
    else:
        shown.upload.file_name = job.source.file_name or ""
        shown.upload.size_bytes = job.source.size_bytes or 0
    if isinstance(job, JobDetails):
        if job.media:
            shown.media.CopyFrom(_media(job.media))
        shown.stages.extend(_stage(stage) for stage in job.stages)
        shown.warnings.extend(_warning(warning) for warning in job.warnings)
        shown.files.extend(_file(file) for file in job.artifacts)
        shown.usage.extend(_usage(usage) for usage in job.usage)
        shown.last_seq = job.last_event
    return shown


def moment(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def job_state(state: str) -> gateway_pb2.JobState.ValueType:
    return gateway_pb2.JobState.Value(f"JOB_STATE_{state.upper()}")


def stage_state(state: str) -> gateway_pb2.StageState.ValueType:
    return gateway_pb2.StageState.Value(f"STAGE_STATE_{state.upper()}")


def stage_of(name: str | None) -> media_pb2.Stage.ValueType:
    return media_pb2.Stage.Value(f"STAGE_{name.upper()}") if name else media_pb2.STAGE_UNSPECIFIED


def levels_of(levels: Levels | None) -> media_pb2.AudioLevels | None:
    return media_pb2.AudioLevels(**levels.model_dump()) if levels else None


def _options(options: OptionsShape) -> gateway_pb2.JobOptions:
    shown = gateway_pb2.JobOptions(
        language=options.language or "",
        separator_engines=options.separator_engines,
        transcriber_engines=options.transcriber_engines,
        aligner_engines=options.aligner_engines,
        separator_model=options.separator_model or "",
        transcriber_model=options.transcriber_model or "",
        formats=[format_of(name) for name in options.formats],
        karaoke=options_of(options.karaoke),
        reuse=options.reuse,
    )
    for name, (enum, prefix) in _ENUMS.items():
        if word := getattr(options, name):
            setattr(shown, name, enum.values_by_name[prefix + word.upper()].number)
    if options.lookup:
        shown.lookup.CopyFrom(aligner_pb2.LyricsLookup(artist=options.lookup.artist, title=options.lookup.title))
    return shown


def _problem(problem: Problem) -> gateway_pb2.Problem:
    facts = dict(problem.model_extra or {})
    stage = facts.pop("stage", None)
    # Every problem here is that of a failed job.
    facts.pop("state", None)
    return gateway_pb2.Problem(
        reason=problem.reason,
        message=problem.detail,
        stage=stage_of(stage),
        metadata={name: str(fact) for name, fact in facts.items()},
    )


def _media(media: MediaShape) -> media_pb2.MediaInfo:
    return media_pb2.MediaInfo(
        title=media.title,
        artist=media.artist,
        duration=None if media.duration_s is None else duration(media.duration_s),
        webpage_url=media.webpage_url,
        format=media.format,
    )


def _stage(stage: Stage) -> gateway_pb2.JobStage:
    shown = gateway_pb2.JobStage(
        stage=stage_of(stage.stage),
        state=stage_state(stage.state),
        reused=stage.reused,
        resumed=None if stage.resumed_s is None else duration(stage.resumed_s),
        started_at=moment(stage.started_at),
        finished_at=moment(stage.finished_at),
    )
    if stage.engine:
        shown.engine.CopyFrom(
            media_pb2.EngineChosen(engine=stage.engine, model=stage.model or "", device=stage.device or "")
        )
    if stage.done_s is not None:
        progress = media_pb2.Progress(
            done=duration(stage.done_s),
            total=None if stage.total_s is None else duration(stage.total_s),
            finished=stage.state == "succeeded",
            done_bytes=stage.done_bytes,
            total_bytes=stage.total_bytes,
        )
        shown.progress.CopyFrom(progress)
    return shown


def _warning(warning: WarningShape) -> gateway_pb2.StageWarning:
    said = media_pb2.Warning(reason=warning.reason, message=warning.message)
    return gateway_pb2.StageWarning(stage=stage_of(warning.stage), warning=said)


def _file(file: ArtifactShape) -> gateway_pb2.JobFile:
    artifact = media_pb2.Artifact(
        name=file.name,
        media_type=file.media_type,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        levels=levels_of(file.levels),
    )
    return gateway_pb2.JobFile(stage=stage_of(file.stage), artifact=artifact)


def _usage(usage: UsageSum) -> gateway_pb2.UsageSum:
    return gateway_pb2.UsageSum(
        engine=usage.engine,
        model=usage.model,
        audio=duration(usage.audio_s),
        requests=usage.requests,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=usage.cost_usd,
        unpriced_requests=usage.unpriced_requests,
    )
