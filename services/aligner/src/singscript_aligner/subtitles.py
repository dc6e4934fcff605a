"""Lines to subtitle files."""

from __future__ import annotations

from collections.abc import Sequence

import pysubs2

from singscript_aligner.words import Line

SRT_MEDIA_TYPE = "application/x-subrip"


def to_srt(lines: Sequence[Line]) -> bytes:
    """SRT in UTF-8. No cue overlaps the next, however the lines lie; those without text are left out."""
    shown = sorted((line for line in lines if line.text.strip()), key=lambda line: line.start_s)
    file = pysubs2.SSAFile()
    for i, line in enumerate(shown):
        start_ms = round(1000 * line.start_s)
        end_ms = max(start_ms, round(1000 * line.end_s))
        if i + 1 < len(shown):
            end_ms = min(end_ms, max(start_ms, round(1000 * shown[i + 1].start_s)))
        # Within a cue an empty line would end it, and "-->" would start another.
        text = "\n".join(part.strip() for part in line.text.replace("-->", "→").splitlines() if part.strip())
        file.append(pysubs2.SSAEvent(start=start_ms, end=end_ms, text=_escaped(text)))
    return file.to_string("srt", keep_ssa_tags=False).encode()


def _escaped(text: str) -> str:
    """pysubs2 takes {…} for styling and \\N for a new line."""
    return text.replace("{", "(").replace("}", ")").replace("\\", "/").replace("\n", "\\N")
