"""How much one may use, and has used; and, for an admin, how much others may."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from singscript_gateway.api.gateway import GatewayDep, PrincipalDep, needs
from singscript_gateway.api.problems import Problem
from singscript_gateway.quotas.model import QUOTAS, Account, Limits, Used

router = APIRouter(tags=["quotas"])

UserId = Annotated[str, Path(description="A user's id.", max_length=200, examples=["alice"])]
_NO_USER: dict[int | str, dict[str, object]] = {404: {"model": Problem, "description": "USER_NOT_FOUND"}}


class AccountShape(BaseModel):
    """What holds for a user, or for a key."""

    limits: Limits = Field(description="null: there is none.")
    used: Used


class QuotaReport(BaseModel):
    """One's own limits, and what was used of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "user": {
                    "limits": {"active_jobs": 5, "spend_usd_per_month": 20.0},
                    "used": {
                        "requests_per_minute": 0,
                        "active_jobs": 2,
                        "audio_minutes_per_day": 31.5,
                        "upload_bytes_per_day": 8388608,
                        "spend_usd_per_month": 1.25,
                    },
                },
                "key": None,
            }
        }
    )

    user: AccountShape
    key: AccountShape | None = Field(
        description="What holds for the key besides; null without one. What was used with keys that it was rotated "
        "from counts for it."
    )


@router.get("/api/quotas", dependencies=[needs("jobs:read")], summary="How much you may use, and have used")
async def get_quotas(gateway: GatewayDep, principal: PrincipalDep) -> QuotaReport:
    """As counted by all replicas together."""
    user, *key = [_shape(*one) for one in await gateway.quotas.report(principal.owner, principal.key_id)]
    return QuotaReport(user=user, key=key[0] if key else None)


@router.get(
    "/api/users/{user_id}/quotas",
    dependencies=[needs("admin")],
    summary="A user's own limits",
    responses=_NO_USER,
)
async def get_user_quotas(gateway: GatewayDep, user_id: UserId) -> Limits:
    """Those that an admin has set: null: as the settings say; 0: no limit."""
    return await gateway.quotas.limits_of_user(user_id)


@router.put(
    "/api/users/{user_id}/quotas",
    dependencies=[needs("admin")],
    summary="Set a user's own limits",
    responses=_NO_USER | {422: {"model": Problem, "description": "INVALID_INPUT"}},
)
async def put_user_quotas(gateway: GatewayDep, principal: PrincipalDep, user_id: UserId, limits: Limits) -> Limits:
    """All of them: what is left out, or null, is as the settings say; 0: no limit. They hold within 5 seconds."""
    await gateway.quotas.limit_user(user_id, limits, by=principal.owner)
    return limits


def _shape(account: Account, used: Used) -> AccountShape:
    return AccountShape(limits=Limits.model_validate({quota: account.limits.of(quota) for quota in QUOTAS}), used=used)
