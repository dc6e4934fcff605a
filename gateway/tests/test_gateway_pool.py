"""The pool of connections: what the server closed is not handed out, and none is left as nobody expects it."""

from __future__ import annotations

import psycopg
import pytest
from gateway_testing import eventually, execute

from singscript_gateway.database import Pool, make_pool, patiently, reading


async def _number(connection: psycopg.AsyncConnection[dict[str, int]]) -> int:
    row = await (await connection.execute("SELECT pg_backend_pid() AS number")).fetchone()
    assert row
    return row["number"]


async def test_a_connection_that_was_used_just_now_and_is_gone_goes_unnoticed(pool: Pool, database_url: str) -> None:
    async with pool.connection() as connection:
        first = await _number(connection)
    await execute(database_url, f"SELECT pg_terminate_backend({first}, 5000)")

    async with pool.connection() as connection:
        assert await _number(connection) != first


async def test_who_only_reads_leaves_no_transaction_and_the_next_one_has_one(database_url: str) -> None:
    async with make_pool(database_url, max_size=1) as pool:
        async with reading(pool) as connection:
            first = await _number(connection)
            assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        async with pool.connection() as connection:
            assert await _number(connection) == first, "the same one"
            assert connection.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS


async def test_a_statement_that_fails_does_not_spoil_the_connection(database_url: str) -> None:
    async with make_pool(database_url, max_size=1) as pool:
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with reading(pool) as connection:
                await connection.execute("SELECT 1 / 0")
        async with pool.connection() as connection:
            assert not connection.autocommit


async def test_a_transaction_that_the_server_gave_up_is_done_again(pool: Pool, database_url: str) -> None:
    """As after a connection that was held for long in the middle of it: nothing of it is written, no job is lost."""
    tries: list[int] = []

    async def act() -> list[int]:
        async with pool.connection() as connection:
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '10ms'")
            tries.append(await _number(connection))
            if len(tries) == 1:
                await eventually(lambda: has_gone(tries[0]), "the server ends the connection")
            await connection.execute("SELECT 1")
            return tries

    async def has_gone(number: int) -> bool:
        return not await execute(database_url, f"SELECT 1 FROM pg_stat_activity WHERE pid = {number}")

    first, second = await patiently(act)
    assert first != second
