"""What every request goes through: an id, bounds for its body, headers of its answer, and a line in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from uuid import uuid4

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from singscript_core import logs
from singscript_gateway.api.problems import ProblemError, problem, problem_response

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
# A body may pause for this long in all, and a second more for each of these bytes that have come.
BODY_PAUSE_S = 30.0
BODY_BYTES_PER_S = 1024
# Asked every few seconds by whoever watches over the process.
_QUIET_PATHS = ("/healthz", "/readyz")
# Where the body of a request is found in its scope.
_BODY = "singscript.body"
# Of a sender that went away; no answer has it.
_CLIENT_CLOSED = 499

# No answer may be taken for a page, be put into one, or tell where it came from; one that needs more says so.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


def allow_body(request: Request, max_bytes: int | None) -> None:
    """Lets `request` have a body of up to `max_bytes` instead of MAX_BODY_BYTES; None: the caller counts by itself."""
    body: Body = request.scope[_BODY]
    body.max_bytes = max_bytes


class Body:
    """The body of one request, on its way in.

    Attributes:
        max_bytes: more is refused; as soon as it is known, so that it is never held.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.max_bytes: int | None = MAX_BODY_BYTES
        self._receive = receive
        declared = Headers(scope=scope).get("content-length", "")
        self._declared_bytes = int(declared) if declared.isdecimal() and len(declared) < 19 else 0
        self._received_bytes = 0
        self._waited_s = 0.0
        self._more = True

    async def receive(self) -> Message:
        """The next message of the server.

        Raises:
            ProblemError: TOO_LARGE, or BODY_TOO_SLOW from a sender that only wants to hold the connection.
        """
        if not self._more:
            return await self._receive()
        self._check(self._declared_bytes)
        patience_s = BODY_PAUSE_S + self._received_bytes / BODY_BYTES_PER_S - self._waited_s
        began_s = time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), patience_s)
        except TimeoutError:
            detail = f"The body of the request did not come, or slower than {BODY_BYTES_PER_S} bytes a second."
            raise ProblemError(408, "BODY_TOO_SLOW", detail, {"Connection": "close"}) from None
        self._waited_s += time.monotonic() - began_s
        self._received_bytes += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        self._check(self._received_bytes)
        return message

    def _check(self, size_bytes: int) -> None:
        if self.max_bytes is not None and size_bytes > self.max_bytes:
            detail = f"What was sent is larger than {self.max_bytes} bytes, the limit here. Send less."
            raise ProblemError(413, "TOO_LARGE", detail, limit_bytes=self.max_bytes)


class Defects:
    """ASGI middleware: what nobody expected is logged, and answered without a word of the inside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            raise
        except Exception:  # a defect of ours, whatever it is: logged whole, and answered with a sentence
            if scope["type"] != "http":
                raise
            logger.exception("a request failed")
            if started:
                # The server cuts the connection, so that nobody takes the part that was sent for the whole.
                raise
            detail = "Something went wrong inside the gateway; its log has the details under the id of the request."
            defect = problem(500, "INTERNAL", detail, request_id=logs.request_id.get())
            await problem_response(defect)(scope, receive, send)


class Requests:
    """ASGI middleware, around all others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid4().hex
        logs.request_id.set(request_id)
        logs.job_id.set("")
        scope[_BODY] = body = Body(scope, receive)
        began_s = time.monotonic()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                # What has a tag may be kept, and asked about again; nothing is for others that share a cache.
                headers.setdefault("Cache-Control", "private, no-cache" if "etag" in headers else "no-store")
            await send(message)

        try:
            if _ambiguous(scope):
                detail = "Send Content-Length or Transfer-Encoding, not both: what is between might read the other one."
                refusal = problem(400, "AMBIGUOUS_LENGTH", detail)
                await problem_response(refusal, {"Connection": "close"})(scope, body.receive, answer)
                return
            await self._app(scope, body.receive, answer)
        except ClientDisconnect:
            status = status or _CLIENT_CLOSED
        finally:
            _log(scope, status, time.monotonic() - began_s)


def _ambiguous(scope: Scope) -> bool:
    """Whether the head leaves open where the request ends (RFC 9112, 6.1)."""
    headers = Headers(scope=scope)
    return "content-length" in headers and "transfer-encoding" in headers


def _log(scope: Scope, status: int, duration_s: float) -> None:
    """No query and no path as it was sent: both may hold what is nobody's business."""
    level = logging.DEBUG if scope["path"] in _QUIET_PATHS else logging.INFO
    client = scope.get("client")
    fields = {
        "method": scope["method"][:10],
        "route": getattr(scope.get("route"), "path", None),
        "status": status,
        "duration_s": round(duration_s, 4),
        "client": client[0] if client else None,
    }
    logger.log(level, "request", extra=fields)
