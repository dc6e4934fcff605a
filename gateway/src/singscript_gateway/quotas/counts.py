"""Counting what is used, and refusing what would be too much: inside the transaction that lets it in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from singscript_gateway.auth import audit
from singscript_gateway.database import Connection
from singscript_gateway.jobs.sql import load
from singscript_gateway.jobs.states import ACTIVE
from singscript_gateway.quotas.model import (
    ACTIVE_RETRY_S,
    DAY_S,
    Account,
    Limits,
    QuotaExceeded,
    UploadAboveQuota,
    Used,
    may_cost,
    next_month,
)

SQL = load("singscript_gateway.quotas")
MINUTE_S = 60.0


async def accounts_of(connection: Connection, owner: str, key_id: str | None, defaults: Limits) -> list[Account]:
    """Whose limits hold for what `owner` does with the key: the user's, and those of the key if there is one."""
    row = await _one(connection, "get_limits", owner=owner, key_id=key_id)
    accounts = [Account(owner, None, Limits.model_validate(row["of_user"] or {}).over(defaults))]
    if row["line"]:
        accounts.append(Account(owner, row["line"], Limits.model_validate(row["of_key"])))
    return accounts


async def admit_job(
    connection: Connection,
    defaults: Limits,
    owner: str,
    job_id: UUID,
    transcriber_engines: list[str],
    upload_bytes: int = 0,
) -> str | None:
    """Lets the owner of the request that is answered begin a job, or one again; until the end of the transaction no
    other one of theirs is let in.

    Args:
        transcriber_engines: that the job names.
        upload_bytes: of the file that was sent with it.

    Returns: the line of the key, to be kept with the job.

    Raises:
        QuotaExceeded, UploadAboveQuota.
    """
    accounts = await accounts_of(connection, owner, audit.key_id.get(), defaults)
    await _hold(connection, accounts)
    for account in accounts:
        await _check_active(connection, account, job_id)
        await _check_minutes(connection, account)
        if may_cost(transcriber_engines):
            await _check_spend(connection, account)
    return await _take_upload(connection, accounts, job_id, upload_bytes)


async def admit_upload(connection: Connection, defaults: Limits, owner: str, upload_id: UUID, size_bytes: int) -> None:
    """Lets the owner of the request that is answered send a file. Raises QuotaExceeded, UploadAboveQuota."""
    accounts = await accounts_of(connection, owner, audit.key_id.get(), defaults)
    await _hold(connection, accounts)
    await _take_upload(connection, accounts, upload_id, size_bytes)


async def check_upload(connection: Connection, defaults: Limits, owner: str, size_bytes: int) -> None:
    """Before a file is read that has about this size, or more. Raises QuotaExceeded, UploadAboveQuota."""
    for account in await accounts_of(connection, owner, audit.key_id.get(), defaults):
        await _check_bytes(connection, account, size_bytes)


async def take_request(connection: Connection, account: Account) -> None:
    """Counts a request; raises QuotaExceeded."""
    limit = account.limits.of("requests_per_minute")
    if limit is None:
        return
    step_s = MINUTE_S / limit
    parameters = {"meter": account.meter, "step_s": step_s}
    if await (await connection.execute(SQL["take_request"], parameters)).fetchone():
        return
    row = await _one(connection, "get_meter", meter=account.meter)
    message = f"That were more requests than {limit:g} in a minute. Send them more slowly."
    # As the statement has it.
    retry_after_s = row["until_full_s"] - (MINUTE_S - step_s / 2)
    raise QuotaExceeded("requests_per_minute", account, limit, message, retry_after_s)


async def used_by(connection: Connection, account: Account) -> Used:
    """What was used until now."""
    requests = 0
    if limit := account.limits.of("requests_per_minute"):
        row = await (await connection.execute(SQL["get_meter"], {"meter": account.meter})).fetchone()
        requests = min(round((row["until_full_s"] if row else 0) * limit / MINUTE_S), int(limit))
    return Used(
        requests_per_minute=requests,
        active_jobs=await _active(connection, account, uuid4()),
        audio_minutes_per_day=round(await _sum(connection, account, "audio") / 60, 3),
        upload_bytes_per_day=int(await _sum(connection, account, "upload")),
        spend_usd_per_month=round(await _spent(connection, account), 6),
    )


