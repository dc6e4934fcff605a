"""The connection pool, the schema and its migrations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

logger = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[DictRow]
Pool = AsyncConnectionPool[Connection]
T = TypeVar("T")

# Any number that no other program takes: "singscri" in ASCII.
_MIGRATION_LOCK = 0x73696E6773637269

# A peer that vanished is noticed within seconds, no statement runs on for ever, and a frozen process holds no locks.
CONNECTION_PARAMETERS: dict[str, str | int] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15000,
    # In a database without an encoding, text would come back as bytes.
    "client_encoding": "utf8",
    "options": "-c statement_timeout=30s -c idle_in_transaction_session_timeout=10s",
}


class _Pool(AsyncConnectionPool[psycopg.AsyncConnection[Any]]):
    """One that says of all that passes what it says of a server that is away: psycopg.OperationalError."""

    @asynccontextmanager
    async def connection(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  (as the pool has it)
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            async with super().connection(timeout) as connection:
                yield connection
        except psycopg.errors.IdleInTransactionSessionTimeout as error:
            # Of psycopg's InternalErrors; here it means that this process or its network stood still for long.
            raise psycopg.OperationalError(str(error)) from error


def make_pool(database_url: str, max_size: int = 10) -> Pool:
    """A pool, still closed, whose connections are checked before use, so that a restarted server goes unnoticed."""
    pool = _Pool(
        database_url,
        kwargs={**CONNECTION_PARAMETERS, "row_factory": dict_row},
        min_size=1,
        max_size=max_size,
        timeout=5,
        open=False,
        # Asked at each use: a server that ends a connection closes it only a moment later.
        check=AsyncConnectionPool.check_connection,
    )
    return cast(Pool, pool)


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for what only reads: each statement by itself, without the round trips of a transaction."""
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        try:
            yield connection
        finally:
            # Else it is broken, and the pool drops it.
            if connection.info.transaction_status is TransactionStatus.IDLE:
                await connection.set_autocommit(False)


async def patiently(action: Callable[[], Awaitable[T]]) -> T:
    """Repeats `action` until the database answers: for work that outlives a restart of the server."""
    while True:
        try:
            return await action()
        except psycopg.OperationalError as error:
            logger.warning("the database does not answer; trying again: %s", str(error).strip())
            await asyncio.sleep(0.5)


def _migrations() -> list[tuple[str, bytes]]:
    """The steps, in order: (name, SQL)."""
    folder = resources.files("singscript_gateway.migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(f.name, f.read_bytes()) for f in files]


def expected_migrations() -> set[str]:
    """Names of all steps that this version needs."""
    return {name for name, _ in _migrations()}


async def missing_migrations(pool: Pool) -> set[str]:
    """Names of the steps that this version needs and the database has not seen."""
    expected = expected_migrations()
    try:
        async with pool.connection() as connection:
            rows = await (await connection.execute("SELECT name FROM schema_migrations")).fetchall()
            return expected - {row["name"] for row in rows}
    except psycopg.errors.UndefinedTable:
        return expected


async def migrate(database_url: str) -> list[str]:
    """Brings the database up to date; returns the steps that were missing. Many may run it at once."""
    connection = await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, connect_timeout=10, client_encoding="utf8"
    )
    async with connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {str(row[0]) async for row in await connection.execute("SELECT name FROM schema_migrations")}
        missing = [(name, sql) for name, sql in _migrations() if name not in done]
        for name, sql in missing:
            async with connection.transaction():
                await connection.execute(sql)
                await connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", [name])
        return [name for name, _ in missing]
