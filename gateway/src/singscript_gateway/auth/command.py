"""The admin command: `python -m singscript_gateway users|keys ...`. A new system's first key comes from here."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from singscript_core.errors import InvalidInput
from singscript_gateway.auth.model import SCOPES, ApiKey, Scope
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import make_pool
from singscript_gateway.quotas.model import NO_LIMITS, Limits
from singscript_gateway.quotas.store import QuotaStore

_PAGE = 500
_DEFAULT = "default"


class LimitInvalid(InvalidInput):
    """A limit that cannot be."""

    reason = "LIMIT_INVALID"

    def __init__(self, error: ValidationError) -> None:
        first = error.errors()[0]
        super().__init__(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}.")


def add_arguments(processes: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `users` and `keys`, with what they can do as `do`."""
    users = processes.add_parser("users", help="who may use the system").add_subparsers(dest="do", required=True)
    add = users.add_parser("add", help="a new user, who has no key yet")
    add.add_argument("id", help="lower-case letters, digits and hyphens")
    add.add_argument("--name", help="for display; left out: the id")
    users.add_parser("list", help="all of them, newest first")
    users.add_parser("disable", help="their keys stop within seconds; what they have stays").add_argument("id")
    users.add_parser("enable", help="undoes `disable`").add_argument("id")

    quota = users.add_parser("quota", help="sets how much a user may use, and prints it")
    quota.add_argument("id")
    # What is not named stays.
    _add_limits(quota, "A number, `none` for no limit, `default` for what the settings say.")

    keys = processes.add_parser("keys", help="what users sign in with").add_subparsers(dest="do", required=True)
    create = keys.add_parser("create", help="prints a new key, once")
    create.add_argument("user")
    create.add_argument("--name", default="", help="what it is for")
    create.add_argument(
        "--scope", action="append", choices=SCOPES, help="more than once for several; left out: all but admin"
    )
    create.add_argument("--days", type=_days, help="how long it is good for; left out: until it is revoked")
    _add_limits(create, "Of this key, besides its user's; needs --scope: a key that may make others can have none.")
    keys.add_parser("list", help="all of a user's, newest first").add_argument("user")
    rotate = keys.add_parser("rotate", help="prints a new key like this one, which then ends")
    rotate.add_argument("key", help="its id: what stands between the underscores")
    rotate.add_argument("--overlap-hours", type=_hours, default=24.0, help="how long this one still works")
    keys.add_parser("revoke", help="the key stops within seconds").add_argument("key", help="its id")


async def run(arguments: argparse.Namespace, database_url: str) -> None:
    """Does what the arguments say: a new key on standard output, what happened on standard error.

    Raises:
        StageError: it cannot be done.
        psycopg.OperationalError: the database is away.
    """
    async with make_pool(database_url, max_size=1) as pool:
        store = AccountStore(pool)
        if arguments.do == "quota":
            await _quota(QuotaStore(pool, NO_LIMITS), arguments)
        else:
            await (_users if arguments.process == "users" else _keys)(store, arguments)


async def _quota(store: QuotaStore, arguments: argparse.Namespace) -> None:
    limits = await store.limits_of_user(arguments.id)
    asked = _changed(limits, arguments)
    if asked != limits:
        limits = asked
        await store.limit_user(arguments.id, limits, by=None)
        _say(f"The limits of {arguments.id} hold within 5 seconds.")
    for name, limit in limits.model_dump().items():
        _row(name, "default" if limit is None else f"{limit:.15g}" if limit else "none")


async def _users(store: AccountStore, arguments: argparse.Namespace) -> None:
    match arguments.do:
        case "add":
            user = await store.add_user(arguments.id, arguments.name or arguments.id, by=None)
            _say(f"There is a user {user.id} now. A key: python -m singscript_gateway keys create {user.id}")
        case "list":
            before = None
            while page := await store.list_users(before=before, limit=_PAGE):
                for user in page:
                    state = "disabled" if user.disabled_at else "active"
                    _row(user.id, state, _time(user.created_at), user.name)
                before = page[-1].number
        case do:
            user = await store.change_user(arguments.id, by=None, disabled=do == "disable")
            _say(f"The user {user.id} is {'disabled' if user.disabled_at else 'enabled'}.")


async def _keys(store: AccountStore, arguments: argparse.Namespace) -> None:
    match arguments.do:
        case "create":
            scopes: list[Scope] = arguments.scope or [scope for scope in SCOPES if scope != "admin"]
            expires_at = datetime.now(UTC) + timedelta(days=arguments.days) if arguments.days is not None else None
            quotas = _changed(NO_LIMITS, arguments)
            key, text = await store.add_key(arguments.user, arguments.name, scopes, expires_at, by=None, quotas=quotas)
            _show(key, text)
        case "list":
            await store.user(arguments.user)
            before = None
            while page := await store.list_keys(arguments.user, before=before, limit=_PAGE):
                for key in page:
                    good_for = ",".join(key.scopes)
                    _row(key.id, _state(key), _time(key.created_at), _time(key.last_used_at), good_for, key.name)
                before = page[-1].number
        case "rotate":
            owner = await store.owner_of_key(arguments.key)
            key, text = await store.rotate_key(arguments.key, owner, arguments.overlap_hours * 3600, by=None)
            _say(f"The key {arguments.key} still works for {arguments.overlap_hours:g} hours at most.")
            _show(key, text)
        case _:
            await store.revoke_key(arguments.key, await store.owner_of_key(arguments.key), by=None)
            _say(f"The key {arguments.key} is revoked, and stops within 5 seconds.")


def _show(key: ApiKey, text: str) -> None:
    until = f"until {_time(key.expires_at)}" if key.expires_at else "until it is revoked"
    _say(f"A key of {key.owner}, good for {', '.join(key.scopes)}, {until}. It is not shown again:")
    print(text)


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= datetime.now(UTC) else "active"


def _time(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else "never"


def _row(*fields: str) -> None:
    print("\t".join(fields))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _add_limits(parser: argparse.ArgumentParser, what: str) -> None:
    for name, field in Limits.model_fields.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", metavar="LIMIT", type=_limit, help=f"{field.description} {what}"
        )


def _changed(limits: Limits, arguments: argparse.Namespace) -> Limits:
    """`limits`, with those that are named; raises LimitInvalid."""
    asked = {name: getattr(arguments, name) for name in Limits.model_fields if getattr(arguments, name) is not None}
    asked = {name: None if limit == _DEFAULT else limit for name, limit in asked.items()}
    try:
        return Limits.model_validate(limits.model_dump() | asked)
    except ValidationError as error:
        raise LimitInvalid(error) from None


def _limit(text: str) -> float | str:
    """What is no number is refused together with numbers that no limit can be."""
    try:
        return float({"none": "0"}.get(text, text))
    except ValueError:
        return text


def _days(text: str) -> float:
    return _number(text, 3660)


def _hours(text: str) -> float:
    return _number(text, 720)


def _number(text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {most:g}")
    return number
