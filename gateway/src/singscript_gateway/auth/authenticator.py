"""Who sends a request: judged by its `Authorization`, the same for REST and gRPC."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta

from singscript_core.errors import Rejected
from singscript_gateway.auth.keys import digest, id_of
from singscript_gateway.auth.model import LOCAL, KnownKey, Principal
from singscript_gateway.auth.store import USED_EVERY_S, AccountStore

# A revoked key works for this long at most.
REMEMBERED_S = 4.0
# Keys that were looked up last, unknown ones included.
_REMEMBERED = 10_000
# No key and no token is longer.
_MAX_CHARS = 8192
_NOBODY = bytes(32)


class Unauthenticated(Rejected):
    """It is not known who asks, or whoever it is may not."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ScopeMissing(Rejected):
    """Who asks is known, and may not do this."""

    reason = "SCOPE_MISSING"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope}, which the key does not have.", metadata={"scope": scope})


class Authenticator:
    """Tells who asks. What it found is remembered for a few seconds.

    Args:
        off: everything is one user's, whoever asks.
    """

    def __init__(self, store: AccountStore, *, off: bool) -> None:
        self._store = store
        self._off = off
        self._keys: OrderedDict[str, tuple[float, KnownKey | None]] = OrderedDict()

    async def principal(self, authorization: str | None) -> Principal:
        """Who sent this `Authorization`.

        Raises:
            Unauthenticated: UNAUTHENTICATED; or, where the key is right: KEY_EXPIRED, KEY_REVOKED, USER_DISABLED.
            psycopg.OperationalError: the database is away.
        """
        if self._off:
            return LOCAL
        if authorization is None:
            raise _unknown("Send an API key: `Authorization: Bearer ss_...`.")
        scheme, _, credentials = authorization.strip().partition(" ")
        credentials = credentials.strip()
        if scheme.lower() != "bearer" or not credentials or len(credentials) > _MAX_CHARS:
            raise _unknown("The Authorization is not `Bearer` and an API key.")
        return await self._by_key(credentials)

    async def _by_key(self, text: str) -> Principal:
        key_id = id_of(text)
        if key_id is None:
            raise _unknown("This is no API key of this system.")
        key = await self._known(key_id)
        # Compared also where there is no such key, so that it takes as long.
        right = hmac.compare_digest(digest(text), key.digest if key else _NOBODY)
        if key is None or not right:
            raise _unknown("This is no API key of this system.")
        now = datetime.now(UTC)
        if refusal := _refusal(key, now):
            await self._store.key_refused(key)
            raise refusal
        if key.last_used_at is None or now - key.last_used_at > timedelta(seconds=USED_EVERY_S):
            await self._store.key_used(key.id)
            if remembered := self._keys.get(key.id):
                self._keys[key.id] = remembered[0], key.model_copy(update={"last_used_at": now})
        return Principal(key.owner, key.id, key.scopes, key.expires_at)

    async def _known(self, key_id: str) -> KnownKey | None:
        now_s = time.monotonic()
        looked_up_s, key = self._keys.get(key_id, (-REMEMBERED_S, None))
        if now_s - looked_up_s < REMEMBERED_S:
            return key
        key = await self._store.known_key(key_id)
        # As of the moment before it was looked up.
        self._keys[key_id] = now_s, key
        self._keys.move_to_end(key_id)
        if len(self._keys) > _REMEMBERED:
            self._keys.popitem(last=False)
        return key


def _refusal(key: KnownKey, now: datetime) -> Unauthenticated | None:
    if key.revoked_at:
        return Unauthenticated("KEY_REVOKED", "This key was revoked. Use another one.")
    if key.expires_at and key.expires_at <= now:
        return Unauthenticated("KEY_EXPIRED", "This key has expired. Use a newer one.")
    if key.disabled:
        return Unauthenticated("USER_DISABLED", "The user of this key is disabled. Ask who runs this system.")
    return None


def _unknown(message: str) -> Unauthenticated:
    return Unauthenticated("UNAUTHENTICATED", message)
