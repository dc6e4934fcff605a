"""Users, keys and the audit in Postgres. Every method is one transaction, and what it changes is in the audit.

`by` is who does it: a user's id, or None for the admin command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from singscript_core.errors import InvalidInput, NotFound, Rejected
from singscript_gateway.auth import audit
from singscript_gateway.auth.audit import SQL
from singscript_gateway.auth.keys import digest, new_key
from singscript_gateway.auth.model import OIDC_PREFIX, ApiKey, AuditEntry, KnownKey, Scope, User
from singscript_gateway.auth.oidc import Token
from singscript_gateway.database import Connection, Pool
from singscript_gateway.quotas.model import NO_LIMITS, Limits, check_key

# How exactly the last use of a key is known.
USED_EVERY_S = 60.0
# How often the refusal of a known key is noted.
REFUSED_EVERY_S = 3600.0
_USER_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class UserIdInvalid(InvalidInput):
    """The id cannot be a user's."""

    reason = "USER_ID_INVALID"


class UserExists(Rejected):
    """There is a user of this id."""

    reason = "USER_EXISTS"


class UserNotFound(NotFound):
    """There is no user of this id."""

    reason = "USER_NOT_FOUND"


class KeyNotFound(NotFound):
    """There is no key of this id, or it is somebody else's."""

    reason = "KEY_NOT_FOUND"


class KeyNotActive(Rejected):
    """The key has ended, or another one replaces it."""

    reason = "KEY_NOT_ACTIVE"


