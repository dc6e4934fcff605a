"""Runs yt-dlp on one link: `python -m singscript_downloader.engines.fetch`, in a process that is thrown away.

In, one JSON line: link, download (false: only look), allow_hosts, proxy, limit_bytes, limit_s, reserve_bytes.
Out, JSON lines: `progress` (done_bytes, total_bytes), `warned` (reason, message), `found` (what the link holds),
`fetched`, or `failed` (reason, message, metadata, retry_after_s). The file is written to the current folder, always
under the name `original`.
"""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from yt_dlp import YoutubeDL
from yt_dlp.networking import RequestDirector
from yt_dlp.networking._urllib import UrllibRH

from singscript_audio.decode import TooLong
from singscript_downloader.engines import errors, failures, guard
from singscript_downloader.engines.links import shown
from singscript_downloader.engines.reports import FILE_NAME, Reports, limit, request
from singscript_egress.addresses import AllowList, BlockedAddress

# The JS runtime takes half of it before it does anything.
MEMORY_BYTES = 3 << 29


def main() -> None:
    """Entry of the child process."""
    reports, wanted = Reports(), request()

    def blocked(host: str) -> NoReturn:
        reports.fail(
            BlockedAddress(f"The link leads to {host}, which is not on the public internet. Give a public link.")
        )

    limit(memory_bytes=MEMORY_BYTES, file_bytes=wanted["limit_bytes"] + 1)
    helper = js_runtime()
    proxy = urlsplit(wanted["proxy"]) if wanted["proxy"] else None
    guard.install(
        allow=AllowList.parse(wanted["allow_hosts"]),
        proxy=(proxy.hostname or "", proxy.port or 80) if proxy else None,
        helper=helper,
        blocked=blocked,
    )
    _Fetch(reports, wanted, helper).run()


def js_runtime() -> Path | None:
    """Deno, which solves YouTube's challenges; its wheel puts it beside the interpreter."""
    beside = Path(sysconfig.get_path("scripts"), "deno")
    found = str(beside) if beside.exists() else shutil.which("deno")
    return Path(found) if found else None


class _Guarded(YoutubeDL):
    last_error: Exception | None = None

    def build_request_director(self, handlers: Any, preferences: Any = None) -> RequestDirector:
        # The others may bring a network library of their own (curl), which no audit hook sees.
        chosen: Any = [UrllibRH]
        return super().build_request_director(chosen, preferences)

    def urlopen(self, req: Any) -> Any:
        self.last_error = None
        try:
            return super().urlopen(req)
        except Exception as error:  # raised again: yt-dlp's own error does not say which one it was
            self.last_error = error
            raise


