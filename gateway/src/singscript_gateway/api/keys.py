"""Who asks, and the keys of whoever asks."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from singscript_gateway.api.cursors import Cursor, Limit, number_of, page_of
from singscript_gateway.api.gateway import Gateway, GatewayDep, PrincipalDep, needs
from singscript_gateway.api.problems import Problem, ProblemError
from singscript_gateway.api.shapes import Moment
from singscript_gateway.auth.grants import check_new_key, check_rotation
from singscript_gateway.auth.model import ApiKey, Principal, Scope
from singscript_gateway.auth.store import KeyNotActive
from singscript_gateway.jobs.model import Text
from singscript_gateway.quotas.model import NO_LIMITS, Limits

logger = logging.getLogger(__name__)

router = APIRouter(tags=["account"])

_DAY_S = 24 * 3600.0
_MAX_OVERLAP_S = 30 * _DAY_S
_KEY: dict[str, Any] = {
    "id": "0a1b2c3d4e5f",
    "name": "laptop",
    "scopes": ["jobs:read", "jobs:write"],
    "created_at": "2026-12-01T08:00:00Z",
    "expires_at": "2027-12-01T08:00:00Z",
    "revoked_at": None,
    "last_used_at": "2026-12-02T09:30:00Z",
    "replaced_by": None,
    "quotas": {"active_jobs": 2},
}
_NEW_KEY: dict[str, Any] = {
    "name": "laptop",
    "scopes": ["jobs:read", "jobs:write"],
    "expires_at": "2027-12-01T08:00:00Z",
}
KEY_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "KEY_NOT_FOUND"}}
NEW_KEY_REFUSED: dict[int | str, dict[str, Any]] = {
    422: {
        "model": Problem,
        "description": "INVALID_INPUT; KEY_END_TOO_LATE: `latest` is how long it may last; "
        "KEY_LIMITS_IMPOSSIBLE: it may make other keys",
    }
}
_LOCATION = {"Location": {"description": "The key.", "schema": {"type": "string"}}}


def _each_once(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("A scope is named twice")
    return scopes


def _to_come(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise ValueError("A key ends in the future")
    return moment


KeyName = Annotated[Text, StringConstraints(strip_whitespace=True, max_length=100)]
KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", description="What stands in the key after `ss_`.")]


class NewKey(BaseModel):
    """What a key is to be good for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _NEW_KEY})

    name: KeyName = Field(default="", description="What it is for.")
    scopes: Annotated[list[Scope], AfterValidator(_each_once)] = Field(
        min_length=1, description="None that the key that asks lacks.", json_schema_extra={"uniqueItems": True}
    )
    expires_at: Annotated[Moment, AfterValidator(_to_come)] | None = Field(
        default=None, description="Not after the end of the key that asks; left out: with it, or until it is revoked."
    )
    quotas: Limits = Field(
        default=NO_LIMITS,
        description="Limits of its own; those of its user hold as well. None for a key that may make others "
        "(`account`, `admin`).",
    )


class ChangedKey(BaseModel):
    """What of a key can be changed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "old laptop"}})

    name: KeyName | None = Field(default=None, description="What it is for; left out: as it was.")
    quotas: Limits | None = Field(
        default=None, description="Its own limits, all of them; left out: as they were; {}: none but its user's."
    )


class Rotation(BaseModel):
    """How one key gives way to another."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"overlap_s": 3600}})

    overlap_s: float = Field(
        default=_DAY_S,
        ge=0,
        le=_MAX_OVERLAP_S,
        allow_inf_nan=False,
        description="How long the old key still works, if it does not end before.",
    )


class KeyShape(BaseModel):
    """A key, without what it consists of."""

    model_config = ConfigDict(json_schema_extra={"example": _KEY})

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None = Field(description="Null: it works until it is revoked.")
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To a minute.")
    replaced_by: str | None = Field(description="The key that it was rotated into.")
    quotas: Limits = Field(description="Limits of its own; null: none.")


class CreatedKey(KeyShape):
    """A new key."""

    model_config = ConfigDict(json_schema_extra={"example": _KEY | {"key": "ss_0a1b2c3d4e5f_" + "x" * 43}})

    key: str = Field(description="What is sent as `Authorization: Bearer`. It is not shown again.")


class KeyList(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"keys": [_KEY], "next_cursor": None}})

    keys: list[KeyShape]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