class AccountStore:
    """Methods raise psycopg.OperationalError while the database is away; nothing is half done then."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # -- for those who sign in

    async def known_key(self, key_id: str) -> KnownKey | None:
        async with self._pool.connection() as connection:
            row = await _first(connection, "known_key", id=key_id)
            return KnownKey.model_validate(row) if row else None

    async def key_used(self, key_id: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(SQL["key_used"], {"id": key_id, "every_s": USED_EVERY_S})

    async def key_refused(self, key: KnownKey) -> None:
        """Whoever sent it has the right secret."""
        async with self._pool.connection() as connection:
            if not await _first(connection, "refused_lately", id=key.id, every_s=REFUSED_EVERY_S):
                await audit.note(connection, key.owner, "key.refused", key.id)

    async def user_of_token(self, token: Token) -> User:
        """The user whom a token means; made when one comes for the first time."""
        async with self._pool.connection() as connection:
            row = await _first(connection, "get_user", id=token.user_id)
            if row is None:
                facts = {"issuer": token.issuer, "subject": token.subject, "name": token.name}
                if await _first(connection, "insert_oidc_user", id=token.user_id, **facts):
                    await audit.note(connection, token.user_id, "user.created", token.user_id)
                row = await _first(connection, "get_user", id=token.user_id)
            return User.model_validate(row)

    # -- users

    async def add_user(self, user_id: str, name: str, *, by: str | None) -> User:
        """Raises UserIdInvalid, UserExists."""
        if not _USER_ID.fullmatch(user_id) or user_id.startswith(OIDC_PREFIX):
            raise UserIdInvalid(
                "A user's id has 1 to 40 lower-case letters, digits and hyphens, none of these at its ends, and does "
                f"not begin with {OIDC_PREFIX!r}."
            )
        async with self._pool.connection() as connection:
            row = await _first(connection, "insert_user", id=user_id, name=name)
            if row is None:
                raise UserExists("There is a user of this id. Choose another one.")
            await audit.note(connection, by, "user.created", user_id)
            return User.model_validate(row)

    async def user(self, user_id: str) -> User:
        """Raises UserNotFound."""
        async with self._pool.connection() as connection:
            return await _user(connection, user_id)

    async def list_users(self, *, before: int | None, limit: int) -> list[User]:
        """Newest first."""
        async with self._pool.connection() as connection:
            rows = await _all(connection, "list_users", before=before, limit=limit)
            return [User.model_validate(row) for row in rows]

    async def change_user(
        self, user_id: str, *, by: str | None, name: str | None = None, disabled: bool | None = None
    ) -> User:
        """What is None stays. Raises UserNotFound."""
        async with self._pool.connection() as connection:
            if name is not None and await _first(connection, "rename_user", id=user_id, name=name):
                await audit.note(connection, by, "user.renamed", user_id)
            if disabled is True and await _first(connection, "disable_user", id=user_id):
                await audit.note(connection, by, "user.disabled", user_id)
            if disabled is False and await _first(connection, "enable_user", id=user_id):
                await audit.note(connection, by, "user.enabled", user_id)
            return await _user(connection, user_id)

    # -- keys

    async def add_key(
        self,
        owner: str,
        name: str,
        scopes: Sequence[Scope],
        expires_at: datetime | None,
        *,
        by: str | None,
        quotas: Limits = NO_LIMITS,
    ) -> tuple[ApiKey, str]:
        """A new key, and the text of it, which cannot be had again. Raises UserNotFound, KeyLimitsImpossible."""
        check_key(scopes, quotas)
        key_id, text = new_key()
        async with self._pool.connection() as connection:
            row = await _first(
                connection,
                "insert_key",
                id=key_id,
                owner=owner,
                name=name,
                digest=digest(text),
                scopes=list(scopes),
                expires_at=expires_at,
                quotas=Jsonb(quotas.stored()),
            )
            if row is None:
                raise _no_user()
            await audit.note(connection, by, "key.created", key_id)
            return ApiKey.model_validate(row), text

    async def key(self, key_id: str, owner: str) -> ApiKey:
        """Raises KeyNotFound."""
        async with self._pool.connection() as connection:
            return _key(await _first(connection, "get_key", id=key_id, owner=owner))

    async def owner_of_key(self, key_id: str) -> str:
        """For the operator, who need not know. Raises KeyNotFound."""
        async with self._pool.connection() as connection:
            row = await _first(connection, "owner_of_key", id=key_id)
            if row is None:
                raise _no_key()
            return row["owner"]

    async def list_keys(self, owner: str, *, before: int | None, limit: int) -> list[ApiKey]:
        """Newest first, also those that have ended."""
        async with self._pool.connection() as connection:
            rows = await _all(connection, "list_keys", owner=owner, before=before, limit=limit)
            return [ApiKey.model_validate(row) for row in rows]

    async def change_key(
        self, key_id: str, owner: str, *, by: str | None, name: str | None = None, quotas: Limits | None = None
    ) -> ApiKey:
        """What is None stays. Raises KeyNotFound, KeyLimitsImpossible."""
        async with self._pool.connection() as connection:
            if quotas is not None:
                parameters = {"id": key_id, "owner": owner, "quotas": Jsonb(quotas.stored())}
                if row := await _first(connection, "limit_key", **parameters):
                    check_key(row["scopes"], quotas)
                    await audit.note(connection, by, "key.limited", key_id)
            if name is not None and await _first(connection, "rename_key", id=key_id, owner=owner, name=name):
                await audit.note(connection, by, "key.renamed", key_id)
            return _key(await _first(connection, "get_key", id=key_id, owner=owner))

    async def rotate_key(self, key_id: str, owner: str, overlap_s: float, *, by: str | None) -> tuple[ApiKey, str]:
        """A new key like this one, and the text of it; this one ends after the overlap, and the one before it now.

        Raises:
            KeyNotFound.
            KeyNotActive: it has ended, or was rotated before.
        """
        new_id, text = new_key()
        async with self._pool.connection() as connection:
            held = await _first(connection, "hold_key", id=key_id, owner=owner)
            if held is None:
                raise _no_key()
            if not held["active"]:
                raise KeyNotActive(
                    "The key has ended, or was rotated before. Rotate the newest one, or make a new one."
                )
            row = await _first(connection, "rotate_key", id=key_id, new_id=new_id, digest=digest(text))
            await connection.execute(SQL["replace_key"], {"id": key_id, "new_id": new_id, "overlap_s": overlap_s})
            await connection.execute(SQL["end_replaced_key"], {"id": key_id})
            await audit.note(connection, by, "key.rotated", key_id)
            return ApiKey.model_validate(row), text

    async def revoke_key(self, key_id: str, owner: str, *, by: str | None) -> None:
        """Ends a key within seconds; one that was revoked stays so. Raises KeyNotFound."""
        async with self._pool.connection() as connection:
            if await _first(connection, "revoke_key", id=key_id, owner=owner):
                await audit.note(connection, by, "key.revoked", key_id)
            _key(await _first(connection, "get_key", id=key_id, owner=owner))

    # -- audit

    async def list_audit(self, owner: str | None, *, before: int | None, limit: int) -> list[AuditEntry]:
        """What this user did, or with None everybody; newest first."""
        async with self._pool.connection() as connection:
            rows = await _all(connection, "list_audit", owner=owner, before=before, limit=limit)
            return [AuditEntry.model_validate(row) for row in rows]


async def _first(connection: Connection, name: str, /, **parameters: object) -> DictRow | None:
    return await (await connection.execute(SQL[name], parameters)).fetchone()


async def _all(connection: Connection, name: str, /, **parameters: object) -> list[DictRow]:
    return await (await connection.execute(SQL[name], parameters)).fetchall()


async def _user(connection: Connection, user_id: str) -> User:
    row = await _first(connection, "get_user", id=user_id)
    if row is None:
        raise _no_user()
    return User.model_validate(row)


def _key(row: DictRow | None) -> ApiKey:
    if row is None:
        raise _no_key()
    return ApiKey.model_validate(row)


def _no_user() -> UserNotFound:
    return UserNotFound("There is no user with this id.")


def _no_key() -> KeyNotFound:
    return KeyNotFound("There is no key with this id.")