async def _hold(connection: Connection, accounts: list[Account]) -> None:
    # Without limits nobody waits for anybody.
    if any(account.limits.any for account in accounts):
        await connection.execute(SQL["hold_owner"], {"owner": accounts[0].owner})


async def _check_active(connection: Connection, account: Account, beside: UUID) -> None:
    limit = account.limits.of("active_jobs")
    if limit is None or (used := await _active(connection, account, beside)) < limit:
        return
    message = (
        f"{used} jobs are queued or run, and no more than {limit:g} may at once. "
        "Wait until one has ended, or cancel one."
    )
    raise QuotaExceeded("active_jobs", account, used, message, ACTIVE_RETRY_S)


async def _check_minutes(connection: Connection, account: Account) -> None:
    limit = account.limits.of("audio_minutes_per_day")
    if limit is None or (used := await _sum(connection, account, "audio") / 60) < limit:
        return
    message = (
        f"The jobs of the last 24 hours had {used:.1f} minutes of sound, and {limit:g} are allowed. Wait until some of "
        "them are longer ago."
    )
    # Once there is any room.
    wait_s = await _room_after(connection, account, "audio", most=max(0.0, limit * 60 - 1e-3))
    raise QuotaExceeded("audio_minutes_per_day", account, round(used, 3), message, wait_s)


async def _check_spend(connection: Connection, account: Account) -> None:
    limit = account.limits.of("spend_usd_per_month")
    if limit is None or (used := await _spent(connection, account)) < limit:
        return
    message = (
        f"Engines that are paid for have cost {used:.2f} USD this month, and {limit:g} are allowed. Name "
        "transcriber_engines that cost nothing, or wait for the next month."
    )
    now = datetime.now(UTC)
    wait_s = (next_month(now) - now).total_seconds()
    raise QuotaExceeded("spend_usd_per_month", account, round(used, 6), message, wait_s)


async def _check_bytes(connection: Connection, account: Account, size_bytes: int) -> None:
    limit = account.limits.of("upload_bytes_per_day")
    if limit is None:
        return
    if size_bytes > limit:
        raise UploadAboveQuota(int(limit))
    used = await _sum(connection, account, "upload")
    if used + size_bytes <= limit:
        return
    message = (
        f"{int(used)} bytes were sent in the last 24 hours, and {int(limit)} are allowed. Wait until some of them are "
        "longer ago."
    )
    wait_s = await _room_after(connection, account, "upload", most=limit - size_bytes)
    raise QuotaExceeded("upload_bytes_per_day", account, int(used), message, wait_s)


async def _take_upload(connection: Connection, accounts: list[Account], upload_id: UUID, size_bytes: int) -> str | None:
    key_line = accounts[-1].key_line
    if size_bytes:
        for account in accounts:
            await _check_bytes(connection, account, size_bytes)
        facts = {"id": upload_id, "owner": accounts[0].owner, "key_line": key_line, "size_bytes": size_bytes}
        await connection.execute(SQL["note_upload"], facts)
    return key_line


async def _active(connection: Connection, account: Account, beside: UUID) -> int:
    parameters = {"owner": account.owner, "key_line": account.key_line, "active": ACTIVE, "beside": beside}
    return (await _one(connection, "count_active", **parameters))["used"]


async def _sum(connection: Connection, account: Account, kind: str) -> float:
    parameters = {"owner": account.owner, "key_line": account.key_line, "kind": kind, "window_s": DAY_S}
    return (await _one(connection, "sum_uses", **parameters))["used"]


async def _spent(connection: Connection, account: Account) -> float:
    return (await _one(connection, "sum_spend", owner=account.owner, key_line=account.key_line))["used"]


async def _room_after(connection: Connection, account: Account, kind: str, most: float) -> float:
    parameters = {"owner": account.owner, "key_line": account.key_line, "kind": kind, "window_s": DAY_S, "most": most}
    return (await _one(connection, "room_after", **parameters))["wait_s"]


async def _one(connection: Connection, name: str, /, **parameters: object) -> dict[str, Any]:
    row = await (await connection.execute(SQL[name], parameters)).fetchone()
    assert row is not None, name
    return row
