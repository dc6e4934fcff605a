"""Why a request is not served to whoever sent it."""

from __future__ import annotations

from singscript_core.errors import NotAllowed, NotAuthenticated


class Unauthenticated(NotAuthenticated):
    """It is not known who asks, or whoever it is may not."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ScopeMissing(NotAllowed):
    """Who asks is known, and may not do this."""

    reason = "SCOPE_MISSING"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope}, which the key does not have.", metadata={"scope": scope})


def unknown(message: str) -> Unauthenticated:
    return Unauthenticated("UNAUTHENTICATED", message)
