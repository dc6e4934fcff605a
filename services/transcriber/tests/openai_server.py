"""A stand-in for OpenAI's server, which cannot be asked here: it speaks the API, and fails as it is told."""

from __future__ import annotations

import email
import email.policy
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

KEY = "sk-test-0123456789"
SEGMENTS = [
    {"id": 0, "start": 0.0, "end": 0.9, "text": " Hello, world.", "avg_logprob": -0.2, "no_speech_prob": 0.01},
    {"id": 1, "start": 0.9, "end": 2.5, "text": " Good night.", "avg_logprob": -0.4, "no_speech_prob": 0.02},
]
WORDS = [
    {"word": "Hello", "start": 0.1, "end": 0.5},
    {"word": "world", "start": 0.6, "end": 0.96},
    {"word": "Good", "start": 0.96, "end": 1.2},
    {"word": "night", "start": 1.2, "end": 9.0},
]
TEXT = "Hello, world. Good night."
ANSWER = {"text": TEXT, "language": "english", "duration": 2.0, "words": WORDS, "segments": SEGMENTS}
ANSWER |= {"usage": {"type": "duration", "seconds": 2}}


@dataclass(frozen=True)
class Reply:
    """What the server does: `body` is sent as JSON, or as it is when it is bytes; "hang" never ends."""

    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = (("Retry-After-Ms", "1"),)
    end: Literal["whole", "cut", "hang", "late", "closed"] = "whole"


def fails(status: int, code: str | None = None, kind: str | None = None, message: str = "no", **more: Any) -> Reply:
    return Reply(status, {"error": {"message": message, "type": kind, "code": code, "param": None}}, **more)


@dataclass(frozen=True)
class Asked:
    """One request as the server got it."""

    path: str
    key: str
    fields: dict[str, list[str]]
    file: bytes
    media_type: str


class Server(ThreadingHTTPServer):
    """Answers with `replies` in turn; the last one is repeated."""

    daemon_threads = True

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forget()
        super().__init__(("127.0.0.1", 0), Handler)

    def forget(self) -> None:
        """Is as new."""
        self.replies = [Reply(body=ANSWER)]
        self.model_reply = Reply(body={"id": "whisper-1", "object": "model"})
        self.asked: list[Asked] = []
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Event()  # late replies and those that hang wait for it
        self.left = threading.Event()  # a client that was kept waiting has closed its connection

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]  (narrowed)

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.asked.append(self._asked(self.rfile.read(int(self.headers["Content-Length"]))))
            reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        self.server.arrived.release()
        self._answer(reply)

    def do_GET(self) -> None:
        self._answer(self.server.model_reply)

    def _asked(self, body: bytes) -> Asked:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        fields: dict[str, list[str]] = {}
        file, media_type = b"", ""
        for part in email.message_from_bytes(head + body, policy=email.policy.HTTP).iter_parts():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            if part.get_filename():
                file, media_type = content, part.get_content_type()
            else:
                name = part.get_param("name", header="Content-Disposition")
                fields.setdefault(str(name), []).append(content.decode())
        return Asked(self.path, self.headers["Authorization"], fields, file, media_type)

    def _answer(self, reply: Reply) -> None:
        if reply.end in ("hang", "late"):
            self._wait()
        if reply.end in ("hang", "closed"):
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if reply.end == "cut" else data)

    def _wait(self) -> None:
        """Until the gate is open, or the client gone."""
        until_s = time.monotonic() + 20
        while not self.server.gate.wait(0.005) and time.monotonic() < until_s:
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                self.server.left.set()
                return

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()
