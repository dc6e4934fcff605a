"""Limits and refusals, as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from singscript_core.errors import Busy, InvalidInput, Rejected

Quota = Literal[
    "requests_per_minute", "active_jobs", "audio_minutes_per_day", "upload_bytes_per_day", "spend_usd_per_month"
]
QUOTAS: tuple[Quota, ...] = get_args(Quota)
DAY_S = 24 * 3600.0
# Engines that are paid for. Whether one will be asked is not known when a job is made.
PAID_ENGINES = frozenset({"openai"})
# Of a job that ends, nobody knows when: a guess.
ACTIVE_RETRY_S = 10.0

_MOST = 10**15


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON knows one kind of numbers: 5.0 is 5.
_WHOLE = BeforeValidator(_whole)
_Count = Annotated[int, Field(ge=0, le=_MOST), _WHOLE] | None
_Amount = Annotated[float | None, Field(ge=0, le=_MOST, allow_inf_nan=False)]

_REASONS: dict[Quota, str] = {
    "requests_per_minute": "QUOTA_REQUESTS",
    "active_jobs": "QUOTA_ACTIVE_JOBS",
    "audio_minutes_per_day": "QUOTA_MINUTES",
    "upload_bytes_per_day": "QUOTA_BYTES",
    "spend_usd_per_month": "QUOTA_SPEND",
}
_WINDOWS: dict[Quota, str] = {
    "requests_per_minute": "minute",
    "active_jobs": "now",
    "audio_minutes_per_day": "day",
    "upload_bytes_per_day": "day",
    "spend_usd_per_month": "month",
}


class Limits(BaseModel):
    """The most that may be used. None: as the next wider one says (of a key: no less than its user); 0: no limit."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"active_jobs": 5, "spend_usd_per_month": 20.0}},
    )

    requests_per_minute: Annotated[int, Field(ge=0, le=1_000_000), _WHOLE] | None = Field(
        default=None, description="Requests at once; they come back evenly, all of them in a minute."
    )
    active_jobs: _Count = Field(default=None, description="Jobs that are queued or run.")
    audio_minutes_per_day: _Amount = Field(default=None, description="Sound of the jobs of the last 24 hours.")
    upload_bytes_per_day: _Count = Field(default=None, description="Files that were sent in the last 24 hours.")
    spend_usd_per_month: _Amount = Field(
        default=None, description="What engines that are paid for cost in the calendar month (UTC)."
    )

    def over(self, defaults: Limits) -> Limits:
        """These, and `defaults` where these say nothing."""
        return defaults.model_copy(update=self.model_dump(exclude_none=True))

    def stored(self) -> dict[str, float]:
        """As it stands in the database."""
        return self.model_dump(exclude_none=True)

    def of(self, quota: Quota) -> float | None:
        """The limit; None where there is none."""
        return getattr(self, quota) or None

    @property
    def any(self) -> bool:
        return any(self.model_dump().values())


NO_LIMITS = Limits()


class Used(BaseModel):
    """What was used of each limit."""

    model_config = ConfigDict(frozen=True)

    requests_per_minute: int = Field(description="Of those that may be sent at once; 0 where there is no limit.")
    active_jobs: int
    audio_minutes_per_day: float
    upload_bytes_per_day: int
    spend_usd_per_month: float = Field(description="Requests whose price is not known count nothing.")


@dataclass(frozen=True)
class Account:
    """Whose use is counted and limited: a user's as a whole, or what was used with one key and those it came from.

    Attributes:
        key_line: the first of these keys; None: the user as a whole.
    """

    owner: str
    key_line: str | None
    limits: Limits

    @property
    def meter(self) -> str:
        return f"user {self.owner}" if self.key_line is None else f"key {self.key_line}"


class QuotaExceeded(Busy):
    """One may not use more for now.

    Attributes:
        facts: plain facts: `limit`, `used`, `window`, and `of`: whether it is the limit of the user or of the key.
    """

    def __init__(self, quota: Quota, account: Account, used: float, message: str, retry_after_s: float) -> None:
        limit = account.limits.of(quota)
        assert limit is not None
        self.facts: dict[str, object] = {
            "limit": limit,
            "used": used,
            "window": _WINDOWS[quota],
            "of": "user" if account.key_line is None else "key",
        }
        # Whole seconds, and never too early.
        whole_s = max(1.0, math.ceil(retry_after_s))
        metadata = {name: str(value) for name, value in self.facts.items()}
        super().__init__(message, retry_after_s=whole_s, metadata=metadata)
        self.reason = _REASONS[quota]


class UploadAboveQuota(Rejected):
    """The file alone is larger than what may be sent in a day; waiting does not help."""

    reason = "TOO_LARGE"

    def __init__(self, limit_bytes: int) -> None:
        message = f"The file is larger than the {limit_bytes} bytes that may be sent in a day. Send a smaller one."
        super().__init__(message, metadata={"limit_bytes": str(limit_bytes)})
        self.facts: dict[str, object] = {"limit_bytes": limit_bytes}


class KeyLimitsImpossible(InvalidInput):
    """A key that may make other keys cannot have limits of its own."""

    reason = "KEY_LIMITS_IMPOSSIBLE"


def check_key(scopes: Iterable[str], limits: Limits) -> None:
    """Whether a key of these scopes can have limits; raises KeyLimitsImpossible."""
    if limits.any and not {"account", "admin"}.isdisjoint(scopes):
        raise KeyLimitsImpossible(
            "A key with the scope account or admin cannot have limits of its own, since it could make itself another "
            "key. Limit its user, or a key without these scopes."
        )


def next_month(now: datetime) -> datetime:
    """When the month of `now` is over, in its own zone."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def may_cost(transcriber_engines: list[str]) -> bool:
    """Whether a job that names these engines may be given to one that is paid for; without any it is as set."""
    return not transcriber_engines or not PAID_ENGINES.isdisjoint(transcriber_engines)
