"""What is asked of the services for a job. Pure: no clock, no database, no network."""

from __future__ import annotations

from pathlib import PurePath

from singscript.aligner.v1 import aligner_pb2
from singscript.downloader.v1 import downloader_pb2
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_gateway.jobs.model import JobRequest
from singscript_gateway.jobs.subtitles import format_of, options_of

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


def plan(request: JobRequest) -> aligner_pb2.AlignRequest:
    """The whole chain in one call: align what is transcribed of what is separated of what is downloaded."""
    if request.upload:
        stored = media_pb2.StoredObject(key=request.upload.key)
        title = request.title or PurePath(request.upload.file_name).stem
        source = downloader_pb2.DownloadRequest(object=stored, title=title)
    else:
        source = downloader_pb2.DownloadRequest(url=request.url or "", title=request.title or "")
    separate = separator_pb2.SeparateConfig(
        download=source,
        engines=request.separator_engines,
        model=request.separator_model or "",
        stems=[media_pb2.STEM_VOCALS],
        split=_SPLITS[request.stems],
        format=_FORMATS[request.stem_format],
    )
    transcribe = transcriber_pb2.TranscribeConfig(
        separate=separate,
        engines=request.transcriber_engines,
        model=request.transcriber_model or "",
        language=request.language or "",
        echo_audio=True,
        task=_TASKS[request.task],
        initial_prompt=request.prompt,
        hot_words=request.hot_words,
        listen=_LISTEN[request.listen],
    )
    align = aligner_pb2.AlignConfig(
        transcribe=transcribe,
        lyrics=request.lyrics,
        language=request.language or "",
        engines=request.aligner_engines,
        formats=[format_of(name) for name in request.formats],
        render=options_of(request.karaoke),
    )
    if request.lookup:
        align.lookup.CopyFrom(aligner_pb2.LyricsLookup(artist=request.lookup.artist, title=request.lookup.title))
    return aligner_pb2.AlignRequest(config=align)
