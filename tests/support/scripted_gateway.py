"""A real gateway, with keys, whose work a scripted aligner does. Fixtures of gateway/tests have to be there."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from gateway_testing import Processes, ScriptedAligner, free_address, is_up, serving, whole_song

from singscript_gateway.api.server import make_server
from singscript_gateway.settings import ApiSettings
from singscript_storage import FolderStore

# What the aligner leaves, small.
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "language": "en",
    "media": {"title": "Song", "artist": "Someone", "duration_s": 9.0, "webpage_url": "", "format": "flac"},
    "lyrics_given": False,
    "lines": [
        {
            "text": "one two",
            "start_s": 1.0,
            "end_s": 2.0,
            "lyrics_line": None,
            "words": [
                {"text": "one", "start_s": 1.0, "end_s": 1.4, "confidence": 0.9, "timing": "acoustic"},
                {"text": "two", "start_s": 1.5, "end_s": 2.0, "confidence": 0.9, "timing": "acoustic"},
            ],
        }
    ],
    "unsung": [],
    "heard": [],
    "warnings": [],
}


@dataclass
class System:
    """A gateway's address, and the aligner that does its work."""

    url: str
    aligner: ScriptedAligner


@contextmanager
def served(settings: ApiSettings, objects: FolderStore) -> Iterator[str]:
    """Serves the API from a thread of this process, as its own process does: its address."""
    address = free_address()
    server = make_server(settings.model_copy(update={"listen": address}), objects)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), trust_env=False) as http:
            http.get(f"http://{address}/healthz").raise_for_status()
        yield address
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@asynccontextmanager
async def scripted(processes: Processes, objects: FolderStore, folder: Path) -> AsyncIterator[System]:
    address = free_address()
    script = whole_song(objects, folder, json.dumps(DOCUMENT).encode())
    async with serving(script) as aligner:
        settings = {"SINGSCRIPT_AUTH": "keys", "SINGSCRIPT_ALIGNER": aligner.address}
        settings["SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS"] = "127.0.0.1"
        processes.start("api", SINGSCRIPT_LISTEN=address, **settings)
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
            await is_up(http)
        processes.start("dispatcher", **settings)
        yield System(f"http://{address}", aligner)


@contextmanager
def answering(status: int, headers: dict[str, str], body: bytes) -> Iterator[tuple[str, list[str]]]:
    """A server that gives each request this answer, for what is no gateway of ours: its address, and what is asked."""
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
