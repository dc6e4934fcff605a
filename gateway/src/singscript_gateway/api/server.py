"""The API's process: the application, and uvicorn around it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from types import FrameType

import uvicorn
from fastapi import FastAPI
from singscript.aligner.v1 import aligner_pb2_grpc
from uvicorn.protocols.http.h11_impl import H11Protocol

from singscript_core.errors import InvalidInput
from singscript_gateway.api import (
    account_webhook,
    artifacts,
    audit,
    engines,
    events,
    health,
    jobs,
    keys,
    quotas,
    tus,
    usage,
    users,
    webhooks,
    words,
)
from singscript_gateway.api.authentication import Authentication
from singscript_gateway.api.cors import add_cors, origins
from singscript_gateway.api.docs import add_docs
from singscript_gateway.api.gateway import REFUSALS, Gateway
from singscript_gateway.api.heads import Heads
from singscript_gateway.api.openapi import add_document
from singscript_gateway.api.problems import add_handlers
from singscript_gateway.api.removal import Remover, Retention
from singscript_gateway.api.requests import Defects, Requests
from singscript_gateway.api.visitors import Visitors
from singscript_gateway.auth.authenticator import Authenticator
from singscript_gateway.auth.model import scopes
from singscript_gateway.auth.oidc import Issuer
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import make_pool
from singscript_gateway.engines import asking
from singscript_gateway.jobs.creation import Creation
from singscript_gateway.jobs.listen import EVENTS, Listener
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_gateway.jobs.watching import Watching
from singscript_gateway.quotas.store import QuotaStore
from singscript_gateway.rpc.server import serving
from singscript_gateway.settings import ApiSettings
from singscript_gateway.uploads.intake import Intake
from singscript_gateway.uploads.store import UploadStore
from singscript_gateway.webhooks.store import WebhookStore
from singscript_serving.channel import dial
from singscript_storage import ObjectStore, StorageSettings, open_store

logger = logging.getLogger(__name__)

# From the opening of a connection, or from the last answer, until a request has come up to its body.
REQUEST_WAIT_S = 30.0
# Until a client has taken what waits for it, at most a block of a file: 8 kB a second will do.
READER_WAIT_S = 120.0


class StorageNotConfigured(InvalidInput):
    """The gateway keeps uploads and serves files: it cannot do without."""

    reason = "STORAGE_NOT_CONFIGURED"


def make_app(settings: ApiSettings, objects: ObjectStore) -> FastAPI:
    """The application; it connects to the database when it starts, and also starts without one."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            make_pool(settings.database_url) as pool,
            Listener(EVENTS).running(settings.database_url) as listener,
            dial(settings.aligner) as channel,
        ):
            store = JobStore(pool, limits=settings.quotas)
            closing = asyncio.Event()
            aligner = aligner_pb2_grpc.AlignerServiceStub(channel)
            webhooks_store = WebhookStore(pool)
            uploads = UploadStore(pool, settings.upload_kept_s, settings.quotas)
            accounts = AccountStore(pool)
            authenticator = Authenticator(accounts, off=settings.auth == "off", issuer=_issuer(settings))
            intake = Intake(store, uploads, objects)
            async with (
                Remover(Upkeep(pool), objects, _retention(settings)).running() as remover,
                asking(settings.separator, settings.transcriber, aligner) as engine_list,
            ):
                gateway = app.state.gateway = Gateway(
                    settings=settings,
                    pool=pool,
                    accounts=accounts,
                    authenticator=authenticator,
                    quotas=QuotaStore(pool, settings.quotas),
                    store=store,
                    webhooks=webhooks_store,
                    objects=objects,
                    uploads=uploads,
                    intake=intake,
                    creation=Creation(intake, webhooks_store),
                    watching=Watching(store, listener, closing),
                    remover=remover,
                    events=listener,
                    aligner=aligner,
                    engines=engine_list,
                    closing=closing,
                )
                async with serving(gateway) if settings.grpc_listen else nullcontext():
                    yield

    app = FastAPI(
        title="Singscript",
        version="0.1.0",
        summary="A song or a talk in; its vocals, its words with their times, and subtitles out.",
        description="Every error is application/problem+json (RFC 9457) with a stable `reason`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    add_docs(app)
    add_handlers(app)
    # The last one is outermost.
    app.add_middleware(Heads)
    app.add_middleware(Authentication)
    if settings.auth == "off":
        app.add_middleware(Visitors, allowed=origins(settings.cors_origins))
    app.add_middleware(Defects)
    add_cors(app, origins(settings.cors_origins))
    app.add_middleware(Requests)
    add_document(app)
    for part in (
        jobs,
        tus,
        events,
        artifacts,
        words,
        webhooks,
        engines,
        usage,
        quotas,
        account_webhook,
        keys,
        users,
        audit,
    ):
        app.include_router(part.router, responses=REFUSALS)
    app.include_router(health.router)
    return app


def _issuer(settings: ApiSettings) -> Issuer | None:
    if not settings.oidc_issuer:
        return None
    return Issuer(settings.oidc_issuer, settings.oidc_audience, scopes(settings.oidc_default_scopes))


def _retention(settings: ApiSettings) -> Retention:
    day_s = 24 * 3600.0
    return Retention(settings.keep_days * day_s, settings.keep_bytes, settings.keep_orphans_days * day_s)


def serve(settings: ApiSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        StorageNotConfigured.
        StorageUnavailable: the storage cannot be used at all.
    """
    objects = open_store(StorageSettings())
    if objects is None:
        raise StorageNotConfigured(
            "The gateway needs storage. Set SINGSCRIPT_STORAGE_DIR, or SINGSCRIPT_S3_ENDPOINT and SINGSCRIPT_S3_BUCKET."
        )
    make_server(settings, objects).run()


def make_server(settings: ApiSettings, objects: ObjectStore) -> uvicorn.Server:
    """The server that `serve` runs."""
    host, _, port = settings.listen.rpartition(":")
    config = uvicorn.Config(
        make_app(settings, objects),
        host=host.strip("[]"),
        port=int(port),
        http=_Connection,
        # Whoever would upgrade a connection gets the plain answer.
        ws="none",
        server_header=False,
        log_config=None,
        access_log=False,
        # Clients keep idle connections for as long as they like: one that is closed just when they use it is an error.
        timeout_keep_alive=round(REQUEST_WAIT_S),
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    return _Server(config)


class _Connection(H11Protocol):
    """Ends when no head of a request comes, or nobody takes the answer: uvicorn would wait for ever.

    The body of a request has bounds of its own (`requests`).
    """

    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._waiting:
            self._waiting.cancel()
        self.resume_writing()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(READER_WAIT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled:
            self._stalled.cancel()

    def _wait(self) -> None:
        if self._waiting:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(REQUEST_WAIT_S, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Event streams would hold the process open for as long as their jobs run: they are told to end."""
        app = self.config.app
        assert isinstance(app, FastAPI)
        if gateway := getattr(app.state, "gateway", None):
            gateway.closing.set()
            gateway.events.wake_all()
        # Not uvicorn's own, which ends by raising the signal again: a stop that was asked for is no failure.
        self.force_exit = self.should_exit
        self.should_exit = True
