"""What a webhook is made of, as plain values."""

from __future__ import annotations

import base64
import binascii
import secrets
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# Told when somebody asks for it, and to no other end.
TEST = "webhook.test"
_PREFIX = "whsec_"
# What the scheme asks for.
_MIN_SECRET_BYTES, _MAX_SECRET_BYTES = 24, 64


def new_secret() -> str:
    """A secret of 32 random bytes, as the scheme writes it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_secret(secret: str) -> str:
    """The secret itself; raises ValueError that does not repeat it."""
    try:
        size_bytes = len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        size_bytes = 0
    if not secret.startswith(_PREFIX) or not _MIN_SECRET_BYTES <= size_bytes <= _MAX_SECRET_BYTES:
        raise ValueError(
            f"A webhook's secret is {_PREFIX} and the base64 of {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} bytes"
        )
    return secret


def check_url(url: str) -> str:
    """The URL itself; raises ValueError that does not repeat it. Where it leads is judged when it is connected to."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and parts.username is None and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("This is no http or https address, or it holds a user's name")
    return url


class WebhookOrder(BaseModel):
    """Who is to be told of the end of a job."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"example": {"url": "https://example.com/hook"}}
    )

    url: Annotated[str, AfterValidator(check_url)] = Field(
        max_length=2048, repr=False, description="http or https; gets a POST when the job has ended."
    )
    secrets: list[Annotated[str, AfterValidator(check_secret)]] = Field(
        default=[],
        max_length=2,
        repr=False,
        description="What the POST is signed with, the newest first; two while one replaces the other. Left out: one "
        "is made, and told in the answer.",
    )


class DeliveryState(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Delivery(BaseModel):
    """A row of `webhook_deliveries`: one thing that a webhook is told."""

    model_config = ConfigDict(frozen=True)

    id: UUID = Field(description="`webhook-id` of its attempts.")
    type: str = Field(description="`job.succeeded`, `job.failed`, `job.cancelled` or `webhook.test`.")
    state: DeliveryState
    attempts: int = Field(description="How often it was sent, or was about to be.")
    last_status: int | None = Field(description="What the last attempt was answered; null: nothing yet, or no answer.")
    last_error: str | None = Field(description="Why the last attempt had no answer; UPPER_SNAKE.")
    due_at: datetime = Field(description="Of one that waits: when it is sent next.")
    created_at: datetime
    ended_at: datetime | None


class ListedDelivery(Delivery):
    """As it stands in the list of all that a webhook was told."""

    number: int = Field(exclude=True)
    job_id: UUID | None = Field(description="null: a test.")


class Webhook(BaseModel):
    """A row of `webhooks`."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    url: str = Field(repr=False)
    disabled_at: datetime | None
    created_at: datetime


class Claim(BaseModel):
    """The right to send a delivery once, until its lease ends.

    Attributes:
        attempts: this one included.
        host: host and port of `url`.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    webhook_id: UUID
    job_id: UUID | None
    type: str
    body: str
    attempts: int
    url: str = Field(repr=False)
    host: str
    secrets: list[str] = Field(repr=False)


def origin(url: str) -> str:
    """Scheme, host and port: what may be shown and logged, as a path or query may be a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
