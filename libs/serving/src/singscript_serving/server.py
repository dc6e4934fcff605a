"""Serving: one way for every service to start, report its health, drain and stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from singscript_core.settings import ServiceSettings
from singscript_serving import tls
from singscript_serving.channel import MAX_MESSAGE_BYTES
from singscript_serving.interceptor import CallInterceptor

log = logging.getLogger(__name__)

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # Two processes must not share a port by accident.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # Our own clients ping every 10 s, also without a call; by default that counts as abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


@dataclass(frozen=True)
class Service:
    """What `serve` needs to know.

    Attributes:
        full_name: as in the .proto: "singscript.separator.v1.SeparatorService".
        add: registers the servicer with the server.
        endless: methods that may be called without a deadline, such as those that watch.
        on_start: awaited in the background once the port is open, for work such as checking engines.
        for_services: its callers are services; where TLS is on each has to show a certificate.
    """

    full_name: str
    add: Callable[[grpc.aio.Server], None]
    endless: frozenset[str] = frozenset()
    on_start: Callable[[], Awaitable[None]] | None = None
    for_services: bool = True

    @property
    def short_name(self) -> str:
        """The name for people: "separator"."""
        return self.full_name.split(".")[1]


@asynccontextmanager
async def running(service: Service, settings: ServiceSettings) -> AsyncIterator[str]:
    """Serves while the context is open; yields the address, such as "127.0.0.1:50051".

    On leaving, health turns NOT_SERVING, streams may go on for `settings.drain_s`, then they are cancelled.

    Raises:
        OSError: the address cannot be bound.
        TlsUnusable.
    """
    identity = tls.identity()
    interceptor = CallInterceptor(service.short_name, settings.max_streams, service.endless)
    server = grpc.aio.server(interceptors=[interceptor], options=SERVER_OPTIONS)
    service.add(server)
    health_servicer = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]  (not in the stubs)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = (service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    host = settings.listen.rpartition(":")[0]
    try:
        if identity:
            credentials = identity.for_server(asks_clients=service.for_services)
            port = server.add_secure_port(settings.listen, credentials)
        else:
            port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise OSError(f"Cannot listen on {settings.listen}: {error}") from None
    await server.start()
    for name in ("", service.full_name):
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    address = f"{host}:{port}"
    log.info("listening", extra={"address": address, "tls": identity is not None})
    background = asyncio.create_task(_start_up(service))
    try:
        yield address
    finally:
        await health_servicer.enter_graceful_shutdown()
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await server.stop(settings.drain_s)
        log.info("stopped", extra={"address": address})


async def serve(service: Service, settings: ServiceSettings) -> None:
    """Serves until SIGTERM or SIGINT, then drains. A second signal ends the streams at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(service, settings):
        await stop.wait()
        log.info("draining", extra={"drain_s": settings.drain_s})
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _start_up(service: Service) -> None:
    if service.on_start is None:
        return
    try:
        await service.on_start()
    except Exception:  # a service whose check failed still serves what it can
        log.exception("the check at start failed; engines are checked again when they are needed")
