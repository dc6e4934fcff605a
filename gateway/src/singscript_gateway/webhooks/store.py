"""Webhooks in Postgres. Every method is one transaction; what a job's end writes there stands in jobs/store.py."""

from __future__ import annotations

from uuid import UUID, uuid4

from singscript_gateway.database import Pool
from singscript_gateway.jobs.sql import SQL
from singscript_gateway.webhooks.model import Claim, Delivery, DeliveryState, Webhook


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

    async def claim(self, limit: int, lease_s: float) -> list[Claim]:
        """Deliveries that are due. Until their lease ends nobody else gets them."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(SQL["claim_deliveries"], {"limit": limit, "lease_s": lease_s})
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
            return await (await connection.execute(SQL["record_delivery"], parameters)).fetchone() is not None

    async def disable(self, webhook_id: UUID) -> None:
        """Tells the webhook nothing more, nor what waits."""
        async with self._pool.connection() as connection:
            await connection.execute(SQL["disable_webhook"], {"webhook_id": webhook_id})
            await connection.execute(SQL["drop_deliveries"], {"webhook_id": webhook_id})
