"""What is kept of a job's work, and of the same work of other jobs, so that nothing is computed twice.

An attempt goes on from the deepest that is stored: all stems of a separation, else the parts of one; the parts of a
transcription, and that of an alignment; the original behind a link. Results of the owner's other jobs (with
`Transaction.shared` everybody's) are used where sound and parameters are the same; while another job computes just
these, a job waits for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from singscript_gateway.jobs.model import (
    PARTED,
    STAGES,
    STAGES_OF_STEMS,
    Artifact,
    Job,
    JobRequest,
    Kept,
    Separated,
    Stage,
)
from singscript_gateway.jobs.states import StageState
from singscript_gateway.jobs.transaction import Transaction, read_job
from singscript_gateway.jobs.updates import Update
from singscript_storage import artifact_key

_SEPARATE = ("separator_engines", "separator_model", "stems", "stem_format")
_TRANSCRIBE = ("transcriber_engines", "transcriber_model", "language", "task", "prompt", "hot_words", "listen")
_ALIGN = ("aligner_engines", "lyrics", "lookup")
# Whose parts serve other jobs, too.
_SHARED = ("transcribe", "align")


def content_of(sha256: str) -> str:
    """What stands for a sound, wherever it came from: the key that it has as an upload."""
    return artifact_key("upload", {}, sha256, "original")


def work_keys(source: str, request: JobRequest) -> dict[str, str]:
    """What each stage has to do, as a digest: equal work on an equal source has an equal key."""
    separate = {"source": source} | request.model_dump(mode="json", include=set(_SEPARATE))
    transcribe = separate | request.model_dump(mode="json", include=set(_TRANSCRIBE))
    align = transcribe | request.model_dump(mode="json", include=set(_ALIGN))
    asked = {"separate": separate, "transcribe": transcribe, "align": align}
    return {stage: _digest(stage, asked[stage]) for stage in asked}


def _digest(stage: str, asked: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps([stage, asked], sort_keys=True).encode()).hexdigest()


def work_of(request: JobRequest, source: str) -> dict[str, list[str]]:
    """What a job is about to do with the source: a link, or the content of a sound. Nothing, where all is done anew."""
    keys = work_keys(source, request) if request.reuse else {}
    return {"stages": list(keys), "keys": list(keys.values())}


async def find(tx: Transaction, job: Job) -> Kept:
    """What the newest attempt can go on from, of its own job's work and of that of others."""
    original = await tx.first("get_original", id=job.id) if job.request.url else None
    kept = Kept(
        original=Artifact.model_validate(original) if original else None,
        media=job.media,
        separated=await own_separation(tx, job, before=job.attempt),
        parts={stage: await _parts(tx, job, stage) for stage in PARTED},
    )
    if job.request.upload:
        content = job.request.upload.key
    elif kept.original:
        content = content_of(kept.original.sha256)
    else:
        return kept
    return await _with_others(tx, job, kept, work_keys(content, job.request))


async def same_work_under_way(tx: Transaction, job: Job) -> bool:
    """Once an attempt has got its original: whether another job is doing the same just now. Notes what the job does."""
    original = await tx.one("get_original", id=job.id)
    content = content_of(original["sha256"])
    # Of two that come here at once the second one sees the first.
    await tx.run("hold_work", keys=list(work_keys(content, job.request).values()))
    await tx.run("add_work", id=job.id, **work_of(job.request, content))
    return (await tx.one("same_work", id=job.id, shared=tx.shared))["under_way"]


async def look_elsewhere(tx: Transaction, job: Job) -> Kept | None:
    """As `find`, in the middle of an attempt that has just got its original; None where nothing was done elsewhere."""
    own = {stage: await _parts(tx, job, stage) for stage in _SHARED}
    kept = await find(tx, job)
    if kept.separated:
        # The download is this job's own.
        await tx.move_stages(job, ["download"], StageState.SUCCEEDED)
        downloaded = await _separated(tx, job, job.attempt)
        theirs = [stage for stage in kept.separated.stages if stage.stage == "separate"]
        ours = [stage for stage in downloaded.stages if stage.stage == "download"]
        warnings = [w for w in kept.separated.warnings if w["stage"] == "separate"]
        await take_over(tx, job, kept.separated.model_copy(update={"stages": theirs, "warnings": warnings}))
        said = {"stages": ours + theirs, "warnings": downloaded.warnings + warnings}
        return kept.model_copy(update={"separated": kept.separated.model_copy(update=said)})
    return kept if any(kept.parts[stage] != own[stage] for stage in _SHARED) else None


