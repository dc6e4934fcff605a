"""What a later gateway may answer, and what forms cannot hold. The gateway itself is in tests/client."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from singscript_client.options import JobOptions, as_form, as_json
from singscript_client.shapes import Event, JobSummary, Limits, Readiness

JOB: dict[str, Any] = {
    "id": "5b1c1f0e-6c1f-4a8e-9d5e-0a4f6f0b8f57",
    "state": "queued",
    "attempt": 0,
    "cancel_requested": False,
    "title": "Song",
    "source": {"kind": "link", "url": "https://example.org/a.mp3", "file_name": None, "size_bytes": None},
    "options": {"language": "en"},
    "created_at": "2026-12-01T08:00:00Z",
    "started_at": None,
    "finished_at": None,
    "problem": None,
}


def test_what_is_new_breaks_nothing() -> None:
    later = JOB | {"state": "paused", "mood": "sad", "source": JOB["source"] | {"kind": "tape", "side": "B"}}
    job = JobSummary.model_validate_json(json.dumps(later))
    assert (job.state, job.final, job.source.kind) == ("paused", False, "tape")
    assert job.model_extra == {"mood": "sad"}
    assert job.created_at == datetime(2026, 12, 1, 8, tzinfo=UTC)
    failed = JOB | {"state": "failed", "problem": {"reason": "NEW", "detail": "New.", "status": 418, "colour": "red"}}
    problem = JobSummary.model_validate(failed).problem
    assert problem and problem.model_extra == {"colour": "red"}
    assert Readiness.model_validate({"ready": True, "checks": {"moon": {"ok": True, "detail": ""}}}).checks["moon"].ok


def test_only_a_state_ends_a_job() -> None:
    assert Event(7, "state", {"state": "failed"}).final
    assert not Event(7, "state", {"state": "paused"}).final
    assert not Event(7, "stage", {"state": "failed"}).final


def test_forms_say_what_json_says() -> None:
    options: JobOptions = {
        "language": None,
        "lyrics": "La, la",
        "hot_words": ["Zoë", "New York"],
        "karaoke": {"lead_in": True},
        "lookup": True,
        "reuse": False,
        "prompt": "",
    }
    assert as_json(options) == {name: value for name, value in options.items() if name != "language"}
    assert as_form(options) == {
        "lyrics": "La, la",
        "hot_words": ["Zoë", "New York"],
        "karaoke": '{"lead_in": true}',
        "lookup": "true",
        "reuse": "false",
        "prompt": "",
    }
    with pytest.raises(ValueError, match="hot_words"):
        as_form({"hot_words": ["Crosby, Stills"]})


def test_limits_are_compared_by_what_they_say() -> None:
    assert Limits() == Limits(active_jobs=None) != Limits(active_jobs=0)
