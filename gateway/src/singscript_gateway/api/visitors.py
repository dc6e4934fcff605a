"""Where no key is asked for, pages of other sites stay out, though the browser that shows them is on this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from singscript_gateway.api.problems import problem, problem_response


def is_loopback(authority: str) -> bool:
    """Whether `host:port` or `host` can only mean this machine."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Visitors:
    """ASGI middleware of a gateway without keys.

    A page elsewhere could let a name of its own lead to this machine, and read what it likes under that name: the Host
    must be this machine's. It could also send forms here without reading the answer: they say their Origin.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            if not is_loopback(host):
                detail = "Without keys only this machine is served: ask for localhost or 127.0.0.1."
                await problem_response(problem(421, "HOST_NOT_SERVED", detail))(scope, receive, send)
                return
            if origin is not None and origin not in (*self._allowed, f"http://{host}"):
                detail = "Pages of other origins are not served. The operator can name them in SINGSCRIPT_CORS_ORIGINS."
                await problem_response(problem(403, "ORIGIN_NOT_SERVED", detail))(scope, receive, send)
                return
        await self._app(scope, receive, send)
