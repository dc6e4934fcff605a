"""Stage events between plain values and the wire."""

from __future__ import annotations

from google.protobuf import duration_pb2
from singscript.media.v1 import media_pb2

from singscript_core.events import (
    EngineChosen,
    Levels,
    PartStored,
    Progress,
    Resumed,
    StageEvent,
    Stored,
    Usage,
    Warned,
)


def seconds(value: duration_pb2.Duration) -> float:
    """A protobuf Duration in seconds."""
    return value.ToNanoseconds() / 1e9


def duration(value_s: float) -> duration_pb2.Duration:
    """Seconds as a protobuf Duration, to the nanosecond."""
    whole = round(value_s * 1e9)
    sign = -1 if whole < 0 else 1
    return duration_pb2.Duration(
        seconds=sign * (abs(whole) // 1_000_000_000), nanos=sign * (abs(whole) % 1_000_000_000)
    )


def to_proto(stage: media_pb2.Stage.ValueType, event: StageEvent) -> media_pb2.StageEvent:
    """The event as the wire has it."""
    match event:
        case Progress():
            progress = media_pb2.Progress(
                done=duration(event.done_s),
                finished=event.finished,
                done_bytes=event.done_bytes,
                total_bytes=event.total_bytes,
            )
            if event.total_s is not None:
                progress.total.CopyFrom(duration(event.total_s))
            return media_pb2.StageEvent(stage=stage, progress=progress)
        case Warned():
            warning = media_pb2.Warning(reason=event.reason, message=event.message)
            return media_pb2.StageEvent(stage=stage, warning=warning)
        case EngineChosen():
            engine = media_pb2.EngineChosen(engine=event.engine, model=event.model, device=event.device)
            return media_pb2.StageEvent(stage=stage, engine=engine)
        case Stored():
            artifact = media_pb2.Artifact(
                name=event.name,
                key=event.key,
                media_type=event.media_type,
                size_bytes=event.size_bytes,
                sha256=event.sha256,
            )
            if event.levels:
                artifact.levels.CopyFrom(_levels_to_proto(event.levels))
            return media_pb2.StageEvent(stage=stage, artifact=artifact)
        case Usage():
            usage = media_pb2.Usage(
                engine=event.engine,
                model=event.model,
                audio=duration(event.audio_s),
                requests=event.requests,
                input_tokens=event.input_tokens,
                output_tokens=event.output_tokens,
                cost_usd=event.cost_usd,
            )
            return media_pb2.StageEvent(stage=stage, usage=usage)
        case PartStored():
            part = media_pb2.Part(
                number=event.number,
                key=event.key,
                size_bytes=event.size_bytes,
                sha256=event.sha256,
                end=duration(event.end_s),
            )
            return media_pb2.StageEvent(stage=stage, part=part)
        case Resumed():
            resumed = media_pb2.Resumed()
            getattr(resumed, "from").CopyFrom(duration(event.from_s))  # the name is a keyword of Python
            return media_pb2.StageEvent(stage=stage, resumed=resumed)


def from_proto(event: media_pb2.StageEvent) -> StageEvent | None:
    """The event as a plain value; None for a kind that this version does not know."""
    match event.WhichOneof("event"):
        case "progress":
            p = event.progress
            return Progress(
                done_s=seconds(p.done),
                total_s=seconds(p.total) if p.HasField("total") else None,
                finished=p.finished,
                done_bytes=p.done_bytes if p.HasField("done_bytes") else None,
                total_bytes=p.total_bytes if p.HasField("total_bytes") else None,
            )
        case "warning":
            return Warned(event.warning.reason, event.warning.message)
        case "engine":
            return EngineChosen(event.engine.engine, event.engine.model, event.engine.device)
        case "artifact":
            a = event.artifact
            levels = _levels_from_proto(a.levels) if a.HasField("levels") else None
            return Stored(a.name, a.key, a.media_type, a.size_bytes, a.sha256, levels)
        case "usage":
            u = event.usage
            return Usage(
                u.engine,
                u.model,
                seconds(u.audio),
                u.requests,
                u.input_tokens,
                u.output_tokens,
                u.cost_usd if u.HasField("cost_usd") else None,
            )
        case "part":
            p = event.part
            return PartStored(p.number, p.key, p.size_bytes, p.sha256, seconds(p.end))
        case "resumed":
            return Resumed(seconds(getattr(event.resumed, "from")))
        case None:
            return None


def _levels_to_proto(levels: Levels) -> media_pb2.AudioLevels:
    return media_pb2.AudioLevels(loudness_lufs=levels.loudness_lufs, peak_dbfs=levels.peak_dbfs, gain_db=levels.gain_db)


def _levels_from_proto(levels: media_pb2.AudioLevels) -> Levels:
    return Levels(
        levels.loudness_lufs if levels.HasField("loudness_lufs") else None,
        levels.peak_dbfs if levels.HasField("peak_dbfs") else None,
        levels.gain_db,
    )
