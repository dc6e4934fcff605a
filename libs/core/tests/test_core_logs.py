from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from singscript_core import logs


@pytest.fixture(autouse=True)
def root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_log_is_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up_logging("separator")
    logging.getLogger("some.where").warning("two\nlines, %s", "ünïcode", extra={"samples": 7, "odd": object})
    (entry,) = logged(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry.pop("odd") == "<class 'object'>"
    assert entry == {
        "level": "warning",
        "service": "separator",
        "logger": "some.where",
        "message": "two\nlines, ünïcode",
        "samples": 7,
    }


def test_job_and_stage_are_added_while_they_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up_logging("separator")
    job, stage = logs.job_id.set("j1"), logs.stage.set("separate")
    try:
        logging.info("with")
    finally:
        logs.job_id.reset(job)
        logs.stage.reset(stage)
    logging.info("without")
    first, second = logged(capsys)
    assert (first["job"], first["stage"]) == ("j1", "separate")
    assert "job" not in second
    assert "stage" not in second


def test_an_exception_is_logged_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up_logging("separator")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.exception("it failed")
    (entry,) = logged(capsys)
    assert "RuntimeError: broken" in entry["exception"]


class RowRefused(Exception):
    """As psycopg's are."""

    __module__ = "psycopg.errors"


@pytest.mark.parametrize("grouped", [False, True])
def test_what_an_error_was_given_is_not_logged(capsys: pytest.CaptureFixture[str], grouped: bool) -> None:
    logs.set_up_logging("gateway")
    refused = RowRefused("the row is refused\nDETAIL:  Failing row contains (7, my lyrics,\nthe second line).")
    try:
        try:
            raise ExceptionGroup("both", [refused, ValueError("other")]) if grouped else refused
        except Exception as error:
            raise RuntimeError("not stored\nby the second store") from error
    except RuntimeError:
        logging.exception("it failed")
    (entry,) = logged(capsys)
    assert "the row is refused" in entry["exception"] and "by the second store" in entry["exception"]
    assert "test_core_logs.py" in entry["exception"] and ("ValueError: other" in entry["exception"]) == grouped
    assert "lyrics" not in entry["exception"] and "second line" not in entry["exception"]


def test_a_part_that_is_raised_out_of_its_group_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """As servers do with the only error of several tasks: it was raised while the group that holds it was handled."""
    logs.set_up_logging("separator")
    part = KeyError("the part")
    try:
        try:
            raise ExceptionGroup("all of them", [part])
        except ExceptionGroup as group:
            raise group.exceptions[0]  # noqa: B904  (without a cause, so that the context leads to the group)
    except KeyError:
        logging.getLogger("x").exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "the part" in json.loads(line)["exception"]


def test_the_level_is_kept_and_a_second_set_up_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up_logging("first")
    logs.set_up_logging("second", "warning")
    logging.info("too low")
    logging.error("once")
    (entry,) = logged(capsys)
    assert (entry["service"], entry["message"]) == ("second", "once")


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_signed_addresses_are_not_logged(capsys: pytest.CaptureFixture[str], level: str) -> None:
    logs.set_up_logging("transcriber", level)
    nowhere = httpx.MockTransport(lambda request: httpx.Response(200))
    with httpx.Client(transport=nowhere) as client:
        client.get("https://files.test/weights?X-Amz-Signature=secret")
    logging.info("got them")
    assert [line["message"] for line in logged(capsys)] == ["got them"]
