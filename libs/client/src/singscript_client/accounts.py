"""Keys, users, and one's own webhook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from singscript_client.connection import Connection, in_path, shaped
from singscript_client.shapes import AccountWebhook, CreatedKey, Delivery, Key, Limits, SetWebhook, User

Scope = Literal["jobs:read", "jobs:write", "account", "admin"]


class Keys:
    """One's own keys; needs the scope `account`. Methods raise ApiError and Unreachable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        scopes: Sequence[Scope],
        *,
        name: str = "",
        expires_at: datetime | None = None,
        quotas: Limits | None = None,
    ) -> CreatedKey:
        """A key that may do what this one may, or less, and ends with it or before."""
        order = _new_key(scopes, name, expires_at, quotas)
        return shaped(CreatedKey, self._connection.send("POST", in_path("keys"), json=order))

    def list(self) -> Iterator[Key]:
        """Newest first, also those that have ended."""
        return self._connection.pages(in_path("keys"), "keys", Key)

    def get(self, key_id: str) -> Key:
        return shaped(Key, self._connection.send("GET", in_path("keys", key_id)))

    def change(self, key_id: str, *, name: str | None = None, quotas: Limits | None = None) -> Key:
        """Renames or limits it; None: as it was. Of limits all are set: None in one of them removes it."""
        change = {"name": name, "quotas": quotas and _limits(quotas)}
        return shaped(Key, self._connection.send("PATCH", in_path("keys", key_id), json=_given(change)))

    def rotate(self, key_id: str, *, overlap_s: float | None = None) -> CreatedKey:
        """A new key in its place; the old one works on for `overlap_s`, by default a day."""
        path = in_path("keys", key_id, "rotate")
        return shaped(CreatedKey, self._connection.send("POST", path, json=_given({"overlap_s": overlap_s})))

    def revoke(self, key_id: str) -> None:
        """It stops within 5 seconds. May be repeated."""
        self._connection.send("DELETE", in_path("keys", key_id))


class Users:
    """Users, their keys and limits; needs the scope `admin`. Methods raise ApiError and Unreachable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, user_id: str, *, name: str | None = None) -> User:
        """They have no key yet."""
        order = _given({"id": user_id, "name": name})
        return shaped(User, self._connection.send("POST", in_path("users"), json=order))

    def list(self) -> Iterator[User]:
        """Newest first, also those who are disabled."""
        return self._connection.pages(in_path("users"), "users", User)

    def get(self, user_id: str) -> User:
        return shaped(User, self._connection.send("GET", in_path("users", user_id)))

    def change(self, user_id: str, *, name: str | None = None, disabled: bool | None = None) -> User:
        """None: as it was. The keys of a user who is disabled stop within 5 seconds."""
        change = _given({"name": name, "disabled": disabled})
        return shaped(User, self._connection.send("PATCH", in_path("users", user_id), json=change))

    def quotas(self, user_id: str) -> Limits:
        """Their own limits; None: as the settings say."""
        return shaped(Limits, self._connection.send("GET", in_path("users", user_id, "quotas")))

    def limit(self, user_id: str, limits: Limits) -> Limits:
        """Sets all of their own limits."""
        path = in_path("users", user_id, "quotas")
        return shaped(Limits, self._connection.send("PUT", path, json=_limits(limits)))

    def create_key(
        self,
        user_id: str,
        scopes: Sequence[Scope],
        *,
        name: str = "",
        expires_at: datetime | None = None,
        quotas: Limits | None = None,
    ) -> CreatedKey:
        """A key of theirs, which may do no more than this one."""
        order = _new_key(scopes, name, expires_at, quotas)
        return shaped(CreatedKey, self._connection.send("POST", in_path("users", user_id, "keys"), json=order))

    def list_keys(self, user_id: str) -> Iterator[Key]:
        """Newest first, also those that have ended."""
        return self._connection.pages(in_path("users", user_id, "keys"), "keys", Key)

    def revoke_key(self, user_id: str, key_id: str) -> None:
        """It stops within 5 seconds. May be repeated."""
        self._connection.send("DELETE", in_path("users", user_id, "keys", key_id))


class Webhook:
    """One's own webhook, told of every job; needs the scope `account`. Methods raise ApiError and Unreachable, and
    NotFound where there is none.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self) -> AccountWebhook:
        return shaped(AccountWebhook, self._connection.send("GET", in_path("webhook")))

    def set(self, url: str, *, secrets: Sequence[str] | None = None) -> SetWebhook:
        """In place of the one before. Without `secrets` the answer has the one that was made, this once."""
        order = _given({"url": url, "secrets": secrets and list(secrets)})
        return shaped(SetWebhook, self._connection.send("PUT", in_path("webhook"), json=order))

    def delete(self) -> None:
        """With the list of what it was told."""
        self._connection.send("DELETE", in_path("webhook"))

    def test(self) -> Delivery:
        """Has it sent `webhook.test`, once; `deliveries` has what came of it."""
        return shaped(Delivery, self._connection.send("POST", in_path("webhook", "test")))

    def deliveries(self) -> Iterator[Delivery]:
        """What it was told, and is to be, newest first."""
        return self._connection.pages(in_path("webhook", "deliveries"), "deliveries", Delivery)


def _new_key(scopes: Sequence[Scope], name: str, expires_at: datetime | None, quotas: Limits | None) -> dict[str, Any]:
    return _given(
        {
            "name": name,
            "scopes": list(scopes),
            "expires_at": expires_at and expires_at.isoformat(),
            "quotas": quotas and _limits(quotas),
        }
    )


def _limits(limits: Limits) -> dict[str, Any]:
    return limits.model_dump(exclude_none=True)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
