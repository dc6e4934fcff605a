"""Who did what, when and from where. Written in the transaction of what was done."""

from __future__ import annotations

from contextvars import ContextVar

from singscript_gateway.auth.model import Action
from singscript_gateway.database import Connection
from singscript_gateway.jobs.sql import load

SQL = load("singscript_gateway.auth")

# Of the request that is being answered; None outside of one.
key_id: ContextVar[str | None] = ContextVar("singscript_key_id", default=None)
address: ContextVar[str | None] = ContextVar("singscript_address", default=None)


async def note(connection: Connection, owner: str | None, action: Action, target: str) -> None:
    """Notes that `owner` (None: the admin command) did this to what has the id `target`."""
    entry = {
        "owner": owner,
        "key_id": key_id.get(),
        "address": address.get(),
        "action": action,
        "target": target,
    }
    await connection.execute(SQL["note"], entry)