class MeShape(BaseModel):
    """Who asks."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"user": "alice", "name": "Alice", "scopes": ["jobs:read", "jobs:write"], "key": _KEY}
        }
    )

    user: str = Field(description="The user's id.")
    name: str
    scopes: list[Scope] = Field(description="What may be done.")
    key: KeyShape | None = Field(description="Null: it was not done with an API key.")


@router.get("/api/me", summary="Who asks")
async def get_me(gateway: GatewayDep, principal: PrincipalDep) -> MeShape:
    """The user, the key, and what both may do. Needs no scope."""
    user = await gateway.accounts.user(principal.owner)
    key = await gateway.accounts.key(principal.key_id, principal.owner) if principal.key_id else None
    return MeShape(user=user.id, name=user.name, scopes=sorted(principal.scopes), key=shape_of(key) if key else None)


@router.post(
    "/api/keys",
    status_code=201,
    dependencies=[needs("account")],
    summary="Make a key",
    responses={201: {"headers": _LOCATION}} | NEW_KEY_REFUSED,
)
async def create_key(gateway: GatewayDep, principal: PrincipalDep, order: NewKey, response: Response) -> CreatedKey:
    """It is shown in this answer only. It may do what the key that asks may, or less, and ends with it or before."""
    return await made_key(gateway, principal, principal.owner, order, response)


@router.get(
    "/api/keys",
    dependencies=[needs("account")],
    summary="List your keys, newest first",
    responses={422: {"model": Problem, "description": "INVALID_INPUT"}},
)
async def list_keys(gateway: GatewayDep, principal: PrincipalDep, limit: Limit = 20, cursor: Cursor = None) -> KeyList:
    """Also those that have ended."""
    return await keys_of(gateway, principal.owner, limit, cursor)


@router.get("/api/keys/{key_id}", dependencies=[needs("account")], summary="A key", responses=KEY_NOT_FOUND)
async def get_key(gateway: GatewayDep, principal: PrincipalDep, key_id: KeyId) -> KeyShape:
    """What it may do, until when, and when it was used last."""
    return shape_of(await gateway.accounts.key(key_id, principal.owner))


@router.patch(
    "/api/keys/{key_id}",
    dependencies=[needs("account")],
    summary="Rename or limit a key",
    responses=KEY_NOT_FOUND | {422: {"model": Problem, "description": "INVALID_INPUT, KEY_LIMITS_IMPOSSIBLE"}},
)
async def change_key(gateway: GatewayDep, principal: PrincipalDep, key_id: KeyId, change: ChangedKey) -> KeyShape:
    """What it may do and until when cannot be changed: make another one."""
    changed = {"name": change.name, "quotas": change.quotas}
    return shape_of(await gateway.accounts.change_key(key_id, principal.owner, by=principal.owner, **changed))


@router.delete(
    "/api/keys/{key_id}",
    status_code=204,
    dependencies=[needs("account")],
    summary="Revoke a key",
    responses=KEY_NOT_FOUND | {204: {"description": "It stops within 5 seconds."}},
)
async def revoke_key(gateway: GatewayDep, principal: PrincipalDep, key_id: KeyId) -> None:
    """May be repeated, and may be the key that asks. It stays in the list."""
    await gateway.accounts.revoke_key(key_id, principal.owner, by=principal.owner)
    logger.info("key revoked", extra={"key": key_id})


@router.post(
    "/api/keys/{key_id}/rotate",
    status_code=201,
    dependencies=[needs("account")],
    summary="Replace a key by a new one",
    responses=KEY_NOT_FOUND
    | NEW_KEY_REFUSED
    | {
        201: {"headers": _LOCATION},
        409: {"model": Problem, "description": "KEY_NOT_ACTIVE: it has ended, or was rotated before"},
    },
)
async def rotate_key(
    gateway: GatewayDep,
    principal: PrincipalDep,
    key_id: KeyId,
    response: Response,
    rotation: Annotated[Rotation, Body()] = Rotation(),  # noqa: B008  (frozen by its use: nobody changes it)
) -> CreatedKey:
    """The new key may do the same and lives as long again; it is shown in this answer only. Both work until the overlap
    is over. A key may rotate itself; of the others those that it could make.
    """
    check_rotation(principal, await gateway.accounts.key(key_id, principal.owner))
    try:
        key, text = await gateway.accounts.rotate_key(key_id, principal.owner, rotation.overlap_s, by=principal.owner)
    except KeyNotActive as error:
        raise ProblemError(409, error.reason, error.message) from None
    logger.info("key rotated", extra={"key": key_id, "into": key.id})
    response.headers["Location"] = f"/api/keys/{key.id}"
    return CreatedKey(**shape_of(key).model_dump(), key=text)


async def made_key(gateway: Gateway, maker: Principal, owner: str, order: NewKey, response: Response) -> CreatedKey:
    """A new key of `owner`; raises ScopeMissing, EndTooLate, UserNotFound."""
    ends_at = check_new_key(maker, order.scopes, order.expires_at)
    key, text = await gateway.accounts.add_key(
        owner, order.name, order.scopes, ends_at, by=maker.owner, quotas=order.quotas
    )
    logger.info("key created", extra={"key": key.id})
    if owner == maker.owner:
        response.headers["Location"] = f"/api/keys/{key.id}"
    return CreatedKey(**shape_of(key).model_dump(), key=text)


async def keys_of(gateway: Gateway, owner: str, limit: int, cursor: str | None) -> KeyList:
    """A page of a user's keys."""
    keys = await gateway.accounts.list_keys(owner, before=number_of(cursor), limit=limit + 1)
    page, next_cursor = page_of(keys, limit)
    return KeyList(keys=[shape_of(key) for key in page], next_cursor=next_cursor)


def shape_of(key: ApiKey) -> KeyShape:
    return KeyShape.model_validate(key.model_dump())