class _Fetch:
    def __init__(self, reports: Reports, wanted: dict[str, Any], helper: Path | None) -> None:
        self._reports = reports
        self._wanted = wanted
        self._limit_bytes: int = wanted["limit_bytes"]
        self._helper = helper
        self._reported_at = 0.0

    def run(self) -> None:
        ydl = _Guarded(self._options())
        try:
            with ydl:
                info = self._one(ydl.extract_info(self._wanted["link"], download=False))
                self._check(info)
                self._reports.send("found", **_facts(info))
                if self._wanted["download"]:
                    ydl.process_ie_result(info, download=True)
        except Exception as error:  # noqa: BLE001  (whatever it is, it becomes a reason)
            print(error, file=sys.stderr)
            self._reports.fail(failures.translated(error, limit_bytes=self._limit_bytes, last=ydl.last_error))
        if self._wanted["download"]:
            file = Path(FILE_NAME)
            if not file.exists():
                # The one thing that yt-dlp passes over in silence is `max_filesize`.
                self._reports.fail(errors.too_large(self._limit_bytes))
            self._reports.send("fetched", size_bytes=file.stat().st_size)

    def _one(self, info: Any) -> Any:
        """The item itself; of several, the first."""
        while info and "entries" in info:
            entries, count = [e for e in info["entries"] if e], info.get("playlist_count")
            if entries and count != 1:
                self._reports.send(
                    "warned",
                    reason="FIRST_ITEM_ONLY",
                    message="This link holds several items; the first was taken. Give the link of another to get it.",
                )
            info = entries[0] if entries else None
        if not info:
            self._reports.fail(failures.unsupported())
        return info

    def _check(self, info: dict[str, Any]) -> None:
        """Refuses before the first byte what is known to be too much."""
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            self._reports.fail(failures.live())
        if not self._wanted["download"]:
            return
        limit_s: float = self._wanted["limit_s"]
        if (info.get("duration") or 0) > limit_s:
            self._reports.fail(
                TooLong(
                    f"The sound is longer than {limit_s:g} s, which is the limit here. Give a shorter one.",
                    metadata={"limit_s": f"{limit_s:g}"},
                )
            )
        self._check_size(0, info.get("filesize"))

    def _check_size(self, done_bytes: int, total_bytes: int | None) -> None:
        if max(done_bytes, total_bytes or 0) > self._limit_bytes:
            self._reports.fail(errors.too_large(self._limit_bytes))
        left_bytes = (total_bytes or done_bytes) - done_bytes
        if shutil.disk_usage(".").free < self._wanted["reserve_bytes"] + left_bytes:
            self._reports.fail(errors.disk_full())

    def _progress(self, state: dict[str, Any]) -> None:
        done_bytes: int = state.get("downloaded_bytes") or 0
        self._check_size(done_bytes, state.get("total_bytes"))
        if state["status"] == "finished" or time.monotonic() - self._reported_at >= 1:
            self._reported_at = time.monotonic()
            total_bytes = state.get("total_bytes") or state.get("total_bytes_estimate")
            self._reports.send("progress", done_bytes=done_bytes, total_bytes=int(total_bytes) if total_bytes else None)

    def _options(self) -> Any:
        """yt-dlp's, complete: nothing is read from configuration files, the environment, netrc or a browser."""
        return {
            "logger": _Silent(),
            "format": "bestaudio/best",
            "outtmpl": {"default": FILE_NAME},
            "noplaylist": True,
            "playlist_items": "1",
            "proxy": self._wanted["proxy"] or "",  # "": none, whatever the environment says
            "max_filesize": self._limit_bytes,
            "progress_hooks": [self._progress],
            "socket_timeout": 15,
            "retries": 2,
            "fragment_retries": 2,
            "extractor_retries": 1,
            "file_access_retries": 0,
            "skip_unavailable_fragments": False,
            "hls_prefer_native": True,
            "fixup": "never",  # by ffmpeg; our decoder reads the file as it comes
            "continuedl": False,
            "updatetime": False,
            "cachedir": False,
            "enable_file_urls": False,
            "js_runtimes": {"deno": {"path": str(self._helper)}} if self._helper else {},
        }


class _Silent:
    """yt-dlp's messages have full links in them; errors come as exceptions."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...


def _facts(info: dict[str, Any]) -> dict[str, Any]:
    generic = info.get("extractor_key") == "Generic"
    codec = next((c for c in (info.get("acodec"), info.get("vcodec")) if c not in (None, "none")), "")
    ext = str(info.get("ext") or "")
    return {
        "title": str(info.get("title") or ""),
        "artist": str(info.get("artist") or info.get("creator") or ("" if generic else info.get("uploader")) or ""),
        "duration_s": info.get("duration"),
        # The query names the item on most sites, and carries tokens in links to plain files.
        "webpage_url": shown(str(info.get("webpage_url") or ""), query=not generic),
        "format": "/".join(filter(None, (ext, codec.partition(".")[0]))),
        "ext": ext if re.fullmatch(r"[a-z0-9]{1,5}", ext) else "",
        "generic": generic,
    }


if __name__ == "__main__":
    main()
