"""words.json, from events in the order in which they happen to arrive."""

from __future__ import annotations

import itertools
import json

from singscript.aligner.v1 import aligner_pb2
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_aligner.record import Record
from singscript_core.events import EngineChosen, StageEvent, Warned
from singscript_serving.events import duration, to_proto

STAGES = (
    media_pb2.STAGE_DOWNLOAD,
    media_pb2.STAGE_SEPARATE,
    media_pb2.STAGE_TRANSCRIBE,
    media_pb2.STAGE_ALIGN,
)


def note(record: Record, stage: media_pb2.Stage.ValueType, event: StageEvent) -> None:
    record.note(aligner_pb2.AlignResponse(event=to_proto(stage, event)))


def test_the_same_run_gives_the_same_bytes_in_whatever_order_stages_report() -> None:
    documents: set[bytes] = set()
    for order in itertools.permutations(STAGES):
        record = Record("", "")
        for stage in order:
            name = media_pb2.Stage.Name(stage)
            note(record, stage, Warned("FIRST", name))
            note(record, stage, EngineChosen(name, "model"))
            note(record, stage, Warned("SECOND", name))
        documents.add(record.document().content)
    assert len(documents) == 1
    document = json.loads(documents.pop())
    assert list(document["stages"]) == ["download", "separate", "transcribe", "align"]
    assert [(w["stage"], w["reason"]) for w in document["warnings"][:3]] == [
        ("download", "FIRST"),
        ("download", "SECOND"),
        ("separate", "FIRST"),
    ]


def test_a_later_engine_takes_the_place_of_the_one_before() -> None:
    record = Record("", "")
    note(record, media_pb2.STAGE_TRANSCRIBE, EngineChosen("openai", "whisper-1", "remote"))
    note(record, media_pb2.STAGE_TRANSCRIBE, EngineChosen("sphinx", "en-us"))
    assert json.loads(record.document().content)["stages"]["transcribe"]["engine"] == "sphinx"


def test_what_was_not_believed_is_kept_and_changes_nothing_else() -> None:
    believed = transcriber_pb2.Segment(text="la la", start=duration(1), end=duration(2), language="en", confidence=0.5)
    doubted = transcriber_pb2.Dropped(
        text="Thanks for watching!",
        start=duration(3.25),
        end=duration(5),
        reason="PHANTOM",
        language="en",
        engine="whisper",
        model="small",
    )
    plain, record = Record("", ""), Record("", "")
    for one in (plain, record):
        one.note_heard(believed)
    record.note(aligner_pb2.AlignResponse(dropped=doubted))
    document, without = json.loads(record.document().content), json.loads(plain.document().content)
    assert document["version"] == 1 and without["dropped"] == []
    assert document.pop("dropped") == [
        {
            "text": "Thanks for watching!",
            "start_s": 3.25,
            "end_s": 5.0,
            "reason": "PHANTOM",
            "language": "en",
            "engine": "whisper",
            "model": "small",
        }
    ]
    without.pop("dropped")
    assert document == without and document["heard"][0]["confidence"] == 0.5
    assert record.input_sha256() == plain.input_sha256()


def test_an_engine_that_does_not_say_how_sure_it_is_has_no_confidence() -> None:
    record = Record("", "")
    record.note_heard(transcriber_pb2.Segment(text="la"))
    assert json.loads(record.document().content)["heard"][0]["confidence"] is None
