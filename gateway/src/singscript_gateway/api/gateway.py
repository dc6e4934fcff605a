"""What the routes share, and how they get it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from singscript.aligner.v1 import aligner_pb2_grpc

from singscript_core import logs
from singscript_gateway.api.authentication import principal_of
from singscript_gateway.api.problems import Problem
from singscript_gateway.api.removal import Remover
from singscript_gateway.auth.authenticator import Authenticator
from singscript_gateway.auth.model import Principal, Scope
from singscript_gateway.auth.refusals import ScopeMissing
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_gateway.engines import Engines
from singscript_gateway.jobs import actions
from singscript_gateway.jobs.creation import Creation
from singscript_gateway.jobs.listen import Listener
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.watching import Watching
from singscript_gateway.quotas.store import QuotaStore
from singscript_gateway.settings import ApiSettings
from singscript_gateway.uploads.intake import Intake
from singscript_gateway.uploads.store import UploadStore
from singscript_gateway.webhooks.store import WebhookStore
from singscript_storage import ObjectStore


@dataclass(frozen=True)
class Gateway:
    """Attributes:
    intake: takes the bytes of uploads.
    remover: removes what no job refers to any more.
    aligner: renders subtitle files.
    engines: asks the services what they have.
    closing: set when the process is to stop, so that event streams end.
    """

    settings: ApiSettings
    pool: Pool
    accounts: AccountStore
    authenticator: Authenticator
    quotas: QuotaStore
    store: JobStore
    webhooks: WebhookStore
    objects: ObjectStore
    uploads: UploadStore
    intake: Intake
    creation: Creation
    watching: Watching
    remover: Remover
    events: Listener
    aligner: aligner_pb2_grpc.AlignerServiceAsyncStub
    engines: Engines
    closing: asyncio.Event


# Dependencies are async, also where nothing is awaited: FastAPI runs each plain function in a thread.
async def _gateway(request: Request) -> Gateway:
    return request.app.state.gateway


GatewayDep = Annotated[Gateway, Depends(_gateway)]


_BEARER = HTTPBearer(
    scheme_name="key",
    description="An API key, `ss_<id>_<secret>`, or a token of the OIDC issuer where one is set.",
    auto_error=False,
)
_RETRY_AFTER = {"Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}}}
# What routes may answer that make or repeat a job.
QUOTAS_OF_JOBS: dict[str, Any] = {
    "model": Problem,
    "description": "QUOTA_REQUESTS, QUOTA_ACTIVE_JOBS, QUOTA_MINUTES, QUOTA_BYTES, QUOTA_SPEND; `limit`, `used`, "
    "`window` and `of` say which limit that is",
    "headers": _RETRY_AFTER,
}
# What every route may answer that needs to know who asks.
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {
        "model": Problem,
        "description": "UNAUTHENTICATED; with what is right: KEY_EXPIRED, TOKEN_EXPIRED, KEY_REVOKED, USER_DISABLED",
        "headers": {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}},
    },
    403: {"model": Problem, "description": "SCOPE_MISSING: `scope` is the one that the key would need"},
    429: {
        "model": Problem,
        "description": "QUOTA_REQUESTS: no more for now; `limit`, `used`, `window` and `of` say which limit that is",
        "headers": _RETRY_AFTER,
    },
}


async def _principal(request: Request, _: Annotated[object, Security(_BEARER)]) -> Principal:
    """Who asks; the scheme is for the OpenAPI document."""
    return principal_of(request)


PrincipalDep = Annotated[Principal, Depends(_principal)]


async def _allowed(needed: SecurityScopes, principal: PrincipalDep) -> None:
    for scope in needed.scopes:
        if scope not in principal.scopes:
            raise ScopeMissing(scope)


def needs(scope: Scope) -> Any:
    """A dependency of a route: who asks has `scope`. Judged before what the address names is looked up."""
    return Security(_allowed, scopes=[scope])


async def current_job(
    gateway: GatewayDep,
    principal: PrincipalDep,
    job_id: Annotated[UUID, Path(description="What `POST /api/jobs` gave.")],
) -> Job:
    """Raises JobNotFound."""
    logs.job_id.set(str(job_id))
    return await actions.find(gateway.store, job_id, principal.owner)


JobDep = Annotated[Job, Depends(current_job)]


def read_object(objects: ObjectStore, key: str) -> bytes:
    """The whole object; blocking. Raises what the store does."""
    with objects.open(key) as reader:
        return b"".join(reader)
