"""The dispatcher's process: what it is made of, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import signal

from singscript.aligner.v1 import aligner_pb2_grpc

from singscript_egress.addresses import AllowList
from singscript_gateway.database import make_pool, missing_migrations, patiently
from singscript_gateway.dispatcher import capacity
from singscript_gateway.dispatcher.attempts import Attempts
from singscript_gateway.dispatcher.loops import Dispatcher
from singscript_gateway.jobs.listen import CANCELS, QUEUE, Listener
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.settings import DispatcherSettings
from singscript_gateway.webhooks.sender import Sender
from singscript_gateway.webhooks.store import WebhookStore
from singscript_serving.channel import dial

logger = logging.getLogger(__name__)


class MigrationsMissing(Exception):
    """The database is not up to date."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"The database lacks {', '.join(names)}. Run `python -m singscript_gateway migrate` first.")


async def run(settings: DispatcherSettings) -> None:
    """Runs a dispatcher until SIGTERM or SIGINT; then its jobs are back in the queue, or their lease ends.

    Raises:
        MigrationsMissing: the database is not up to date.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        make_pool(settings.database_url, max_size=settings.dispatcher_concurrency + 6) as pool,
        Listener(CANCELS).running(settings.database_url) as cancels,
        Listener(QUEUE).running(settings.database_url) as due,
        dial(settings.aligner) as channel,
        capacity.asking(settings.separator, settings.transcriber) as stages,
    ):
        queue = JobQueue(pool, shared=settings.share_results == "all")
        if missing := await patiently(lambda: missing_migrations(pool)):
            raise MigrationsMissing(sorted(missing))
        webhooks = WebhookStore(pool)
        await patiently(lambda: webhooks.set_operators(settings.webhook_url, settings.webhook_secrets))
        allow = AllowList.parse(settings.download_allow_hosts)
        sender = Sender(webhooks, allow, timeout_s=settings.webhook_timeout_s, lease_s=settings.lease_s)
        attempts = Attempts(settings, queue, aligner_pb2_grpc.AlignerServiceStub(channel))
        dispatcher = Dispatcher(settings, queue, attempts, due, cancels)
        loops = {
            asyncio.create_task(part)
            for part in (
                dispatcher.take(),
                dispatcher.beat(),
                dispatcher.sweep(),
                dispatcher.watch_cancels(),
                capacity.follow(stages, queue),
                sender.run(),
            )
        }
        await _run_until(stop, dispatcher, loops, settings.drain_s)
        await asyncio.wait_for(dispatcher.retire(), 5.0)


async def _run_until(
    stop: asyncio.Event, dispatcher: Dispatcher, loops: set[asyncio.Task[None]], drain_s: float
) -> None:
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopped, *loops}, return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopping" if stop.is_set() else "a part of the dispatcher ended; stopping")
        await dispatcher.stop(drain_s)
    finally:
        for task in (stopped, *loops):
            task.cancel()
        results = await asyncio.gather(stopped, *loops, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
