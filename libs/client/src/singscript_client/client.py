"""The client of one gateway."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from singscript_client.accounts import Keys, Users, Webhook
from singscript_client.connection import Connection, in_path, shaped
from singscript_client.errors import ApiError
from singscript_client.jobs import Jobs
from singscript_client.shapes import Check, Engines, Entry, Me, Quotas, Readiness, Usage
from singscript_client.uploads import Uploads


class Client:
    """Talks to one gateway; threads may share it. Methods raise ApiError and Unreachable.

    Args:
        url: of the gateway, with the path below which a proxy may have it: `https://songs.example.org`.
        api_key: `ss_<id>_<secret>`, or a token. It is sent to this address only, and never shown.
        wait_s: how long a call may wait in all when it is told to come back later (429, 503 with `Retry-After`).
            0: it raises TryLater at once.
        patience_s: for how long what can go on after a lost connection tries to: making a job, watching one, saving
            its files, uploads.

    Attributes:
        jobs, uploads, keys, users, webhook: what there is, by its address.
    """

    def __init__(self, url: str, *, api_key: str | None = None, wait_s: float = 0.0, patience_s: float = 60.0) -> None:
        self._connection = Connection(url, api_key, wait_s, patience_s)
        self.jobs = Jobs(self._connection)
        self.uploads = Uploads(self._connection)
        self.keys = Keys(self._connection)
        self.users = Users(self._connection)
        self.webhook = Webhook(self._connection)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._connection.origin!r})"

    def close(self) -> None:
        """Ends its connections."""
        self._connection.close()

    def me(self) -> Me:
        """Who asks, and what they may do. Needs no scope."""
        return shaped(Me, self._connection.send("GET", in_path("me")))

    def quotas(self) -> Quotas:
        """How much one may use, and has used."""
        return shaped(Quotas, self._connection.send("GET", in_path("quotas")))

    def usage(self, *, since: datetime | None = None, until: datetime | None = None) -> Usage:
        """What engines that are paid for have used, from `since` until before `until`, both with their zones."""
        params = {"since": since and since.isoformat(), "until": until and until.isoformat()}
        return shaped(Usage, self._connection.send("GET", in_path("usage"), params=params))

    def engines(self) -> Engines:
        """The engines and models that a job may name, and what is missing."""
        return shaped(Engines, self._connection.send("GET", in_path("engines")))

    def audit(self, *, user: str | None = None) -> Iterator[Entry]:
        """What one did, newest first. With the scope `admin`: what another user did, or everybody (`*`)."""
        return self._connection.pages(in_path("audit"), "entries", Entry, user=user)

    def alive(self) -> bool:
        """The gateway's process answers; raises Unreachable where it does not."""
        return self._connection.send("GET", "/healthz").is_success

    def readiness(self) -> Readiness:
        """Whether jobs can be taken and worked on, and what is missing for that."""
        try:
            return shaped(Readiness, self._connection.send("GET", "/readyz"))
        except ApiError as error:
            if error.reason != "NOT_READY":
                raise
            checks = {name: Check.model_validate(check) for name, check in error.facts["checks"].items()}
            return Readiness(ready=False, checks=checks)
