"""Files on a web server on loopback that sends them whole, cuts them, stalls, or sends something else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from singscript_models.download import Source

CONTENT = bytes(range(256)) * 3000


@dataclass
class Web:
    """What the server has and does, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # after how many bytes each of the next answers ends
    ranges: bool = True
    stall: threading.Event | None = None  # an answer stops half-way until this is set
    asked: list[str] = field(default_factory=list)  # "PATH RANGE" of each GET
    url: str = ""

    def source(self, name: str, content: bytes = CONTENT, **changes: Any) -> Source:
        """Serves `content` and says where it is."""
        self.files[f"/{name}"] = content
        about = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        return Source(f"{self.url}/{name}", **(about | changes))


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, web: Web, *args: Any) -> None:
        self._web = web
        super().__init__(*args)

    def do_GET(self) -> None:
        web, wanted = self._web, self.headers.get("Range", "")
        web.asked.append(f"{self.path} {wanted}".strip())
        content = web.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and web.ranges else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if web.stall:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            web.stall.wait(60)
            return
        self.wfile.write(body[: web.cuts.pop(0)] if web.cuts else body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Web]:
    """A server without files, which ends with the block."""
    web = Web()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, web)) as server:
        web.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield web
        finally:
            if web.stall:
                web.stall.set()
            server.shutdown()
            thread.join()
