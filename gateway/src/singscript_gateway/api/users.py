"""Users and their keys, for those who run the system."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from singscript_gateway.api.cursors import Cursor, Limit, number_of, page_of
from singscript_gateway.api.gateway import GatewayDep, PrincipalDep, needs
from singscript_gateway.api.keys import (
    KEY_NOT_FOUND,
    NEW_KEY_REFUSED,
    CreatedKey,
    KeyId,
    KeyList,
    NewKey,
    keys_of,
    made_key,
)
from singscript_gateway.api.problems import Problem, ProblemError
from singscript_gateway.auth.model import User
from singscript_gateway.auth.store import UserExists
from singscript_gateway.jobs.model import Text

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/api/users", tags=["admin"], dependencies=[needs("admin")])

_USER: dict[str, Any] = {
    "id": "alice",
    "name": "Alice",
    "issuer": None,
    "subject": None,
    "created_at": "2026-12-01T08:00:00Z",
    "disabled_at": None,
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "USER_NOT_FOUND"}}

_Name = Annotated[
    Text,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    # What `Text` and the stripping refuse.
    Field(json_schema_extra={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}),
]
_UserId = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,64}$", description="The user's id.")]


class NewUser(BaseModel):
    """Who is to use the system."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"id": "alice", "name": "Alice"}})

    id: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
        json_schema_extra={"pattern": r"^(?!oidc-)[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"},
        description="Lower-case letters, digits and hyphens; does not begin with `oidc-`. It stays.",
    )
    name: _Name | None = Field(default=None, description="For display. Left out: the id.")


class ChangedUser(BaseModel):
    """What is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"disabled": True}})

    name: _Name | None = Field(default=None, description="For display.")
    disabled: StrictBool | None = Field(
        default=None, description="True: their keys and tokens stop within 5 seconds; what they have stays."
    )


class UserShape(BaseModel):
    """A user."""

    model_config = ConfigDict(json_schema_extra={"example": _USER})

    id: str
    name: str
    issuer: str | None = Field(description="Of a user who came with a token of this OIDC issuer.")
    subject: str | None = Field(description="As the issuer calls them.")
    created_at: datetime
    disabled_at: datetime | None


class UserList(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"users": [_USER], "next_cursor": None}})

    users: list[UserShape]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


@router.post(
    "",
    status_code=201,
    summary="Add a user",
    responses={
        201: {"headers": {"Location": {"description": "The user.", "schema": {"type": "string"}}}},
        409: {"model": Problem, "description": "USER_EXISTS"},
        422: {"model": Problem, "description": "INVALID_INPUT, USER_ID_INVALID"},
    },
)
async def create_user(gateway: GatewayDep, principal: PrincipalDep, order: NewUser, response: Response) -> UserShape:
    """They have no key yet: `POST /api/users/{user_id}/keys`."""
    try:
        user = await gateway.accounts.add_user(order.id, order.name or order.id, by=principal.owner)
    except UserExists as error:
        raise ProblemError(409, error.reason, error.message) from None
    response.headers["Location"] = f"/api/users/{user.id}"
    return _shape(user)


@router.get(
    "",
    summary="List users, newest first",
    responses={422: {"model": Problem, "description": "INVALID_INPUT"}},
)
async def list_users(gateway: GatewayDep, limit: Limit = 20, cursor: Cursor = None) -> UserList:
    """Also those who are disabled."""
    users = await gateway.accounts.list_users(before=number_of(cursor), limit=limit + 1)
    page, next_cursor = page_of(users, limit)
    return UserList(users=[_shape(user) for user in page], next_cursor=next_cursor)


@router.get("/{user_id}", summary="A user", responses=_NOT_FOUND)
async def get_user(gateway: GatewayDep, user_id: _UserId) -> UserShape:
    """Name, origin, and whether they are disabled."""
    return _shape(await gateway.accounts.user(user_id))


@router.patch("/{user_id}", summary="Rename, disable or enable a user", responses=_NOT_FOUND)
async def change_user(gateway: GatewayDep, principal: PrincipalDep, user_id: _UserId, change: ChangedUser) -> UserShape:
    """Jobs of a disabled user go on, and stay."""
    user = await gateway.accounts.change_user(user_id, by=principal.owner, name=change.name, disabled=change.disabled)
    return _shape(user)


@router.post("/{user_id}/keys", status_code=201, summary="Make a key of a user", responses=_NOT_FOUND | NEW_KEY_REFUSED)
async def create_users_key(
    gateway: GatewayDep, principal: PrincipalDep, user_id: _UserId, order: NewKey, response: Response
) -> CreatedKey:
    """As `POST /api/keys`: it may do no more than the key that asks, and ends no later."""
    return await made_key(gateway, principal, user_id, order, response)


@router.get(
    "/{user_id}/keys",
    summary="List keys of a user, newest first",
    responses=_NOT_FOUND | {422: {"model": Problem, "description": "INVALID_INPUT"}},
)
async def list_users_keys(gateway: GatewayDep, user_id: _UserId, limit: Limit = 20, cursor: Cursor = None) -> KeyList:
    """Also those that have ended."""
    user = await gateway.accounts.user(user_id)
    return await keys_of(gateway, user.id, limit, cursor)


@router.delete(
    "/{user_id}/keys/{key_id}",
    status_code=204,
    summary="Revoke a key of a user",
    responses={
        204: {"description": "It stops within 5 seconds."},
        404: KEY_NOT_FOUND[404] | {"description": "USER_NOT_FOUND, KEY_NOT_FOUND"},
    },
)
async def revoke_users_key(gateway: GatewayDep, principal: PrincipalDep, user_id: _UserId, key_id: KeyId) -> None:
    """May be repeated. It stays in the list."""
    user = await gateway.accounts.user(user_id)
    await gateway.accounts.revoke_key(key_id, user.id, by=principal.owner)
    logger.info("key revoked", extra={"key": key_id})


def _shape(user: User) -> UserShape:
    return UserShape.model_validate(user.model_dump())
