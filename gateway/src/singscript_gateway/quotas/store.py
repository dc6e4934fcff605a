"""Limits and what was used of them, for the API. Every method is one transaction."""

from __future__ import annotations

import time
from collections import OrderedDict

from psycopg.types.json import Jsonb

from singscript_gateway.auth import audit
from singscript_gateway.auth.authenticator import REMEMBERED_S
from singscript_gateway.auth.store import UserNotFound
from singscript_gateway.database import Pool
from singscript_gateway.quotas import counts
from singscript_gateway.quotas.counts import SQL
from singscript_gateway.quotas.model import Account, Limits, Used

# Limits that were looked up last.
_REMEMBERED = 10_000


class QuotaStore:
    """Methods raise psycopg.OperationalError while the database is away; nothing is half done then.

    Args:
        defaults: of users who have no limits of their own.
    """

    def __init__(self, pool: Pool, defaults: Limits) -> None:
        self._pool = pool
        self._defaults = defaults
        self._accounts: OrderedDict[tuple[str, str | None], tuple[float, list[Account]]] = OrderedDict()

    async def take_request(self, owner: str, key_id: str | None) -> None:
        """Counts a request of this user, with this key; what their limits are is remembered for seconds.

        Raises:
            QuotaExceeded: QUOTA_REQUESTS.
        """
        accounts = await self._remembered(owner, key_id)
        limited = [account for account in accounts if account.limits.of("requests_per_minute")]
        if limited:
            async with self._pool.connection() as connection:
                # A request that the user's limit refuses does not count for the key: it is rolled back.
                for account in reversed(limited):
                    await counts.take_request(connection, account)

    async def check_upload(self, owner: str, size_bytes: int) -> None:
        """Before a file of at least this size is read; see `counts.check_upload`."""
        async with self._pool.connection() as connection:
            await counts.check_upload(connection, self._defaults, owner, size_bytes)

    async def report(self, owner: str, key_id: str | None) -> list[tuple[Account, Used]]:
        """The limits that hold for the user, then those of the key if there is one; with what was used."""
        async with self._pool.connection() as connection:
            accounts = await counts.accounts_of(connection, owner, key_id, self._defaults)
            return [(account, await counts.used_by(connection, account)) for account in accounts]

    async def limits_of_user(self, user_id: str) -> Limits:
        """Those of their own. Raises UserNotFound."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(SQL["get_limits"], {"owner": user_id, "key_id": None})).fetchone()
            if row is None or row["of_user"] is None:
                raise _no_user()
            return Limits.model_validate(row["of_user"])

    async def limit_user(self, user_id: str, limits: Limits, *, by: str | None) -> None:
        """Sets the user's own limits, all of them. Raises UserNotFound."""
        async with self._pool.connection() as connection:
            parameters = {"id": user_id, "quotas": Jsonb(limits.stored())}
            if await (await connection.execute(SQL["limit_user"], parameters)).fetchone() is None:
                raise _no_user()
            await audit.note(connection, by, "user.limited", user_id)

    async def _remembered(self, owner: str, key_id: str | None) -> list[Account]:
        now_s = time.monotonic()
        looked_up_s, accounts = self._accounts.get((owner, key_id), (-REMEMBERED_S, []))
        if now_s - looked_up_s < REMEMBERED_S:
            return accounts
        async with self._pool.connection() as connection:
            accounts = await counts.accounts_of(connection, owner, key_id, self._defaults)
        self._accounts[owner, key_id] = now_s, accounts
        self._accounts.move_to_end((owner, key_id))
        if len(self._accounts) > _REMEMBERED:
            self._accounts.popitem(last=False)
        return accounts


def _no_user() -> UserNotFound:
    return UserNotFound("There is no user with this id.")
