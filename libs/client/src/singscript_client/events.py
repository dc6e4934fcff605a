"""Watching a job: its events as they come, over as many connections as it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from httpx_sse import EventSource

from singscript_client.connection import Connection, in_path
from singscript_client.errors import SingscriptError, Unreachable, error_of
from singscript_client.shapes import Event

# The gateway says something every 15 s, unless its operator has set it otherwise.
_SILENCE_S = 60.0


def watch(connection: Connection, job_id: str, after: int) -> Iterator[Event]:
    """The events after number `after`, each once and in order, until the gateway says that nothing more can come.

    A stream ends with the job; then it is asked once more, so that a retry is not missed.

    Raises:
        ApiError, Unreachable: not once the job has ended, and all up to there is told.
    """
    patience = connection.patience()
    ended = False
    while True:
        came = False
        try:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after else {})
            path = in_path("jobs", job_id, "events")
            with connection.stream("GET", path, headers=headers, answer_s=_SILENCE_S) as response:
                if response.status_code == 204:
                    return
                if not response.is_success:
                    raise error_of(response)
                for sse in EventSource(response).iter_sse():
                    patience.renew()
                    # The gateway's advice on when to come back has neither, and a heartbeat has no data.
                    if sse.id and sse.data:
                        event = Event(int(sse.id), sse.event, json.loads(sse.data))
                        after, came = event.number, True
                        ended = event.final if event.kind == "state" else ended
                        yield event
            if not came:
                raise Unreachable(connection.origin, EOFError("the stream ended before anything came"))
        except SingscriptError as error:
            try:
                patience.pause(error)
            except SingscriptError:
                if ended:
                    return
                raise
