"""Which engines and models a job may name."""

from __future__ import annotations

from fastapi import APIRouter

from singscript_gateway.api.gateway import GatewayDep, needs
from singscript_gateway.engines import EngineList

router = APIRouter(tags=["engines"])


@router.get("/api/engines", dependencies=[needs("jobs:read")], summary="Which engines there are")
async def get_engines(gateway: GatewayDep) -> EngineList:
    """What `separator_engines`, `transcriber_model` and the like of a job may name, and what is missing. Found anew
    every 10 seconds.
    """
    return await gateway.engines.list()
