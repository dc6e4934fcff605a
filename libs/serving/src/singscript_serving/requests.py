"""Reading the requests of a stream: the config first, then the rest, and no waiting for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar

from singscript_core.errors import InvalidInput, TimedOut

# A client that sends nothing for so long has gone, or never will.
CONFIG_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 300.0

Config = TypeVar("Config", covariant=True)
Request = TypeVar("Request")


class ConfigFirst(Protocol[Config]):
    """A request of a stream whose first message holds `config`."""

    @property
    def config(self) -> Config: ...

    def HasField(self, field_name: Any, /) -> bool: ...


async def first_config(requests: AsyncIterator[ConfigFirst[Config]]) -> Config:
    """The config that every stream starts with.

    Raises:
        InvalidInput: the stream starts with something else, or is empty.
        TimedOut: nothing comes for CONFIG_TIMEOUT_S.
    """
    request = await next_request(requests, CONFIG_TIMEOUT_S)
    if request is None or not request.HasField("config"):
        raise InvalidInput("The first message of a stream is its config. Send it before anything else.")
    return request.config


async def next_request(requests: AsyncIterator[Request], timeout_s: float = IDLE_TIMEOUT_S) -> Request | None:
    """The next message, None after the last one; raises TimedOut when nothing comes for `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(requests, None)
    except TimeoutError:
        raise TimedOut(f"Nothing was sent for {timeout_s:g} s, so the stream was closed.") from None
