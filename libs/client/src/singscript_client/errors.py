"""What goes wrong, as a tree:

SingscriptError
├── Unreachable         no answer came, or not all of it
├── Damaged             the bytes are not those that were promised
└── ApiError            the gateway refuses
    ├── Unauthorized    401, 403: no key, one that has ended, or one that may not
    ├── NotFound        404
    ├── Conflict        409, 412: it stands otherwise than was thought
    └── TryLater        429, 503: not for now
"""

from __future__ import annotations

from typing import Any

import httpx


class SingscriptError(Exception):
    """Attributes:
    reason: stable, UPPER_SNAKE.
    detail: what happened and what to do, for the user.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Unreachable(SingscriptError):
    """The gateway cannot be reached, or the connection was lost."""

    def __init__(self, origin: str, error: Exception) -> None:
        super().__init__("GATEWAY_UNREACHABLE", f"{origin} does not answer: {error or type(error).__name__}")


class Damaged(SingscriptError):
    """A file did not arrive as it is, or is no longer what it was."""

    def __init__(self, detail: str) -> None:
        super().__init__("DAMAGED", detail)


class ApiError(SingscriptError):
    """Attributes:
    status: of HTTP.
    facts: further members of the problem, such as `limit_bytes` or `errors`.
    retry_after_s: when to come back, where the answer says so.
    request_id: by which the gateway's log knows the request.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        facts: dict[str, Any] | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(reason, detail)
        self.status = status
        self.facts = facts or {}
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class Unauthorized(ApiError):
    """401, 403."""


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409, 412."""


class TryLater(ApiError):
    """429, 503."""


_KINDS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    429: TryLater,
    503: TryLater,
}
_PROBLEM = {"type", "title", "status", "detail", "reason"}


def error_of(response: httpx.Response) -> ApiError:
    """The error that an answer is, which has been read. What stands between may answer, too, with no problem."""
    try:
        problem = response.json()
        reason, detail = str(problem["reason"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem = {}
        reason = f"HTTP_{response.status_code}"
        detail = f"The answer has the status {response.status_code}, and does not say why."
    retry_after = response.headers.get("Retry-After", "")
    return _KINDS.get(response.status_code, ApiError)(
        response.status_code,
        reason,
        detail,
        facts={name: value for name, value in problem.items() if name not in _PROBLEM},
        retry_after_s=float(retry_after) if retry_after.isdecimal() else None,
        request_id=response.headers.get("X-Request-Id"),
    )
