"""Who asks is known before a byte of the body is read, and before it is looked what the address means."""

from __future__ import annotations

import psycopg
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from singscript_core.errors import StageError
from singscript_gateway.api.problems import response_to
from singscript_gateway.auth import audit
from singscript_gateway.auth.model import Principal

# Where a request's principal is found in its scope.
_PRINCIPAL = "singscript.principal"


def principal_of(request: HTTPConnection) -> Principal:
    """Who sent a request that came by `Authentication`."""
    return request.scope[_PRINCIPAL]


class Authentication:
    """ASGI middleware: nothing below /api/ is served to who is not known, or has sent too many requests.

    OPTIONS only tells what can be asked: browsers send it without a key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/") and scope["method"] != "OPTIONS":
            client = scope.get("client")
            audit.address.set(client[0] if client else None)
            gateway = scope["app"].state.gateway
            try:
                principal = await gateway.authenticator.principal(Headers(scope=scope).get("authorization"))
                await gateway.quotas.take_request(principal.owner, principal.key_id)
            except (StageError, psycopg.OperationalError) as error:
                await response_to(error)(scope, receive, send)
                return
            audit.key_id.set(principal.key_id)
            scope[_PRINCIPAL] = principal
        await self._app(scope, receive, send)
