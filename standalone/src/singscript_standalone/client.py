"""The REST client that the command uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import connect_sse

# An event or a heartbeat comes at least every 15 s.
EVENTS_TIMEOUT_S = 60.0
RECONNECTS = 5
# The gateway gives up after a minute.
RENDER_TIMEOUT_S = 90.0


class RequestFailed(Exception):
    """The gateway refused; `reason` is stable, the message is for the user."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Event:
    """One server-sent event of a job: its number, its kind and its fields."""

    number: int
    kind: str
    data: dict[str, Any]


class Client:
    """Talks to one gateway."""

    def __init__(self, url: str) -> None:
        # Proxies of the environment are for the internet, not for this.
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(30.0, write=None), trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit_link(self, url: str, **options: str) -> dict[str, Any]:
        """Makes a job of a link; raises RequestFailed."""
        return self._answer(self._http.post("/api/jobs", json={"url": url} | options))

    def submit_file(self, path: Path, **options: str) -> dict[str, Any]:
        """Uploads a file and makes a job of it; raises RequestFailed."""
        with path.open("rb") as content:
            return self._answer(self._http.post("/api/jobs", data=options, files={"file": (path.name, content)}))

    def events(self, job_id: str) -> Iterator[Event]:
        """The events of a job, from its first to its last one; a connection that is lost is taken up again."""
        last, lost = 0, 0
        while True:
            try:
                headers = {"Last-Event-ID": str(last)} if last else {}
                path = f"/api/jobs/{job_id}/events"
                with connect_sse(self._http, "GET", path, headers=headers, timeout=EVENTS_TIMEOUT_S) as source:
                    if source.response.status_code == 204:
                        return
                    if source.response.status_code != 200:
                        source.response.read()
                        self._answer(source.response)
                    for sse in source.iter_sse():
                        if not sse.data:
                            continue  # the server's advice on when to come back
                        last, lost = int(sse.id), 0
                        event = Event(last, sse.event, json.loads(sse.data))
                        yield event
                        if event.kind == "state" and event.data["state"] in ("succeeded", "failed", "cancelled"):
                            return
            except httpx.TransportError as error:
                lost += 1
                if lost > RECONNECTS:
                    raise RequestFailed("GATEWAY_UNREACHABLE", f"The gateway stopped answering: {error}") from None

    def job(self, job_id: str) -> dict[str, Any]:
        return self._answer(self._http.get(f"/api/jobs/{job_id}"))

    def result(self, job_id: str) -> dict[str, Any]:
        return self._answer(self._http.get(f"/api/jobs/{job_id}/result"))

    def words(self, job_id: str) -> tuple[int, dict[str, Any]]:
        """The words of a job that succeeded, as they stand, and which revision that is."""
        response = self._http.get(f"/api/jobs/{job_id}/words")
        words = self._answer(response)
        return int(response.headers["ETag"].strip('"')), words

    def correct(self, job_id: str, words: dict[str, Any], revision: int) -> dict[str, Any]:
        """Puts corrected words in place of `revision`; raises RequestFailed, WORDS_CHANGED when another one stands.

        Returns: the new revision, and the files that show it.
        """
        headers = {"If-Match": f'"{revision}"'}
        path = f"/api/jobs/{job_id}/words"
        return self._answer(self._http.put(path, json=words, headers=headers, timeout=RENDER_TIMEOUT_S))

    def render(self, job_id: str, formats: list[str], **karaoke: Any) -> dict[str, Any]:
        """Makes more subtitle files of the words as they stand; returns their revision and the files."""
        order = {"formats": formats, "karaoke": karaoke}
        return self._answer(self._http.post(f"/api/jobs/{job_id}/render", json=order, timeout=RENDER_TIMEOUT_S))

    def cancel(self, job_id: str) -> None:
        self._answer(self._http.post(f"/api/jobs/{job_id}/cancel"))

    def save(self, artifact: dict[str, Any], path: Path) -> None:
        """Downloads an artifact to `path`, under a temporary name until it is whole."""
        part = path.with_name(path.name + ".part")
        with self._http.stream("GET", artifact["url"]) as response:
            if response.status_code != 200:
                response.read()
                self._answer(response)
            with part.open("wb") as out:
                for block in response.iter_bytes(1 << 20):
                    out.write(block)
        part.replace(path)

    @staticmethod
    def _answer(response: httpx.Response) -> dict[str, Any]:
        if response.is_success:
            return response.json()
        try:
            problem = response.json()
            raise RequestFailed(problem["reason"], problem["detail"])
        except (ValueError, KeyError):
            text = f"The gateway answered {response.status_code}."
            raise RequestFailed("GATEWAY_FAILED", text) from None
