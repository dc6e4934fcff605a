"""HEAD wherever there is GET: the same head, and no body (RFC 9110)."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD = "singscript.head"
# There HEAD has a meaning of its own, and GET has none.
_OWN = "/api/uploads/"


def is_head(request: Request) -> bool:
    """Whether only the head of the answer is wanted."""
    return request.scope.get(_HEAD, False)


class _Enough(OSError):
    """What Starlette takes for a client that went away: nothing more is read for it."""


class Heads:
    """ASGI middleware: routes are asked as by GET; of a stream nothing is awaited but its beginning."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(_OWN):
            await self._app(scope, receive, send)
            return
        complete = False

        async def head(message: Message) -> None:
            nonlocal complete
            if message["type"] != "http.response.body":
                await send(message)
                return
            if not complete:
                complete = True
                await send({"type": "http.response.body"})
            if message.get("more_body"):
                raise _Enough

        scope["method"], scope[_HEAD] = "GET", True
        try:
            await self._app(scope, receive, head)
        except (_Enough, ClientDisconnect):
            if not complete:
                raise
        finally:
            scope["method"] = "HEAD"
