"""How requests are sent, answered, and sent again."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from singscript_client.errors import ApiError, SingscriptError, TryLater, Unreachable, error_of

ANSWER_S = 30.0
_CONNECT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
# Of a gateway that cannot serve for the moment, or of what stands before it.
_PASSING = (502, 503, 504)
_PAGE = 100

_Shape = TypeVar("_Shape", bound=BaseModel)


class Connection:
    """To one gateway. The key goes to it and to nobody else.

    Args:
        wait_s: how long one call may wait in all where the gateway says when to come back (429, 503).
        patience_s: for how long without any progress a call that can go on is tried again.
    """

    def __init__(self, url: str, api_key: str | None, wait_s: float, patience_s: float) -> None:
        base = httpx.URL(url)
        if base.scheme not in ("http", "https") or not base.host:
            raise ValueError("The address of the gateway begins with http:// or https://, and names a host.")
        self.origin = f"{base.scheme}://{base.netloc.decode()}"
        self._key = {"Authorization": f"Bearer {_checked(api_key)}"} if api_key else {}
        self._wait_s = wait_s
        self._patience_s = patience_s
        timeout = httpx.Timeout(ANSWER_S, connect=_CONNECT_S)
        # Proxies of the environment are for what is not this machine.
        self._http = httpx.Client(base_url=base, timeout=timeout, trust_env=not _is_loopback(base.host))

    def close(self) -> None:
        self._http.close()

    def patience(self) -> Patience:
        return Patience(self._patience_s)

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        answer_s: float = ANSWER_S,
        **content: Any,
    ) -> Iterator[httpx.Response]:
        """An answer that is no error, and may lead elsewhere; its body is still to be read.

        Args:
            params: None is left out.
            answer_s: how long the answer may take, and each pause in it.
            content: what httpx sends: `json`, `content`, or `data` and `files`.

        Raises:
            ApiError, Unreachable; also while the body is read.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        with _as_unreachable(self.origin):
            request = {"params": given, "headers": self._key | dict(headers or {}), **content}
            response = self._opened(method, path, httpx.Timeout(ANSWER_S, connect=_CONNECT_S, read=answer_s), request)
            try:
                yield response
            finally:
                response.close()

    @contextmanager
    def elsewhere(self, url: httpx.URL, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The answer to a GET at an address that the gateway has named: without the key. Raises as `stream` does."""
        with (
            _as_unreachable(f"{url.scheme}://{url.netloc.decode()}"),
            self._http.stream("GET", url, headers=dict(headers)) as response,
        ):
            if not response.is_success:
                response.read()
                raise error_of(response)
            yield response

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A whole answer, which is a success; options are those of `stream`. Raises ApiError, Unreachable."""
        with self.stream(method, path, **options) as response:
            response.read()
            if not response.is_success:
                raise error_of(response)
            return response

    def send_until_answered(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As `send`, of what may be sent again: it is, while there is patience."""
        patience = self.patience()
        while True:
            try:
                return self.send(method, path, **options)
            except SingscriptError as error:
                patience.pause(error)

    def pages(self, path: str, member: str, shape: type[_Shape], **params: Any) -> Iterator[_Shape]:
        """Everything in a list, asked for page by page as it is used."""
        cursor: str | None = None
        while True:
            response = self.send("GET", path, params={"limit": _PAGE} | params | {"cursor": cursor})
            try:
                page = response.json()
                items, cursor = list(page[member]), page.get("next_cursor")
            except (ValueError, KeyError, TypeError, AttributeError):
                raise unexpected(response) from None
            for item in items:
                try:
                    made = shape.model_validate(item)
                except ValidationError:
                    raise unexpected(response) from None
                yield made
            if not cursor:
                return

    def _opened(self, method: str, path: str, timeout: httpx.Timeout, options: dict[str, Any]) -> httpx.Response:
        waited_s = 0.0
        while True:
            request = self._http.build_request(method, path, timeout=timeout, **options)
            response = self._http.send(request, stream=True)
            if not response.is_error:
                return response
            try:
                response.read()
            finally:
                response.close()
            error = error_of(response)
            if not isinstance(error, TryLater) or error.retry_after_s is None:
                raise error
            pause_s = max(error.retry_after_s, _FIRST_PAUSE_S)
            if waited_s + pause_s > self._wait_s:
                raise error
            time.sleep(pause_s)
            waited_s += pause_s


class Patience:
    """How long something is tried again that can go on: for `within_s` after the first failure since any progress."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self.renew()

    def renew(self) -> None:
        """There was progress."""
        self._until_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    def pause(self, error: SingscriptError, also: Set[str] = frozenset()) -> None:
        """Waits before the next try; raises `error` when it will not pass, or not in time.

        Args:
            also: reasons of errors that may pass, besides those that always may.
        """
        passing = isinstance(error, Unreachable) or (isinstance(error, ApiError) and error.status in _PASSING)
        if not passing and error.reason not in also:
            raise error
        # Many clients that lost the same gateway do not come back all at once.
        pause_s = self._pause_s * random.uniform(0.5, 1.0)
        if isinstance(error, ApiError) and error.retry_after_s:
            pause_s += error.retry_after_s
        now_s = time.monotonic()
        if self._until_s is None:
            self._until_s = now_s + self._within_s
        if now_s + pause_s > self._until_s:
            raise error
        time.sleep(pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def shaped(shape: type[_Shape], response: httpx.Response) -> _Shape:
    """What an answer holds; raises ApiError UNEXPECTED_ANSWER."""
    try:
        return shape.model_validate_json(response.content)
    except ValidationError:
        # Not chained: it would repeat what the answer holds.
        raise unexpected(response) from None


def in_path(*parts: str) -> str:
    """An address below /api: each part is one, whatever it holds."""
    return "/".join(["/api", *(quote(part, safe="") for part in parts)])


def unexpected(response: httpx.Response) -> ApiError:
    """The error of an answer that no gateway gives."""
    detail = "The answer is not what this client knows. Does the address lead to a gateway of the same version?"
    request_id = response.headers.get("X-Request-Id")
    return ApiError(response.status_code, "UNEXPECTED_ANSWER", detail, request_id=request_id)


@contextmanager
def _as_unreachable(origin: str) -> Iterator[None]:
    try:
        yield
    except httpx.RequestError as error:
        raise Unreachable(origin, error) from error


def _checked(api_key: str) -> str:
    """The key, as files often hold it; what cannot be sent would be repeated by the error."""
    key = api_key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("The API key holds characters that no key has.")
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