async def take_over(tx: Transaction, job: Job, separated: Separated) -> None:
    """Makes a separation that was done before that of the newest attempt: its stems, and all that was said of it."""
    told: list[Update] = []
    if separated.media and separated.media != job.media:
        await tx.run("set_media", id=job.id, media=Jsonb(separated.media))
        told.append(Update("media", separated.media))
    for stage in separated.stages:
        chosen = {"engine": stage.engine, "model": stage.model, "device": stage.device}
        await tx.run("reuse_stage", id=job.id, attempt=job.attempt, stage=stage.stage, **chosen)
        if stage.engine:
            told.append(Update("engine", {"stage": stage.stage, **chosen}))
    told += [Update("warning", warning) for warning in separated.warnings]
    if separated.of_another_job:
        for stem in separated.stems:
            await tx.share(stem.key)
            levels = Jsonb(stem.levels.model_dump()) if stem.levels else None
            await tx.run("put_artifact", id=job.id, attempt=job.attempt, **stem.model_dump() | {"levels": levels})
            told.append(Update("artifact", stem.model_dump()))
    else:
        await tx.run("pass_on_artifacts", id=job.id, attempt=job.attempt, stages=list(STAGES_OF_STEMS))
    await tx.move_stages(job, [stage.stage for stage in separated.stages], StageState.SKIPPED)
    if told:
        await tx.append(job.id, *told)


async def forget(tx: Transaction, job: Job) -> None:
    """After some of it could not be read: the next attempt starts at the beginning, and no other job comes upon it."""
    await tx.run("forget_artifacts", id=job.id, stages=list(STAGES_OF_STEMS))
    await tx.run("forget_work", id=job.id)
    for stage in PARTED:
        await tx.run("drop_parts", id=job.id, stage=stage, number=0)


async def put_part(tx: Transaction, job: Job, part: dict[str, Any]) -> None:
    """One more stretch of a stage's work. Those behind it were of an earlier attempt, and did not fit."""
    await tx.run("drop_parts", id=job.id, stage=part["stage"], number=part["number"])
    await tx.run("put_part", id=job.id, **part)


async def _with_others(tx: Transaction, job: Job, kept: Kept, keys: dict[str, str]) -> Kept:
    """Adds what other jobs have done of the same work, where this one has done none of it."""
    if not job.request.reuse:
        return kept
    for stage in _SHARED:
        if kept.parts[stage]:
            continue
        source = await tx.first("parts_elsewhere", stage=stage, key=keys[stage], **_others(tx, job))
        if source:
            await tx.run("share_parts", source=source["id"], stage=stage)
            await tx.run("copy_parts", id=job.id, source=source["id"], stage=stage)
            parts = kept.parts | {stage: await _parts(tx, job, stage)}
            theirs = kept.words_of_another_job or stage == "transcribe"
            kept = kept.model_copy(update={"parts": parts, "words_of_another_job": theirs})
    if not kept.separated:
        kept = kept.model_copy(update={"separated": await _separation_elsewhere(tx, job, keys["separate"])})
    return kept


def _others(tx: Transaction, job: Job) -> dict[str, object]:
    """Whose results may be used: those of the other jobs of the same owner, or of everybody."""
    return {"id": job.id, "owner": job.owner, "shared": tx.shared}


async def _parts(tx: Transaction, job: Job, stage: str) -> list[str]:
    """Up to the first that is not there."""
    rows = await tx.all("get_parts", id=job.id, stage=stage)
    return [row["key"] for place, row in enumerate(rows) if row["number"] == place]


async def own_separation(tx: Transaction, job: Job, *, before: int) -> Separated | None:
    """The stems of the job that its attempt number `before` can go on from."""
    row = await tx.first("last_separation", id=job.id, attempt=before)
    if row is None:
        return None
    found = await _separated(tx, job, row["attempt"])
    return found if found.suffices(job.request) else None


async def _separation_elsewhere(tx: Transaction, job: Job, key: str) -> Separated | None:
    for row in await tx.all("separations_elsewhere", key=key, **_others(tx, job)):
        other = read_job(row)
        found = await _separated(tx, other, row["done_by"])
        if found.suffices(job.request):
            media = job.media or _retitled(found.media, other.request, job.request)
            return found.model_copy(update={"of_another_job": True, "media": media})
    return None


async def _separated(tx: Transaction, job: Job, attempt: int) -> Separated:
    stages = await tx.all("get_stages", id=job.id, attempt=attempt)
    warnings = await tx.all("get_warnings", id=job.id, attempt=attempt)
    return Separated(
        stems=[Artifact.model_validate(s) for s in await tx.all("get_stems", id=job.id, attempt=attempt)],
        media=job.media,
        stages=[Stage.model_validate(s) for s in stages if s["stage"] in STAGES_OF_STEMS],
        warnings=[w["data"] for w in warnings if w["data"]["stage"] in STAGES_OF_STEMS],
    )


def _retitled(media: dict[str, Any] | None, theirs: JobRequest, ours: JobRequest) -> dict[str, Any] | None:
    """What is known of the sound, under the name that this job gives it where it has none of its own."""
    if media and media["title"] == theirs.given_title:
        return media | {"title": ours.given_title}
    return media


async def make_due(tx: Transaction, job: Job, delay_s: float = 0.0) -> None:
    """To be done with every job that becomes queued: dispatchers are told when this is committed."""
    separated = await own_separation(tx, job, before=job.attempt + 1)
    begins_at = STAGES[len(STAGES_OF_STEMS)] if separated else STAGES[0]
    await tx.run("make_due", id=job.id, delay_s=delay_s, begins_at=begins_at)
