"""A job's events in the words of the contract: `jobs.updates` the other way round. Pure."""

from __future__ import annotations

from typing import Any

from singscript.aligner.v1 import aligner_pb2
from singscript.gateway.v1 import gateway_pb2
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_core.events import EngineChosen, Levels, Progress, Resumed, StageEvent, Stored, Usage, Warned
from singscript_gateway.jobs.model import Event
from singscript_gateway.rpc.shapes import job_state, moment, stage_of, stage_state
from singscript_serving.events import duration, to_proto


def response_of(event: Event) -> gateway_pb2.WatchJobResponse:
    """Of a kind that the contract does not have: only its number, so that no gap shows."""
    response = gateway_pb2.WatchJobResponse(seq=event.seq, at=moment(event.at), attempt=event.attempt)
    data = event.data
    match event.kind:
        case "state":
            response.state.CopyFrom(_state(data))
        case "stage":
            changed = gateway_pb2.StageStateChanged(stage=stage_of(data["stage"]), state=stage_state(data["state"]))
            response.stage.CopyFrom(changed)
        case "progress" | "engine" | "warning" | "artifact" | "usage" | "resumed":
            response.stage_event.CopyFrom(to_proto(stage_of(data["stage"]), _stage_event(event.kind, data)))
        case "media":
            response.media.CopyFrom(_media(data))
        case "segment":
            response.segment.CopyFrom(_segment(data))
        case "dropped":
            response.dropped.CopyFrom(transcriber_pb2.Dropped(**_timed(data)))
        case "lyrics":
            response.lyrics.CopyFrom(aligner_pb2.LyricsFound(**data))
        case "line":
            response.line.CopyFrom(_line(data))
        case "unmatched":
            response.unmatched.CopyFrom(_unmatched(data))
        case "words":
            response.words.revision = data["revision"]
        case _:
            pass
    return response


def _state(data: dict[str, Any]) -> gateway_pb2.JobStateChanged:
    changed = gateway_pb2.JobStateChanged(state=job_state(data["state"]))
    # Of a job that is queued again why stands beside the state; of one that failed it is whole.
    if why := data.get("problem") or ("reason" in data and data):
        problem = gateway_pb2.Problem(
            reason=why["reason"], message=why["message"], stage=stage_of(why.get("stage")), metadata=why.get("facts")
        )
        changed.problem.CopyFrom(problem)
    if "delay_s" in data:
        changed.delay.CopyFrom(duration(data["delay_s"]))
    return changed


def _stage_event(kind: str, data: dict[str, Any]) -> StageEvent:
    match kind:
        case "progress":
            return Progress(**_without(data, "stage"))
        case "engine":
            return EngineChosen(**_without(data, "stage"))
        case "warning":
            return Warned(data["reason"], data["message"])
        case "artifact":
            # Those written before there were levels have none.
            levels = Levels(**data["levels"]) if data.get("levels") else None
            return Stored(data["name"], "", data["media_type"], data["size_bytes"], data["sha256"], levels)
        case "usage":
            return Usage(**_without(data, "stage", "number"))
        case _:
            return Resumed(data["from_s"])


def _media(data: dict[str, Any]) -> media_pb2.MediaInfo:
    media = media_pb2.MediaInfo(**_without(data, "duration_s"))
    if data["duration_s"] is not None:
        media.duration.CopyFrom(duration(data["duration_s"]))
    return media


def _segment(data: dict[str, Any]) -> transcriber_pb2.Segment:
    words = [transcriber_pb2.Word(**_timed(word)) for word in data["words"]]
    return transcriber_pb2.Segment(**_timed(_without(data, "words")), words=words)


def _line(data: dict[str, Any]) -> aligner_pb2.Line:
    words = [
        aligner_pb2.AlignedWord(
            **_timed(_without(word, "timing")),
            timing=aligner_pb2.WordTiming.Value("WORD_TIMING_" + word["timing"].upper()),
        )
        for word in data["words"]
    ]
    return aligner_pb2.Line(**_timed(_without(data, "words")), words=words)


def _unmatched(data: dict[str, Any]) -> aligner_pb2.Unmatched:
    rest = _without(data, "what")
    if data["what"] == "unsung":
        return aligner_pb2.Unmatched(unsung=aligner_pb2.Unsung(**rest))
    return aligner_pb2.Unmatched(unlisted=aligner_pb2.Unlisted(**_timed(rest)))


def _timed(data: dict[str, Any]) -> dict[str, Any]:
    """`data` with its times as the wire has them."""
    times = {"start": duration(data["start_s"]), "end": duration(data["end_s"])}
    return _without(data, "start_s", "end_s") | times


def _without(data: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
