"""Channels to other services: keepalive that finds a frozen peer in seconds, TLS, and the job id sent along."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from singscript_core import logs
from singscript_serving import tls

JOB_ID_KEY = "x-singscript-job"
# Every stream is answered with it at once: who never saw it never reached the service.
SERVICE_KEY = "x-singscript-service"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

# With gRPC's own defaults a peer that was stopped with SIGSTOP went unnoticed for minutes; with these, for about 10 s.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Services are addressed directly; a proxy from the environment would only break that.
    ("grpc.enable_http_proxy", 0),
)


def _with_job_id(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    if not (job := logs.job_id.get()):
        return details
    metadata = details.metadata or grpc.aio.Metadata()
    metadata.add(JOB_ID_KEY, job)
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_with_job_id(client_call_details), request)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_with_job_id(client_call_details), request)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await continuation(_with_job_id(client_call_details), request_iterator)


@asynccontextmanager
async def dial(target: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to `target` (host:port), closed at the end.

    Opening it connects to nothing yet: a peer that is down shows as UPSTREAM_UNAVAILABLE at the first call.

    Raises:
        TlsUnusable.
    """
    identity = tls.identity()
    how: dict[str, Any] = {
        "options": CHANNEL_OPTIONS,
        "interceptors": [_UnaryUnary(), _UnaryStream(), _StreamStream()],
    }
    async with (
        grpc.aio.secure_channel(target, identity.for_channel(), **how)
        if identity
        else grpc.aio.insecure_channel(target, **how)
    ) as channel:
        yield channel


def dial_blocking(target: str) -> grpc.Channel:
    """As `dial`, for programs without asyncio; to be used in a `with`."""
    identity = tls.identity()
    if identity:
        return grpc.secure_channel(target, identity.for_channel(), options=CHANNEL_OPTIONS)
    return grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
