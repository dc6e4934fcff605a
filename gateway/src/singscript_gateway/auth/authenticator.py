"""Who sends a request: judged by its `Authorization`, the same for REST and gRPC."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from singscript_gateway.auth.keys import PREFIX, digest, id_of
from singscript_gateway.auth.model import LOCAL, KnownKey, Principal, User
from singscript_gateway.auth.oidc import Issuer, Token
from singscript_gateway.auth.refusals import Unauthenticated, unknown
from singscript_gateway.auth.store import USED_EVERY_S, AccountStore

# A revoked key, and a token of a disabled user, work for this long at most.
REMEMBERED_S = 4.0
# Keys and users that were looked up last, unknown keys included.
_REMEMBERED = 10_000
# No key and no token is longer.
_MAX_CHARS = 8192
_NOBODY = bytes(32)

_Found = TypeVar("_Found")


class Authenticator:
    """Tells who asks. What it found is remembered for a few seconds.

    Args:
        off: everything is one user's, whoever asks.
        issuer: whose tokens are taken, too.
    """

    def __init__(self, store: AccountStore, *, off: bool, issuer: Issuer | None = None) -> None:
        self._store = store
        self._off = off
        self._issuer = issuer
        self._keys = _Recent[KnownKey | None]()
        self._users = _Recent[User]()

    async def principal(self, authorization: str | None) -> Principal:
        """Who sent this `Authorization`.

        Raises:
            Unauthenticated: UNAUTHENTICATED; or, where the key is right: KEY_EXPIRED, KEY_REVOKED, USER_DISABLED; or
                TOKEN_EXPIRED.
            IssuerUnavailable: what was sent may be a token.
            psycopg.OperationalError: the database is away.
        """
        if self._off:
            return LOCAL
        if authorization is None:
            raise unknown("Send an API key: `Authorization: Bearer ss_...`.")
        scheme, _, credentials = authorization.strip().partition(" ")
        credentials = credentials.strip()
        if scheme.lower() != "bearer" or not credentials or len(credentials) > _MAX_CHARS:
            raise unknown("The Authorization is not `Bearer` and an API key.")
        if self._issuer and not credentials.startswith(PREFIX):
            return await self._by_token(await self._issuer.token(credentials))
        return await self._by_key(credentials)

    async def _by_token(self, token: Token) -> Principal:
        user = await self._users.get(token.user_id, lambda: self._store.user_of_token(token))
        if user.disabled_at:
            raise _disabled()
        return Principal(user.id, None, token.scopes)

    async def _by_key(self, text: str) -> Principal:
        key_id = id_of(text)
        if key_id is None:
            raise unknown("This is no API key of this system.")
        key = await self._keys.get(key_id, lambda: self._store.known_key(key_id))
        # Compared also where there is no such key, so that it takes as long.
        right = hmac.compare_digest(digest(text), key.digest if key else _NOBODY)
        if key is None or not right:
            raise unknown("This is no API key of this system.")
        now = datetime.now(UTC)
        if refusal := _refusal(key, now):
            await self._store.key_refused(key)
            raise refusal
        if key.last_used_at is None or now - key.last_used_at > timedelta(seconds=USED_EVERY_S):
            await self._store.key_used(key.id)
            self._keys.correct(key.id, key, key.model_copy(update={"last_used_at": now}))
        return Principal(key.owner, key.id, key.scopes, key.expires_at)


class _Recent(Generic[_Found]):
    """What was looked up in the last seconds."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[float, _Found]] = OrderedDict()

    async def get(self, name: str, look_up: Callable[[], Awaitable[_Found]]) -> _Found:
        now_s = time.monotonic()
        if (known := self._found.get(name)) and now_s - known[0] < REMEMBERED_S:
            return known[1]
        found = await look_up()
        # As of the moment before it was looked up.
        self._found[name] = now_s, found
        self._found.move_to_end(name)
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return found

    def correct(self, name: str, found: _Found, corrected: _Found) -> None:
        """Changes what is remembered, for no longer than it was to be; what was looked up anew meanwhile stays."""
        if (known := self._found.get(name)) and known[1] is found:
            self._found[name] = known[0], corrected


def _refusal(key: KnownKey, now: datetime) -> Unauthenticated | None:
    if key.revoked_at:
        return Unauthenticated("KEY_REVOKED", "This key was revoked. Use another one.")
    if key.expires_at and key.expires_at <= now:
        return Unauthenticated("KEY_EXPIRED", "This key has expired. Use a newer one.")
    if key.disabled:
        return _disabled()
    return None


def _disabled() -> Unauthenticated:
    return Unauthenticated("USER_DISABLED", "This user is disabled. Ask who runs this system.")
