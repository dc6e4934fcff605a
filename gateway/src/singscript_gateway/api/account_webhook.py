"""One's own webhook, which is told of every job of one's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from singscript_gateway.api.cursors import Cursor, Limit, number_of, page_of
from singscript_gateway.api.gateway import Gateway, GatewayDep, PrincipalDep, needs
from singscript_gateway.api.problems import Problem, ProblemError
from singscript_gateway.webhooks.model import ListedDelivery, Webhook, WebhookOrder, origin

_MAY = needs("account")
_WEBHOOK: dict[str, Any] = {
    "origin": "https://example.com",
    "created_at": "2026-12-01T08:00:00Z",
    "disabled_at": None,
}
_DELIVERY: dict[str, Any] = {
    "id": "5b1c1f0e-6c1f-4a8e-9d5e-0a4f6f0b8f57",
    "job_id": "3f0e9c0a-7d43-4a5c-8f0f-5c2f1d4a6b7e",
    "type": "job.succeeded",
    "state": "delivered",
    "attempts": 1,
    "last_status": 200,
    "last_error": None,
    "due_at": "2026-12-01T08:05:00Z",
    "created_at": "2026-12-01T08:04:59Z",
    "ended_at": "2026-12-01T08:05:00Z",
}
_TEST = _DELIVERY | {
    "job_id": None,
    "type": "webhook.test",
    "state": "waiting",
    "attempts": 0,
    "last_status": None,
    "ended_at": None,
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "WEBHOOK_NOT_FOUND"}}

router = APIRouter(prefix="/api/webhook", tags=["account"], dependencies=[_MAY])


class AccountWebhook(BaseModel):
    """One's own webhook. Its path, its query and its secrets are not shown."""

    model_config = ConfigDict(json_schema_extra={"example": _WEBHOOK})

    origin: str = Field(description="Scheme, host and port.")
    created_at: datetime
    disabled_at: datetime | None = Field(
        description="When its server answered 410; it is told nothing more until it is set again."
    )


class SetWebhook(AccountWebhook):
    """One's own webhook, as it was just set."""

    model_config = ConfigDict(json_schema_extra={"example": _WEBHOOK | {"secret": "whsec_" + "MDEy" * 10}})

    secret: str | None = Field(
        description="What the posts are signed with from now on, if none was given; it is not shown again."
    )


class DeliveryPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"deliveries": [_DELIVERY], "next_cursor": None}})

    deliveries: list[ListedDelivery]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


@router.get("", summary="Your webhook", responses=_NOT_FOUND)
async def get_webhook(gateway: GatewayDep, principal: PrincipalDep) -> AccountWebhook:
    """The one that is told of every job of yours, besides the one that a job may have."""
    return _shape(await _found(gateway, principal.owner))


@router.put("", summary="Set your webhook", responses={422: {"model": Problem, "description": "INVALID_INPUT"}})
async def put_webhook(gateway: GatewayDep, principal: PrincipalDep, order: WebhookOrder) -> SetWebhook:
    """In place of the one before, whose address also gets no more of what waits. It is enabled again where it was
    disabled. Without `secrets` a new one is made and shown, and the newest one before it goes on signing beside it.
    """
    webhook, made = await gateway.webhooks.put_of_owner(principal.owner, order)
    return SetWebhook(**_shape(webhook).model_dump(), secret=made)


@router.delete(
    "",
    status_code=204,
    summary="Remove your webhook",
    responses=_NOT_FOUND | {204: {"description": "It is told nothing more, nor what waits."}},
)
async def delete_webhook(gateway: GatewayDep, principal: PrincipalDep) -> None:
    """With the list of what it was told."""
    if not await gateway.webhooks.delete_of_owner(principal.owner):
        raise _missing()


@router.post(
    "/test",
    status_code=202,
    summary="Try your webhook",
    responses=_NOT_FOUND
    | {
        202: {"content": {"application/json": {"example": _TEST}}},
        409: {"model": Problem, "description": "WEBHOOK_DISABLED: set it again first"},
    },
)
async def test_webhook(gateway: GatewayDep, principal: PrincipalDep) -> ListedDelivery:
    """It is sent `webhook.test`, once. How that went stands in `GET /api/webhook/deliveries`."""
    webhook = await _found(gateway, principal.owner)
    if webhook.disabled_at:
        detail = (
            "The webhook's server has answered 410, so it is told nothing more. Set it again with PUT /api/webhook."
        )
        raise ProblemError(409, "WEBHOOK_DISABLED", detail)
    return await gateway.webhooks.test(webhook)


@router.get(
    "/deliveries",
    summary="What your webhook was told, newest first",
    responses={422: {"model": Problem, "description": "INVALID_INPUT"}},
)
async def list_deliveries(
    gateway: GatewayDep, principal: PrincipalDep, limit: Limit = 20, cursor: Cursor = None
) -> DeliveryPage:
    """And what it is to be told. What was told of a job goes with it."""
    deliveries = await gateway.webhooks.list_deliveries(principal.owner, before=number_of(cursor), limit=limit + 1)
    page, next_cursor = page_of(deliveries, limit)
    return DeliveryPage(deliveries=list(page), next_cursor=next_cursor)


async def _found(gateway: Gateway, owner: str) -> Webhook:
    webhook = await gateway.webhooks.of_owner(owner)
    if webhook is None:
        raise _missing()
    return webhook


def _missing() -> ProblemError:
    return ProblemError(404, "WEBHOOK_NOT_FOUND", "You have no webhook. Set one with PUT /api/webhook.")


def _shape(webhook: Webhook) -> AccountWebhook:
    return AccountWebhook(origin=origin(webhook.url), created_at=webhook.created_at, disabled_at=webhook.disabled_at)
