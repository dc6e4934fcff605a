"""What happens around every call that a service answers: job id, log, deadline, cap on streams, errors.

Order, from the outside in: job id → log → errors → deadline → cap → the service.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any

import grpc
from grpc_status import rpc_status

from singscript_core import errors, logs
from singscript_serving.channel import JOB_ID_KEY, SERVICE_KEY
from singscript_serving.status import RelayedError, status_code, to_status

log = logging.getLogger(__name__)

READ_THE_REST_S = 2.0

Context = grpc.aio.ServicerContext[Any, Any]


class DeadlineMissing(errors.InvalidInput):
    """A call that nobody gives up may hold what it uses for ever."""

    reason = "DEADLINE_MISSING"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of the singscript services; health and reflection pass as they are.

    Args:
        stage: the short name of the service.
        max_streams: how many it serves at once.
        endless: names of methods that may be called without a deadline.
    """

    def __init__(self, stage: str, max_streams: int, endless: Collection[str] = ()) -> None:
        self._stage = stage
        self._max_streams = max_streams
        self._endless = endless
        self.active_streams = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method or ""
        if handler is None or not method.startswith("/singscript."):
            return handler
        metadata = dict(handler_call_details.invocation_metadata or ())
        job = str(metadata.get(JOB_ID_KEY, ""))
        if not handler.response_streaming:
            make, wrapped = grpc.unary_unary_rpc_method_handler, self._unary(handler.unary_unary, method, job)
        elif handler.request_streaming:
            make, wrapped = (
                grpc.stream_stream_rpc_method_handler,
                self._stream(handler.stream_stream, method, job),
            )
        else:
            make, wrapped = (
                grpc.unary_stream_rpc_method_handler,
                self._stream(handler.unary_stream, method, job),
            )
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _unary(self, inner: Callable[..., Awaitable[Any]], method: str, job: str) -> Callable[..., Any]:
        async def wrapped(request: Any, context: Context) -> Any:
            async with self._around(context, method, job):
                self._check_deadline(context, method)
                return await inner(request, context)

        return wrapped

    def _stream(self, inner: Callable[..., AsyncGenerator[Any]], method: str, job: str) -> Callable[..., Any]:
        # A coroutine that writes, not a generator: so the service's generator is closed here when the client leaves.
        async def wrapped(request: Any, context: Context) -> None:
            async with self._around(context, method, job):
                await context.send_initial_metadata(((SERVICE_KEY, self._stage),))
                try:
                    self._check_deadline(context, method)
                    with self._slot():
                        async with aclosing(inner(request, context)) as responses:
                            async for response in responses:
                                await context.write(response)
                except errors.StageError:
                    if isinstance(request, AsyncIterable):
                        await _read_the_rest(context)
                    raise

        return wrapped

    @asynccontextmanager
    async def _around(self, context: Context, method: str, job: str) -> AsyncIterator[None]:
        logs.job_id.set(job)
        logs.stage.set(self._stage)
        started_s, outcome = time.monotonic(), "failed"
        try:
            yield
            outcome = "ok"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except errors.StageError as error:
            if not isinstance(error, RelayedError):
                error.metadata.setdefault("service", self._stage)
            await _abort(context, error)
        except Exception:  # logged whole; the caller learns only that it is our defect
            log.exception("a defect in %s", method)
            message = "Something went wrong inside the service; its log has the details."
            await _abort(context, errors.Internal(message, metadata={"service": self._stage}))
        finally:
            elapsed_s = round(time.monotonic() - started_s, 3)
            log.info("call ended", extra={"method": method, "outcome": outcome, "elapsed_s": elapsed_s})

    def _check_deadline(self, context: Context, method: str) -> None:
        if context.time_remaining() is None and method.rpartition("/")[2] not in self._endless:
            raise DeadlineMissing(
                "The call has no deadline. Set one, such as `timeout=60` in Python, and it is answered."
            )

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if self.active_streams >= self._max_streams:
            raise errors.Busy(
                f"The {self._stage} serves as many streams as it may ({self._max_streams}). Try again later.",
                retry_after_s=2.0,
            )
        self.active_streams += 1
        try:
            yield
        finally:
            self.active_streams -= 1


async def _read_the_rest(context: Context) -> None:
    """Takes what the client still sends, for a moment: a grpc.aio client whose call ends while it sends reports
    "Internal error from Core" in place of the status that it was given."""
    with suppress(TimeoutError):
        async with asyncio.timeout(READ_THE_REST_S):
            while await context.read() is not grpc.aio.EOF:
                pass


async def _abort(context: Context, error: errors.StageError) -> None:
    log.warning("%s", error.message, extra={"reason": error.reason, "code": status_code(error).name})
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details or "", trailing_metadata=tuple(status.trailing_metadata or ()))
