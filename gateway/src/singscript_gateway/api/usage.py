"""What engines that are paid for have used."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from singscript_gateway.api.gateway import GatewayDep, PrincipalDep, needs
from singscript_gateway.api.problems import Problem
from singscript_gateway.api.shapes import Moment, UsageReport

router = APIRouter(tags=["usage"])


@router.get(
    "/api/usage",
    dependencies=[needs("jobs:read")],
    summary="What was spent",
    responses={422: {"model": Problem, "description": "INVALID_INPUT"}},
)
async def get_usage(
    gateway: GatewayDep,
    principal: PrincipalDep,
    since: Annotated[Moment | None, Query(description="From this moment on, such as `2026-12-01T00:00:00Z`.")] = None,
    until: Annotated[Moment | None, Query(description="Before this moment.")] = None,
) -> UsageReport:
    """Sums by engine and model over all of your jobs, also those that failed, were cancelled or are gone."""
    usage = await gateway.store.usage(principal.owner, since, until)
    return UsageReport(since=since, until=until, usage=usage)
