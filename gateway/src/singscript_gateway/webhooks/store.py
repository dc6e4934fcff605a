"""Webhooks in Postgres. Every method is one transaction; what a job's end writes is in jobs/transaction.py."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from uuid import UUID, uuid4

from singscript_gateway.auth import audit
from singscript_gateway.database import Connection, Pool
from singscript_gateway.jobs.sql import SQL
from singscript_gateway.webhooks.model import (
    TEST,
    Claim,
    Delivery,
    DeliveryState,
    ListedDelivery,
    Webhook,
    WebhookOrder,
    new_secret,
)
from singscript_gateway.webhooks.payload import test_payload

NO_BOUND = 2**31 - 1
NOTHING: Mapping[str, int] = MappingProxyType({})


class WebhookStore:
    """Methods raise psycopg.OperationalError while the database is away; nothing is half done then."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def secret_of(self, job_id: UUID, owner: str) -> str | None:
        """The newest secret of the job's own webhook; None when it has none."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(SQL["get_webhook"], {"id": job_id, "owner": owner})).fetchone()
            return row["secrets"][0] if row else None

    async def of_job(self, job_id: UUID, owner: str) -> tuple[Webhook, list[Delivery]] | None:
        """The job's own webhook, and what it was told, oldest first; None when it has none."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(SQL["get_webhook"], {"id": job_id, "owner": owner})).fetchone()
            if row is None:
                return None
            rows = await (await connection.execute(SQL["get_deliveries"], {"webhook_id": row["id"]})).fetchall()
            return Webhook.model_validate(row), [Delivery.model_validate(one) for one in rows]

    async def set_operators(self, url: str, secrets: list[str]) -> None:
        """The webhook that is told of every job; an empty `url`: there is none, and what waits for it is dropped."""
        async with self._pool.connection() as connection:
            if url:
                parameters = {"webhook_id": uuid4(), "url": url, "secrets": secrets}
                await connection.execute(SQL["put_operators_webhook"], parameters)
            else:
                await connection.execute(SQL["delete_operators_webhook"])

    async def of_owner(self, owner: str) -> Webhook | None:
        """The user's webhook, which is told of every job of theirs."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(SQL["get_owners_webhook"], {"owner": owner})).fetchone()
            return Webhook.model_validate(row) if row else None

    async def put_of_owner(self, owner: str, order: WebhookOrder) -> tuple[Webhook, str | None]:
        """Sets the user's webhook, and enables it again.

        Returns: it, and the secret that was made where the order has none; the newest one before it goes on signing.
        """
        made = None if order.secrets else new_secret()
        parameters = {"webhook_id": uuid4(), "owner": owner, "url": order.url, "secrets": order.secrets or None}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(SQL["put_owners_webhook"], parameters | {"made": made})).fetchone()
            await audit.note(connection, owner, "webhook.set", str(Webhook.model_validate(row).id))
            return Webhook.model_validate(row), made

    async def delete_of_owner(self, owner: str) -> bool:
        """With what it was to be told. False: there is none."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(SQL["delete_owners_webhook"], {"owner": owner})).fetchone()
            if row:
                await audit.note(connection, owner, "webhook.deleted", str(row["id"]))
            return row is not None

    async def test(self, webhook: Webhook) -> ListedDelivery:
        """Lets the webhook be told that this is a test."""
        parameters = {"delivery_id": uuid4(), "webhook_id": webhook.id, "id": None, "type": TEST}
        async with self._pool.connection() as connection:
            rows = await connection.execute(SQL["insert_delivery"], parameters | {"body": test_payload()})
            return ListedDelivery.model_validate(await rows.fetchone())

    async def list_deliveries(self, owner: str, *, before: int | None, limit: int) -> list[ListedDelivery]:
        """What the user's webhook was told and is to be told, newest first."""
        async with self._pool.connection() as connection:
            parameters = {"owner": owner, "before": before, "limit": limit}
            rows = await (await connection.execute(SQL["list_deliveries"], parameters)).fetchall()
            return [ListedDelivery.model_validate(row) for row in rows]

    async def claim(
        self, limit: int, lease_s: float, *, per_host: int = NO_BOUND, under_way: Mapping[str, int] = NOTHING
    ) -> list[Claim]:
        """Deliveries that are due. Until their lease ends nobody else gets them.

        Args:
            per_host: of a host only so many, with those that are `under_way`.
        """
        places = {"per_host": per_host, "hosts": list(under_way), "under_way": list(under_way.values())}
        async with self._pool.connection() as connection:
            rows = await connection.execute(SQL["claim_deliveries"], {"limit": limit, "lease_s": lease_s} | places)
            return [Claim.model_validate(row) for row in await rows.fetchall()]

    async def record(
        self, claim: Claim, state: DeliveryState, *, pause_s: float, status: int | None, error: str | None
    ) -> bool:
        """How an attempt ended; `pause_s` to the next one of a delivery that waits. False: somebody else has it."""
        async with self._pool.connection() as connection:
            parameters = {
                "id": claim.id,
                "attempts": claim.attempts,
                "state": state,
                "pause_s": pause_s,
                "status": status,
                "error": error,
            }
            if claim.job_id:
                # Either this sees that the job is gone, or whoever deletes it sees that this was told.
                await connection.execute(SQL["hold_told_job"], {"id": claim.job_id})
            ours = await (await connection.execute(SQL["record_delivery"], parameters)).fetchone() is not None
            if ours and claim.job_id and state is not DeliveryState.WAITING:
                await _forget(connection, claim.job_id)
            return ours

    async def disable(self, webhook_id: UUID) -> None:
        """Tells the webhook nothing more, nor what waits."""
        async with self._pool.connection() as connection:
            await connection.execute(SQL["hold_told_jobs"], {"webhook_id": webhook_id})
            await connection.execute(SQL["disable_webhook"], {"webhook_id": webhook_id})
            rows = await connection.execute(SQL["drop_deliveries"], {"webhook_id": webhook_id})
            for job_id in {row["job_id"] for row in await rows.fetchall() if row["job_id"]}:
                await _forget(connection, job_id)


async def _forget(connection: Connection, job_id: UUID) -> None:
    """What was told of a job that is gone, and its webhook once that has nothing more to be told."""
    await connection.execute(SQL["drop_told"], {"id": job_id})
    await connection.execute(SQL["drop_webhook_of_job"], {"id": job_id})
