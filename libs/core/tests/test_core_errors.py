from __future__ import annotations

import re

import pytest

from singscript_core import errors
from singscript_core.errors import StageError

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, StageError)]
RETRIED = {errors.Unavailable, errors.Busy, errors.TimedOut, errors.BrokenStream}


def test_the_message_is_what_a_user_reads() -> None:
    error = errors.Busy("All seats are taken. Try again.", retry_after_s=2.5, metadata={"limit": "8"})
    assert str(error) == error.message == "All seats are taken. Try again."
    assert error.retry_after_s == 2.5
    assert error.metadata == {"limit": "8"}


def test_nothing_is_shared_between_errors_without_metadata() -> None:
    first, second = StageError("a"), StageError("b")
    first.metadata["x"] = "1"
    assert second.metadata == {}


@pytest.mark.parametrize("kind", ALL)
def test_every_reason_is_stable_and_upper_snake(kind: type[StageError]) -> None:
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", kind.reason)


@pytest.mark.parametrize("kind", ALL)
def test_only_what_waiting_can_help_is_retried(kind: type[StageError]) -> None:
    assert kind.retryable == (kind in RETRIED)


def test_a_subclass_of_another_module_inherits_whether_it_is_retried() -> None:
    class DiskFull(errors.Unavailable):
        reason = "DISK_FULL"

    assert DiskFull("x").retryable
    assert DiskFull("x").reason == "DISK_FULL"
