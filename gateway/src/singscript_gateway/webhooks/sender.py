"""Sends what is due to webhooks, at least once and never twice at once. A loop of the dispatcher, beside its jobs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import psycopg
from standardwebhooks import Webhook as Signer

from singscript_core.errors import StageError
from singscript_egress.addresses import AllowList
from singscript_egress.http import post
from singscript_gateway.database import patiently
from singscript_gateway.webhooks.model import TEST, Claim, DeliveryState, origin
from singscript_gateway.webhooks.store import WebhookStore

logger = logging.getLogger(__name__)

# After the first attempt, the second, ...: 75 hours and 35 minutes in all, as the scheme recommends.
PAUSES_S = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
# A pause is up to this much longer, so that what failed together does not come back together.
_JITTER = 0.1
_POLL_S = 1.0
# Receivers that hang hold no more than their place among these, and a host that is slow no more than a few of them.
_AT_ONCE = 50
PER_HOST = 10
_GONE = 410
# Whose `Retry-After` is waited for; no longer than the longest pause.
_LATER = (429, 503)
_LAST = len(PAUSES_S) + 1


class Outcome(NamedTuple):
    """What follows from an attempt: the delivery's state, and the pause to its next attempt where it waits."""

    state: DeliveryState
    pause_s: float = 0.0


def outcome(status: int | None, attempts: int, retry_after_s: float = 0.0) -> Outcome:
    """After `attempts` attempts, the last of them answered with `status`, or not at all. Redirects are failures.

    Args:
        retry_after_s: what the answer asked for; no attempt comes before that, nor is it later than a day.
    """
    if status is not None and 200 <= status < 300:
        return Outcome(DeliveryState.DELIVERED)
    if status == _GONE or attempts > len(PAUSES_S):
        return Outcome(DeliveryState.GIVEN_UP)
    asked_s = min(retry_after_s, PAUSES_S[-1]) if status in _LATER else 0.0
    return Outcome(DeliveryState.WAITING, max(PAUSES_S[attempts - 1], asked_s) * random.uniform(1.0, 1.0 + _JITTER))


def retry_after_s(header: str, now: datetime) -> float:
    """What a `Retry-After` asks for: seconds, or a date; 0 where it makes no sense."""
    header = header.strip()
    if header.isascii() and header.isdecimal():
        return float(header[:9])
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def signed(claim: Claim, at: datetime) -> dict[str, str]:
    """The headers of an attempt at `at`: a signature by each secret."""
    webhook_id = str(claim.id)
    signatures = [Signer(secret).sign(webhook_id, at, claim.body) for secret in claim.secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "singscript",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


class Sender:
    """Claims what is due and sends it, each in a task of its own.

    Args:
        timeout_s: for one attempt.
        lease_s: how much longer than an attempt a claim holds; then whoever has it is thought dead.
    """

    def __init__(self, store: WebhookStore, allow: AllowList, *, timeout_s: float, lease_s: float) -> None:
        self._store = store
        self._allow = allow
        self._timeout_s = timeout_s
        self._lease_s = timeout_s + lease_s
        self._sending: Counter[str] = Counter()

    async def run(self) -> None:
        """Sends until it is cancelled; what is under way then is sent again when its claim ends."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    for claim in await self._claim():
                        self._sending[claim.host] += 1
                        group.create_task(self._deliver(claim))
                except psycopg.OperationalError as error:
                    logger.warning("the database does not answer: %s", str(error).strip())
                await asyncio.sleep(_POLL_S)

    async def _claim(self) -> list[Claim]:
        free = _AT_ONCE - self._sending.total()
        if not free:
            return []
        return await self._store.claim(free, self._lease_s, per_host=PER_HOST, under_way=self._sending)

    async def _deliver(self, claim: Claim) -> None:
        try:
            status, asked_s, error = await self._attempt(claim)
            # A test is not repeated: whoever asked for it looks at how it went.
            attempts = claim.attempts if claim.type != TEST else _LAST
            state, pause_s = outcome(status, attempts, asked_s)
            ours = await patiently(
                lambda: self._store.record(claim, state, pause_s=pause_s, status=status, error=error)
            )
            if status == _GONE:
                await patiently(lambda: self._store.disable(claim.webhook_id))
            facts = {"job": str(claim.job_id or ""), "delivery": str(claim.id), "to": origin(claim.url)}
            facts |= {
                "attempts": claim.attempts,
                "status": status,
                "error": error,
                "state": state if ours else "fenced",
            }
            logger.log(logging.INFO if state is DeliveryState.DELIVERED else logging.WARNING, "webhook", extra=facts)
        except Exception:  # one delivery must not end the others, nor the dispatcher
            logger.exception("a defect in sending a webhook", extra={"delivery": str(claim.id)})
        finally:
            self._sending[claim.host] -= 1
            if not self._sending[claim.host]:
                del self._sending[claim.host]

    async def _attempt(self, claim: Claim) -> tuple[int | None, float, str | None]:
        """The status of the answer and what pause it asked for, or the reason why there is none."""
        now = datetime.now(UTC)
        headers = signed(claim, now)
        body = claim.body.encode()
        try:
            answer = await post(claim.url, headers=headers, body=body, timeout_s=self._timeout_s, allow=self._allow)
        except StageError as error:
            return None, 0.0, error.reason
        return answer.status, retry_after_s(answer.headers.get("retry-after", ""), now), None
