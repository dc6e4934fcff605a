"""Users, keys and what they may do, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from singscript_gateway.quotas.model import Limits

Scope = Literal["jobs:read", "jobs:write", "account", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

Action = Literal[
    "job.created",
    "job.cancelled",
    "job.retried",
    "job.deleted",
    "words.corrected",
    "key.created",
    "key.renamed",
    "key.rotated",
    "key.revoked",
    "key.refused",
    "user.created",
    "user.disabled",
    "user.enabled",
    "user.renamed",
    "user.limited",
    "key.limited",
    "webhook.set",
    "webhook.deleted",
]


def scopes(text: str) -> frozenset[Scope]:
    """The scopes that a text names, separated by spaces or commas. Raises ValueError."""
    names = text.replace(",", " ").split()
    if wrong := [name for name in names if name not in SCOPES]:
        raise ValueError(f"There is no scope {wrong[0]!r}. There are {', '.join(SCOPES)}.")
    return frozenset(scope for scope in SCOPES if scope in names)


# Whose everything is where SINGSCRIPT_AUTH is off.
LOCAL_OWNER = "local"
# Ids of users that came with an OIDC token begin so, and no other.
OIDC_PREFIX = "oidc-"


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Attributes:
        owner: the user's id.
        key_id: None for who came without an API key.
        ends_at: when the API key does; None: not by itself.
    """

    owner: str
    key_id: str | None
    scopes: frozenset[Scope]
    ends_at: datetime | None = None


LOCAL = Principal(LOCAL_OWNER, None, frozenset(SCOPES))


class User(BaseModel):
    """A row of `users`.

    Attributes:
        issuer, subject: of a user that came with an OIDC token.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    number: int
    name: str
    issuer: str | None
    subject: str | None
    created_at: datetime
    disabled_at: datetime | None


class ApiKey(BaseModel):
    """A row of `api_keys`, without what a key is judged by.

    Attributes:
        replaced_by: id of the key that it was rotated into.
        quotas: limits of its own, besides its user's.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    number: int
    owner: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaced_by: str | None
    quotas: Limits


class KnownKey(BaseModel):
    """What a key is judged by.

    Attributes:
        disabled: its user is.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    digest: bytes = Field(repr=False)
    scopes: frozenset[Scope]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    disabled: bool


class AuditEntry(BaseModel):
    """A row of `audit`."""

    model_config = ConfigDict(frozen=True)

    number: int
    at: datetime
    owner: str | None
    key_id: str | None
    address: str | None
    action: Action
    target: str
