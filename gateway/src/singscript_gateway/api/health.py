"""Is the process alive, and can it serve?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import psycopg
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from singscript_core.errors import StageError
from singscript_gateway.api.gateway import Gateway, GatewayDep
from singscript_gateway.api.problems import Problem, problem, problem_response
from singscript_gateway.database import missing_migrations

router = APIRouter(tags=["health"])

_CHECK_S = 5.0


class Alive(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok"}})

    status: str = "ok"


class Check(BaseModel):
    ok: bool
    detail: str = ""


class Readiness(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"example": {"ready": True, "checks": {"database": {"ok": True, "detail": ""}}}}
    )

    ready: bool
    checks: dict[str, Check]


@router.get("/healthz", summary="The process lives")
async def healthz() -> Alive:
    """Whatever it may lack: that stands in `/readyz`."""
    return Alive()


@router.get(
    "/readyz",
    summary="Jobs can be taken and worked on",
    response_model=Readiness,
    responses={503: {"model": Problem, "description": "NOT_READY, with the same `checks`"}},
)
async def readyz(gateway: GatewayDep) -> Readiness | Response:
    """Names each thing that is needed: database, migrations, storage, a live dispatcher."""
    parts = {
        "database": _database(gateway),
        "migrations": _migrations(gateway),
        "storage": _storage(gateway),
        "dispatcher": _dispatcher(gateway),
    }
    results = await asyncio.gather(*(_checked(part) for part in parts.values()))
    checks = dict(zip(parts, results, strict=True))
    if all(check.ok for check in results):
        return Readiness(ready=True, checks=checks)
    missing = ", ".join(name for name, check in checks.items() if not check.ok)
    body = problem(503, "NOT_READY", f"Not ready: {missing}.", ready=False)
    return problem_response(body | {"checks": {name: check.model_dump() for name, check in checks.items()}})


async def _checked(part: Awaitable[str]) -> Check:
    """A part returns what is wrong, or nothing."""
    try:
        detail = await asyncio.wait_for(part, _CHECK_S)
    except TimeoutError:
        detail = f"No answer within {_CHECK_S:.0f} s."
    except psycopg.Error:
        detail = "The database does not answer as it should."
    except StageError as error:
        detail = error.message
    return Check(ok=not detail, detail=detail)


async def _database(gateway: Gateway) -> str:
    async with gateway.pool.connection():
        return ""


async def _migrations(gateway: Gateway) -> str:
    missing = await missing_migrations(gateway.pool)
    return f"Missing: {', '.join(sorted(missing))}. Run `python -m singscript_gateway migrate`." if missing else ""


async def _storage(gateway: Gateway) -> str:
    await asyncio.to_thread(gateway.objects.check)
    return ""


async def _dispatcher(gateway: Gateway) -> str:
    live = await gateway.store.live_dispatchers(gateway.settings.lease_s)
    return "" if live else "No dispatcher has said that it lives. Start `python -m singscript_gateway dispatcher`."
