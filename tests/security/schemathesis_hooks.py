"""What schemathesis cannot know of the API."""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID, uuid4

import schemathesis

JOBS = os.environ["SINGSCRIPT_TEST_JOBS"].split(",")


schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@schemathesis.auth()
class Key:
    """Known to the checks, which also leave it out and send wrong ones."""

    def get(self, case: Any, context: Any) -> str:
        return os.environ["SINGSCRIPT_TEST_KEY"]

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": data}


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of every two ids that could be one, one is."""
    try:
        number = UUID((path_parameters or {})["job_id"]).int
    except (KeyError, ValueError, AttributeError, TypeError):
        return path_parameters
    return path_parameters if number % 2 else {**(path_parameters or {}), "job_id": JOBS[number // 2 % len(JOBS)]}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """A key that was used is answered as before, also when that job is gone: each usable one becomes new."""
    for name, value in list((case.headers or {}).items()):
        if name.lower() == "idempotency-key" and isinstance(value, str) and 0 < len(value) < 256 and value.isascii():
            case.headers[name] = uuid4().hex
