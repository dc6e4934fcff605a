"""What lyric sites leave in a text that is copied from them."""

from __future__ import annotations

import re

# "3 ContributorsTitle Lyrics" before the first line, "12Embed" after the last one, advertisements between.
_BEFORE = re.compile(r"\d+ Contributors?(?:.*? Lyrics(?=\[|$)|$)")
_AFTER = re.compile(r"(?:^|(?<=\S))\d+(?:\.\d+)?K?Embed$|^Embed$|(?<=[a-z.,!?)'’])Embed$")
_BETWEEN = re.compile(
    r"You might also like(?=\[|$)"
    r"|See .+ LiveGet tickets as low as \S+"
    r"|\*+ This Lyrics is NOT for Commercial use \*+"
)


def cleaned(lines: list[str]) -> list[str]:
    """The same number of lines, empty where there was nothing else. White space is already single spaces."""
    lines = [_BETWEEN.sub("", line) if _BETWEEN.match(line) else line for line in lines]
    written = [i for i, line in enumerate(lines) if line]
    if written:
        first, last = written[0], written[-1]
        lines[first] = _BEFORE.sub("", lines[first]) if _BEFORE.match(lines[first]) else lines[first]
        lines[last] = _AFTER.sub("", lines[last])
    return lines
