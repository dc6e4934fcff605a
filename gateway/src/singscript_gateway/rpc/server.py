"""Serving JobService beside the REST API, in the same process: one pool, one LISTEN connection, one memory of keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from singscript.gateway.v1 import gateway_pb2_grpc

from singscript_core.settings import ServiceSettings
from singscript_gateway.api.gateway import Gateway
from singscript_gateway.rpc.service import JobService
from singscript_serving.server import Service, running

# Each is a reader of the shared connection, and costs a few hundred kB at most.
MAX_WATCHES = 1000


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    """Serves while the context is open, or until `gateway.closing` is set; yields the address.

    Calls that run then may go on for `drain_s`; watches end at once, and say that another process goes on.

    Raises:
        OSError: the address cannot be bound.
    """
    service = Service(
        "singscript.gateway.v1.JobService",
        lambda server: gateway_pb2_grpc.add_JobServiceServicer_to_server(JobService(gateway), server),
        # They have keys.
        for_services=False,
        # As long as the job: it ends with it, with its key, and with a client that does not answer.
        endless=frozenset({"WatchJob"}),
    )
    settings = ServiceSettings(
        listen=gateway.settings.grpc_listen, max_streams=MAX_WATCHES, drain_s=gateway.settings.drain_s
    )
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(running(service, settings))
        # Not only at the end of the context: until then the requests of REST are waited for.
        stopping = asyncio.create_task(_stop(gateway, stack.pop_all()), name="stop gRPC")
    try:
        yield address
    finally:
        gateway.closing.set()
        gateway.events.wake_all()
        await stopping


async def _stop(gateway: Gateway, stack: AsyncExitStack) -> None:
    await gateway.closing.wait()
    await stack.aclose()
