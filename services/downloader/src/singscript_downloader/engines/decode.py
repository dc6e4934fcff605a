"""Decodes one file: `python -m singscript_downloader.engines.decode`, for a crash in FFmpeg's libraries ends only this.

In, one JSON line: file, limit_s (null: look at the headers only), sample_rate_hz, channels.
Out, JSON lines: `media` (what the headers say), then `pcm`, each followed by its block of packed 32-bit floats, then
`decoded`; or `failed` (reason, message, metadata). Writing waits while nobody reads: nothing is decoded ahead.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from singscript_audio.decode import decode, probe
from singscript_core.errors import StageError
from singscript_downloader.engines.reports import Reports, limit, request

_MEMORY_BYTES = 1 << 30
_LOG_BYTES = 1 << 20


def main() -> None:
    """Entry of the child process."""
    reports, wanted = Reports(), request()
    limit(memory_bytes=_MEMORY_BYTES, file_bytes=_LOG_BYTES)
    file, limit_s = Path(wanted["file"]), wanted["limit_s"]
    try:
        reports.send("media", **dataclasses.asdict(probe(file)))
        if limit_s is None:
            return
        blocks = decode(
            file, sample_rate_hz=wanted["sample_rate_hz"], channels=wanted["channels"], max_duration_s=limit_s
        )
        for block in blocks:
            reports.send("pcm", block.astype("<f4").tobytes())
        reports.send("decoded")
    except StageError as error:
        reports.fail(error)


if __name__ == "__main__":
    main()
