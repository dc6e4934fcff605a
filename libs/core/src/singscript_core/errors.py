"""Errors that are part of the interface.

    StageError
    ├── InvalidInput            the caller must change something; never retried
    ├── NotFound                what was named does not exist; never retried
    ├── Rejected                the input was understood and cannot be served; never retried
    ├── NotAuthenticated        it is not known who asks; never retried
    ├── NotAllowed              who asks is known, and may not do this; never retried
    ├── Unavailable             something is down or missing for now; retried
    ├── Busy                    no capacity for now; retried
    ├── TimedOut                a limit on time was reached; retried
    ├── BrokenStream            a stream between two services was cut or damaged; retried
    └── Internal                a defect of ours; never retried

Subclasses live beside the code that raises them. Each has a `reason`: stable, UPPER_SNAKE, the same in gRPC, REST and
logs. The message is for the user: what happened and what to do, without paths, secrets or stack traces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class StageError(Exception):
    """Base of every error that a stage may report.

    Args:
        message: one or two sentences for the user.
        retry_after_s: how long to wait before trying again, when that is known.
        metadata: plain facts for machines, such as `{"limit_s": "7200"}`.
    """

    reason: str = "INTERNAL"
    retryable: bool = False

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.metadata = metadata or {}


class Violation(NamedTuple):
    """What is wrong with one field, such as `options.language`; the value itself is not repeated."""

    field: str
    message: str


class InvalidInput(StageError):
    """The request makes no sense as it is; `violations` has what is wrong with each field, where that is known."""

    reason = "INVALID_INPUT"
    violations: Sequence[Violation] = ()


class NotFound(StageError):
    """What the request names does not exist."""

    reason = "NOT_FOUND"


class Rejected(StageError):
    """The input was understood, and cannot be served."""

    reason = "REJECTED"


class NotAuthenticated(StageError):
    """It is not known who asks."""

    reason = "UNAUTHENTICATED"


class NotAllowed(StageError):
    """Who asks is known, and may not do this."""

    reason = "NOT_ALLOWED"


class Unavailable(StageError):
    """Something that is needed is down or missing for now."""

    reason = "UNAVAILABLE"
    retryable = True


class Busy(StageError):
    """No capacity for now."""

    reason = "BUSY"
    retryable = True


class TimedOut(StageError):
    """A limit on time was reached."""

    reason = "TIMED_OUT"
    retryable = True


class BrokenStream(StageError):
    """A stream between two services was cut or damaged."""

    reason = "BROKEN_STREAM"
    retryable = True


class Internal(StageError):
    """A defect of ours; the log has the details."""

    reason = "INTERNAL"


class EngineUnavailable(Rejected):
    """An engine lacks what it needs: a key, weights, a package. Not retried: waiting does not bring them."""

    reason = "ENGINE_UNAVAILABLE"


class Cancelled(StageError):
    """The caller went away or cancelled; the work stops."""

    reason = "CANCELLED"
