"""What a key may hand on: no more than it may do itself, and for no longer."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from singscript_core.errors import InvalidInput
from singscript_gateway.auth.model import ApiKey, Principal, Scope
from singscript_gateway.auth.refusals import ScopeMissing


class EndTooLate(InvalidInput):
    """A key would outlive the one that makes it."""

    reason = "KEY_END_TOO_LATE"


def check_new_key(maker: Principal, scopes: Collection[Scope], ends_at: datetime | None) -> datetime | None:
    """When a key that `maker` makes ends: at `ends_at`; left out, when the maker's own does.

    Raises:
        ScopeMissing: the maker lacks one of the scopes.
        EndTooLate.
    """
    for scope in scopes:
        if scope not in maker.scopes:
            raise ScopeMissing(scope)
    if maker.ends_at and ends_at and ends_at > maker.ends_at:
        raise _too_late(maker.ends_at)
    return ends_at or maker.ends_at


def check_rotation(maker: Principal, key: ApiKey) -> None:
    """A key may replace itself: the new one lives as long again. Another key is replaced as if it were made.

    Raises:
        ScopeMissing, EndTooLate.
    """
    if key.id == maker.key_id:
        return
    lives = key.expires_at - key.created_at if key.expires_at else None
    ends_at = datetime.now(UTC) + lives if lives else None
    check_new_key(maker, key.scopes, ends_at)
    if maker.ends_at and ends_at is None:
        raise _too_late(maker.ends_at)


def _too_late(latest: datetime) -> EndTooLate:
    text = latest.astimezone(UTC).isoformat()
    return EndTooLate(f"This key ends at {text}; none that it makes may end later.", metadata={"latest": text})
