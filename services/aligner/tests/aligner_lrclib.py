"""A server on loopback that gives LRCLIB's answers, in the form that its documentation shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

NOT_FOUND = (404, {"code": 404, "name": "TrackNotFound", "message": "Failed to find specified track"})
LRC = "[00:01.00] we go\n[00:02.00] you stay"


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "name": "Night Train",
        "trackName": "Night Train",
        "artistName": "Anna",
        "albumName": "Rails",
        "duration": 200.0,
        "instrumental": False,
        "plainLyrics": "we go\nyou stay",
        "syncedLyrics": LRC,
    } | changes


class Library:
    """What the server was asked, and what it answers: status and JSON (or bytes) by path."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[str] = []


@asynccontextmanager
async def library(answers: dict[str, Any] | Callable[[str, dict[str, str]], Any]) -> AsyncGenerator[Library]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            parts = urlsplit(head.split()[1])
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            served.asked.append((parts.path, query))
            served.headers.append(head)
            status, content = answers(parts.path, query) if callable(answers) else answers.get(parts.path, NOT_FOUND)
            if content is None:
                await asyncio.sleep(60)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    served = Library(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    async with listening:
        yield served
