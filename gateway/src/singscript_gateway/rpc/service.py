"""JobService: gRPC to plain values and back. Who asks is judged, and what is done is done, as for REST."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

import grpc
import psycopg
from singscript.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from singscript_core import logs
from singscript_core.errors import TimedOut, Unavailable, Violation
from singscript_gateway.api.cursors import number_of, page_of
from singscript_gateway.api.gateway import Gateway
from singscript_gateway.api.shapes import CreatedJob, JobSummary, job_details, job_summary
from singscript_gateway.auth import audit
from singscript_gateway.auth.model import Principal, Scope
from singscript_gateway.auth.refusals import ScopeMissing
from singscript_gateway.jobs import actions
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.refusals import JobNotFound
from singscript_gateway.jobs.store import Filter
from singscript_gateway.rpc.events import response_of
from singscript_gateway.rpc.shapes import invalid, job_of, key_of, order_of, states_of

# Of a call that is no watch; its own deadline may be shorter.
CALL_WITHIN_S = 60.0
_MAX_PAGE = 100
_DEFAULT_PAGE = 20
_MAX_TOKEN_CHARS = 100

Context = grpc.aio.ServicerContext[Any, Any]


class DatabaseUnavailable(Unavailable):
    """Nothing was changed."""

    reason = "DATABASE_UNAVAILABLE"


class JobService(gateway_pb2_grpc.JobServiceServicer):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._store = gateway.store

    async def CreateJob(self, request: gateway_pb2.CreateJobRequest, context: Context) -> gateway_pb2.CreateJobResponse:
        async with self._answering(context, "jobs:write") as principal:
            order, upload_id = order_of(request)
            answer = await self._gateway.creation.create(principal.owner, order, upload_id, key_of(request))
            created = CreatedJob.model_validate_json(answer.body)
            return gateway_pb2.CreateJobResponse(job=job_of(created), webhook_secret=created.webhook_secret or "")

    async def GetJob(self, request: gateway_pb2.GetJobRequest, context: Context) -> gateway_pb2.GetJobResponse:
        async with self._answering(context, "jobs:read") as principal:
            job = await self._find(request.job_id, principal)
            return gateway_pb2.GetJobResponse(job=await self._shown(job))

    async def ListJobs(self, request: gateway_pb2.ListJobsRequest, context: Context) -> gateway_pb2.ListJobsResponse:
        async with self._answering(context, "jobs:read") as principal:
            if not 0 <= request.page_size <= _MAX_PAGE:
                raise invalid(Violation("page_size", f"A page has 1 to {_MAX_PAGE} jobs"))
            if len(request.page_token) > _MAX_TOKEN_CHARS:
                raise invalid(Violation("page_token", f"A token has at most {_MAX_TOKEN_CHARS} characters"))
            wanted = Filter(states=states_of(request))
            before, limit = number_of(request.page_token), request.page_size or _DEFAULT_PAGE
            jobs = await self._store.list_jobs(principal.owner, wanted, before=before, limit=limit + 1)
            page, token = page_of(jobs, limit)
            shown = [job_of(JobSummary.model_validate(job_summary(job))) for job in page]
            return gateway_pb2.ListJobsResponse(jobs=shown, next_page_token=token or "")

    async def WatchJob(
        self, request: gateway_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.WatchJobResponse]:
        async with self._answering(context, "jobs:read") as principal:
            if request.after_seq < 0:
                raise invalid(Violation("after_seq", "Events are numbered from 1 on"))
            job = await self._find(request.job_id, principal)

        async def judge() -> None:
            _check_scope(await self._gateway.authenticator.principal(_authorization(context)), "jobs:read")

        async with aclosing(self._gateway.watching.watch(job, request.after_seq, judge)) as pages:
            async for events in pages:
                for event in events:
                    yield response_of(event)

    async def CancelJob(self, request: gateway_pb2.CancelJobRequest, context: Context) -> gateway_pb2.CancelJobResponse:
        async with self._answering(context, "jobs:write") as principal:
            job = await actions.cancel(self._store, await self._find(request.job_id, principal))
            return gateway_pb2.CancelJobResponse(job=await self._shown(job))

    async def RetryJob(self, request: gateway_pb2.RetryJobRequest, context: Context) -> gateway_pb2.RetryJobResponse:
        async with self._answering(context, "jobs:write") as principal:
            job = await actions.retry(self._store, await self._find(request.job_id, principal))
            return gateway_pb2.RetryJobResponse(job=await self._shown(job))

    async def DeleteJob(self, request: gateway_pb2.DeleteJobRequest, context: Context) -> gateway_pb2.DeleteJobResponse:
        async with self._answering(context, "jobs:write") as principal:
            await actions.delete(self._store, await self._find(request.job_id, principal))
            self._gateway.remover.wake()
            return gateway_pb2.DeleteJobResponse()

    @asynccontextmanager
    async def _answering(self, context: Context, scope: Scope) -> AsyncIterator[Principal]:
        """Around all that an answer needs: who asks, a bound on how long it takes, and errors that have a reason."""
        try:
            async with asyncio.timeout(CALL_WITHIN_S):
                yield await self._principal(context, scope)
        except TimeoutError:
            raise TimedOut(f"This took more than {CALL_WITHIN_S:g} s. Try again in a moment.") from None
        except psycopg.OperationalError as error:
            message = "The database does not answer. Nothing was changed; try again in a moment."
            raise DatabaseUnavailable(message, retry_after_s=2.0) from error

    async def _principal(self, context: Context, scope: Scope) -> Principal:
        """Who asks, whose request is counted; raises Unauthenticated, QuotaExceeded, ScopeMissing."""
        audit.address.set(_address(context.peer()))
        principal = await self._gateway.authenticator.principal(_authorization(context))
        await self._gateway.quotas.take_request(principal.owner, principal.key_id)
        audit.key_id.set(principal.key_id)
        _check_scope(principal, scope)
        return principal

    async def _find(self, job_id: str, principal: Principal) -> Job:
        try:
            known = UUID(job_id)
        except ValueError:
            raise JobNotFound from None
        logs.job_id.set(str(known))
        return await actions.find(self._store, known, principal.owner)

    async def _shown(self, job: Job) -> gateway_pb2.Job:
        return job_of(job_details(job, *await self._store.details(job)))


def _check_scope(principal: Principal, scope: Scope) -> None:
    if scope not in principal.scopes:
        raise ScopeMissing(scope)


def _authorization(context: Context) -> str | None:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            return value if isinstance(value, str) else None
    return None


def _address(peer: str) -> str | None:
    """`ipv4:127.0.0.1:4711` and `ipv6:%5B::1%5D:4711` without what is no address."""
    kind, _, rest = urllib.parse.unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else None
