"""Structured logs: one JSON object a line, with the job, the stage and the request that it belongs to."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import Any

job_id: ContextVar[str] = ContextVar("singscript_job_id", default="")
stage: ContextVar[str] = ContextVar("singscript_stage", default="")
request_id: ContextVar[str] = ContextVar("singscript_request_id", default="")

# What every LogRecord has; anything beyond these came through `extra` and is logged as a field.
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


# Errors of these say in further lines what they were given: whole rows of a database, whole requests.
_TALKATIVE = ("psycopg", "pydantic_core", "pydantic", "fastapi")
# They say of each request its whole address, which with a store of files is one that lets anybody in.
_TELL_ADDRESSES = ("httpx", "httpcore")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, service, job, stage, request, and `extra`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{created}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if job := job_id.get():
            entry["job"] = job
        if current_stage := stage.get():
            entry["stage"] = current_stage
        if request := request_id.get():
            entry["request"] = request
        entry |= {k: v for k, v in record.__dict__.items() if k not in _PLAIN}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)

    def formatException(self, ei: Any) -> str:
        """The traceback; of errors that repeat what they were given only the first line."""
        hidden = {
            line.strip()
            for error in _related(ei[1])
            if type(error).__module__.partition(".")[0] in _TALKATIVE
            for line in str(error).splitlines()[1:]
        }
        lines = super().formatException(ei).splitlines()
        # Those of a group are indented behind a bar.
        return "\n".join(line for line in lines if not line.strip() or line.lstrip(" |").rstrip() not in hidden)


def _related(error: BaseException | None) -> list[BaseException]:
    """The error, what it was raised from or while handling, and all that of the parts of a group; each once."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        # A part that is raised out of its group leads back to the group.
        if one is None or any(one is other for other in found):
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return found


def set_up_logging(service: str, level: str = "INFO") -> None:
    """Sends all logs of this process to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TELL_ADDRESSES:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
