"""Calling another service: its responses as an iterator that leaves nothing running, its errors as StageErrors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable
from typing import TypeVar

import grpc

from singscript_serving.channel import SERVICE_KEY
from singscript_serving.status import from_rpc_error

T = TypeVar("T")


async def responses(call: AsyncIterable[T], service: str) -> AsyncGenerator[T]:
    """Yields what `call` (a streaming gRPC call) answers.

    The call is cancelled on every way out: breaking out of a gRPC stream leaves it running otherwise.

    Args:
        call: what a stub method returned.
        service: the short name of the service, for sentences: "separator".
    Raises:
        StageError: what the service reported, or that it cannot be reached.
    """
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, service, reached=await _was_reached(call)) from None
    finally:
        if isinstance(call, grpc.aio.Call):
            call.cancel()


async def _was_reached(call: AsyncIterable[T]) -> bool:
    """Whether the service took a call that has failed."""
    return not isinstance(call, grpc.aio.Call) or SERVICE_KEY in dict(await call.initial_metadata())


async def response(call: Awaitable[T], service: str) -> T:
    """Awaits a unary call; raises StageError as `responses` does."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, service) from None
