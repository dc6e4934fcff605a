from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
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
from singscript_serving.events import from_proto, to_proto

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SIZE = st.integers(0, 2**62)
# Whole milliseconds survive the way through nanoseconds.
SECONDS = st.integers(0, 10**9).map(lambda ms: ms / 1000)
DB = st.floats(-200, 200)
LEVELS = st.builds(Levels, loudness_lufs=st.none() | DB, peak_dbfs=st.none() | DB, gain_db=DB)
EVENTS: st.SearchStrategy[StageEvent] = st.one_of(
    st.builds(
        Progress,
        done_s=SECONDS,
        total_s=st.none() | SECONDS,
        finished=st.booleans(),
        done_bytes=st.none() | SIZE,
        total_bytes=st.none() | SIZE,
    ),
    st.builds(Warned, reason=TEXT, message=TEXT),
    st.builds(EngineChosen, engine=TEXT, model=TEXT, device=TEXT),
    st.builds(
        Usage,
        engine=TEXT,
        model=TEXT,
        audio_s=SECONDS,
        requests=st.integers(0, 2**31 - 1),
        input_tokens=st.integers(0, 2**63 - 1),
        output_tokens=st.integers(0, 2**63 - 1),
        cost_usd=st.none() | st.floats(0, 1e6),
    ),
    st.builds(Stored, name=TEXT, key=TEXT, media_type=TEXT, size_bytes=SIZE, sha256=TEXT, levels=st.none() | LEVELS),
    st.builds(PartStored, number=st.integers(0, 2**31 - 1), key=TEXT, size_bytes=SIZE, sha256=TEXT, end_s=SECONDS),
    st.builds(Resumed, from_s=SECONDS),
)


@example(event=Progress(5.903))  # seconds and nanoseconds that are divided apart give 5.9030000000000005
@given(event=EVENTS)
def test_an_event_survives_the_wire(event: StageEvent) -> None:
    sent = to_proto(media_pb2.STAGE_SEPARATE, event).SerializeToString()
    received = media_pb2.StageEvent.FromString(sent)
    assert received.stage == media_pb2.STAGE_SEPARATE
    assert from_proto(received) == event


def test_an_event_of_a_later_version_is_nothing() -> None:
    assert from_proto(media_pb2.StageEvent(stage=media_pb2.STAGE_ALIGN)) is None
