"""Who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from singscript_gateway.api.cursors import Cursor, Limit, number_of, page_of
from singscript_gateway.api.gateway import GatewayDep, PrincipalDep, needs
from singscript_gateway.api.problems import Problem
from singscript_gateway.auth.model import Action
from singscript_gateway.auth.refusals import ScopeMissing

router = APIRouter(tags=["account"])

_EVERYBODY = "*"
_ENTRY: dict[str, Any] = {
    "at": "2026-12-01T08:00:00Z",
    "user": "alice",
    "key_id": "0a1b2c3d4e5f",
    "address": "192.0.2.7",
    "action": "job.deleted",
    "target": "5b1c1f0e-6c1f-4a8e-9d5e-0a4f6f0b8f57",
}


class EntryShape(BaseModel):
    """One thing that was done."""

    model_config = ConfigDict(json_schema_extra={"example": _ENTRY})

    at: datetime
    user: str | None = Field(description="Who did it; null: the operator, on the command line.")
    key_id: str | None = Field(description="With which key; null: with none.")
    address: str | None = Field(description="Of the connection that it came by.")
    action: Action
    target: str = Field(description="Id of what it was done to.")


class AuditPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"entries": [_ENTRY], "next_cursor": None}})

    entries: list[EntryShape]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


@router.get(
    "/api/audit",
    dependencies=[needs("account")],
    summary="Who did what, newest first",
    responses={422: {"model": Problem, "description": "INVALID_INPUT"}},
)
async def list_audit(
    gateway: GatewayDep,
    principal: PrincipalDep,
    user: Annotated[
        str | None,
        Query(
            pattern=r"^(\*|[a-z0-9-]{1,64})$",
            description="Left out: you. Another user's id, or `*` for everybody, needs the scope `admin`.",
            examples=["alice"],
        ),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> AuditPage:
    """What changed jobs, words, keys and users, and keys that were sent after their end."""
    if user not in (None, principal.owner) and "admin" not in principal.scopes:
        raise ScopeMissing("admin")
    owner = None if user == _EVERYBODY else user or principal.owner
    entries = await gateway.accounts.list_audit(owner, before=number_of(cursor), limit=limit + 1)
    page, next_cursor = page_of(entries, limit)
    shapes = [EntryShape(user=entry.owner, **entry.model_dump(exclude={"number", "owner"})) for entry in page]
    return AuditPage(entries=shapes, next_cursor=next_cursor)
