"""Which pages of other origins may use the API: those that the operator names, and no others."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Message, Receive, Scope, Send

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ASKED = (
    *("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "Range"),
    *("Tus-Resumable", "Upload-Length", "Upload-Offset", "Upload-Metadata", "Upload-Checksum", "Upload-Defer-Length"),
    "X-HTTP-Method-Override",
)
_SHOWN = (
    *("Location", "ETag", "Retry-After", "WWW-Authenticate", "X-Request-Id", "Content-Disposition"),
    *("Accept-Ranges", "Content-Range"),
    *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
    *("Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Expires"),
)


def origins(text: str) -> list[str]:
    """The origins of a comma-separated list, as browsers send them.

    Raises:
        ValueError: one is none: a pattern, `null`, an address with a path.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    for one in found:
        parts = urlsplit(one)
        if parts.scheme not in ("http", "https") or not parts.hostname or "*" in one or "@" in one:
            raise ValueError(f"{one!r} is no origin. One is https://app.example.org, or http://localhost:5173.")
        port = "" if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{parts.port}"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if one != f"{parts.scheme}://{host}{port}":
            raise ValueError(f"{one!r} is no origin as browsers send it: {parts.scheme}://{host}{port}.")
    return found


def add_cors(app: FastAPI, allowed: list[str]) -> None:
    """Lets scripts of these origins call. A key is sent by the script itself, never by the browser on its own."""
    app.add_middleware(
        _Cors, allow_origins=allowed, allow_methods=_METHODS, allow_headers=_ASKED, expose_headers=_SHOWN
    )


class _Cors(CORSMiddleware):
    """Starlette's own tells also those who may not call what the others may."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.is_allowed_origin(Headers(scope=scope).get("origin", "")):
            await super().__call__(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header("Origin")
            await send(message)

        await self.app(scope, receive, answer)
