"""The queue of claims: procrastinate on the same Postgres. A task names a job; the job's row decides if it may run.

procrastinate does not fence a worker that comes back from the dead, so nothing here is believed: a task that is not the
one in `jobs.task_id`, or that finds its job in another state, does nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import procrastinate
import psycopg
from procrastinate.connector import Notify
from procrastinate.exceptions import ConnectorException
from procrastinate.types import TimeDeltaParams

from singscript_gateway.database import Connection

logger = logging.getLogger(__name__)

QUEUE = "singscript"
TASK = "run_job"
T = TypeVar("T")


class PatientConnector(procrastinate.PsycopgConnector):
    """Waits for a database that restarts. procrastinate's own worker gives up, and its running jobs with it."""

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        inner = super().execute_query_async
        await _patiently(lambda: inner(query, **arguments))

    async def execute_query_one_async(self, query: LiteralString, **arguments: Any) -> dict[str, Any]:
        inner = super().execute_query_one_async
        return await _patiently(lambda: inner(query, **arguments))

    async def execute_query_all_async(self, query: LiteralString, **arguments: Any) -> list[dict[str, Any]]:
        inner = super().execute_query_all_async
        return await _patiently(lambda: inner(query, **arguments))

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        inner = super().listen_notify
        channels = list(channels)
        await _patiently(lambda: inner(on_notification=on_notification, channels=channels))


async def _patiently(action: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await action()
        except ConnectorException as error:
            if not isinstance(error.__cause__, psycopg.OperationalError):
                raise
            logger.warning("the queue waits for the database: %s", str(error.__cause__).strip())
            await asyncio.sleep(0.5)


def make_queue() -> procrastinate.App:
    """The queue, not yet opened. Deferring needs no opening: it takes part in a transaction of ours."""
    return procrastinate.App(connector=PatientConnector())


async def defer(app: procrastinate.App, connection: Connection, job_id: UUID, delay_s: float = 0.0) -> int:
    """Puts a task for the job into the queue, in the transaction of `connection`; returns the task's number."""
    wait: TimeDeltaParams | None = {"milliseconds": round(delay_s * 1000)} if delay_s > 0 else None
    deferrer = app.configure_task(TASK, queue=QUEUE, connection=connection, schedule_in=wait)
    return await deferrer.defer_async(job_id=str(job_id))
