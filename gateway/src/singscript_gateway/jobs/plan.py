"""What is asked of the services for a job. Pure: no clock, no database, no network."""

from __future__ import annotations

from typing import Any

from singscript.aligner.v1 import aligner_pb2
from singscript.downloader.v1 import downloader_pb2
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_gateway.jobs.model import JobRequest, Kept, Separated
from singscript_gateway.jobs.subtitles import format_of, options_of
from singscript_serving.events import duration

_STAGES = {"download": media_pb2.STAGE_DOWNLOAD, "separate": media_pb2.STAGE_SEPARATE}
_SPLITS = {"vocals": separator_pb2.SPLIT_VOCALS, "all": separator_pb2.SPLIT_ALL}
_TASKS = {"transcribe": transcriber_pb2.TASK_TRANSCRIBE, "translate": transcriber_pb2.TASK_TRANSLATE}
_LISTEN = {
    "auto": transcriber_pb2.LISTEN_AUTO,
    "vocals": transcriber_pb2.LISTEN_VOCALS,
    "mix": transcriber_pb2.LISTEN_MIX,
}
_FORMATS = {
    None: separator_pb2.STEM_FORMAT_UNSPECIFIED,
    "flac": separator_pb2.STEM_FORMAT_FLAC,
    "wav": separator_pb2.STEM_FORMAT_WAV,
    "mp3": separator_pb2.STEM_FORMAT_MP3,
    "opus": separator_pb2.STEM_FORMAT_OPUS,
}


def plan(request: JobRequest, kept: Kept | None = None) -> aligner_pb2.AlignRequest:
    """The whole chain in one call: align what is transcribed of what is separated of what is downloaded.

    With stems that are kept: align what is transcribed of these. Parts that are kept go along.
    """
    kept = kept or Kept()
    transcribe = transcriber_pb2.TranscribeConfig(
        engines=request.transcriber_engines,
        model=request.transcriber_model or "",
        language=request.language or "",
        echo_audio=True,
        task=_TASKS[request.task],
        initial_prompt=request.prompt,
        hot_words=request.hot_words,
        listen=_LISTEN[request.listen],
        keep_parts=True,
        parts=_objects(kept, "transcribe"),
        recheck_engines=kept.words_of_another_job,
    )
    if kept.separated:
        transcribe.stems.CopyFrom(_stored(kept.separated))
    else:
        transcribe.separate.CopyFrom(_separate(request, kept))
    align = aligner_pb2.AlignConfig(
        transcribe=transcribe,
        lyrics=request.lyrics,
        language=request.language or "",
        engines=request.aligner_engines,
        formats=[format_of(name) for name in request.formats],
        render=options_of(request.karaoke),
        keep_parts=True,
        parts=_objects(kept, "align"),
    )
    if request.lookup:
        align.lookup.CopyFrom(aligner_pb2.LyricsLookup(artist=request.lookup.artist, title=request.lookup.title))
    return aligner_pb2.AlignRequest(config=align)


def _separate(request: JobRequest, kept: Kept) -> separator_pb2.SeparateConfig:
    source = downloader_pb2.DownloadRequest(title=request.given_title)
    if request.upload:
        source.object.key = request.upload.key
    elif kept.original:
        source.object.key = kept.original.key
        if kept.media:
            source.media.CopyFrom(_media(kept.media))
    else:
        source.url = request.url or ""
    return separator_pb2.SeparateConfig(
        download=source,
        engines=request.separator_engines,
        model=request.separator_model or "",
        stems=[media_pb2.STEM_VOCALS],
        split=_SPLITS[request.stems],
        format=_FORMATS[request.stem_format],
        keep_parts=True,
        parts=_objects(kept, "separate"),
    )


def _stored(separated: Separated) -> transcriber_pb2.StoredStems:
    """The stems, and what to say of the stages before: their engines and warnings go into words.json, too."""
    stems = transcriber_pb2.StoredStems()
    for stem in separated.stems:
        stored = media_pb2.StoredObject(key=stem.key)
        if stem.name.startswith("vocals."):
            stems.vocals.CopyFrom(stored)
        else:
            stems.rest.append(stored)
    if media := separated.media:
        stems.media.CopyFrom(_media(media))
    for stage in separated.stages:
        if stage.engine:
            chosen = media_pb2.EngineChosen(engine=stage.engine, model=stage.model or "", device=stage.device or "")
            stems.events.append(media_pb2.StageEvent(stage=_STAGES[stage.stage], engine=chosen))
    for warning in separated.warnings:
        said = media_pb2.Warning(reason=warning["reason"], message=warning["message"])
        stems.events.append(media_pb2.StageEvent(stage=_STAGES[warning["stage"]], warning=said))
    return stems


def _media(media: dict[str, Any]) -> media_pb2.MediaInfo:
    return media_pb2.MediaInfo(
        title=media["title"],
        artist=media["artist"],
        duration=None if media["duration_s"] is None else duration(media["duration_s"]),
        webpage_url=media["webpage_url"],
        format=media["format"],
    )


def _objects(kept: Kept, stage: str) -> list[media_pb2.StoredObject]:
    return [media_pb2.StoredObject(key=key) for key in kept.parts.get(stage, [])]
