"""Marks that people write into lyrics: headings of parts, how often something comes, who sings, what is no word."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

MOST_TIMES = 20

# What Markdown puts around a heading.
_DECORATION = "*_#~ "

# Alone on a line these are headings; the others only in brackets or before a colon: "Break" may well be sung.
_ALONE = r"verse|pre-?chorus|chorus|refrain|estribillo|ritornello|refrão|припев|куплет"
_NUMBERED = r"strophe|couplet|estrofa|strofa|zwrotka"
_SECTION = (
    rf"(?:{_ALONE}|{_NUMBERED}|intro|post-?chorus|hook|bridge|interlude|instrumental|solo|break|breakdown|outro|coda"
    r"|vers|verso|coro|puente|pont|pré-?refrain|refren|бридж|(?:guitar|piano|drum|sax|instrumental) (?:solo|break))"
)
_HEADING = re.compile(
    r"(?:\[[^\[\]]*\] ?)+"
    rf"|\((?:repeat )?{_SECTION}(?: ?\d+)?(?: ?[:–-][^()]*)?\)"
    rf"|(?:repeat )?{_SECTION}(?: ?\d+)? ?:"
    rf"|(?:repeat )?(?:{_ALONE})(?: ?\d+)?"
    rf"|(?:{_NUMBERED}) ?\d+",
    re.IGNORECASE,
)
_FIRST_HEADING = re.compile(
    rf"(?:\[{_SECTION}\b[^\[\]]*\] ?|(?:(?:{_ALONE})(?: ?\d+)?|(?:{_NUMBERED}) ?\d+) ?: )(?=\S)", re.IGNORECASE
)
_NAME = re.compile(r"(?:repeat )?([^:]*?)(?: ?:.*| [–-] .*)?", re.IGNORECASE)
# Parts whose heading may stand for lines. "[laughs]" or "[Solo]", written twice, does not bring back what followed it.
_SUNG_PART = re.compile(
    r"(?:verse|prechorus|postchorus|chorus|refrain|hook|bridge|strophe|couplet|estribillo|estrofa|verso|coro|puente|pont"
    r"|prérefrain|ritornello|strofa|refrão|zwrotka|refren|vers|припев|куплет|бридж)\d*"
)

_BRACKETED_TIMES = re.compile(
    r"[(\[] ?(?:repeat )?(?:[x×] ?(\d{1,3})|(\d{1,3}) ?[x×]"
    r"|(\d{1,2}) (?:times|mal|fois|veces|vezes|volte)|repeat|bis) ?[)\]]([.,:]?)$",
    re.IGNORECASE,
)
# Within a line small letters alone: "X5" may be a car; and "2 x 4" is a measure.
_BARE_TIMES = re.compile(r" (?:[x×](\d{1,2})|(?<!\d )[x×] (\d{1,2})|(\d{1,2})[x×])([.,:]?)$")
_LONE_TIMES = re.compile(r"(?:[x×] ?(\d{1,3})|(\d{1,3}) ?[x×])([.,:]?)", re.IGNORECASE)

_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_SPACE_BEFORE_STOP = re.compile(r" (?=[.,;:!?…](?:\s|$))")

_SPEAKER = re.compile(r"((?:[^\W\d_][\w.'’-]*|[&+/])(?: (?:[^\W\d_][\w.'’-]*|[&+/]|\d)){0,3}) ?[:：](?: |$|(?<=：))")
_COMMON_SPEAKERS = frozenset({"both", "all", "together", "he", "she", "m", "f", "d", "男", "女", "合"})
_JOINS = frozenset({"and", "und", "et", "y", "e", "&", "+", "/"})


def heading(line: str) -> tuple[str, str] | None:
    """The part of the song that a line's heading names, and the rest of the line; None where there is no heading.

    The name is such as "chorus" or "verse2"; empty for what is no part that may be sung again.
    """
    bare = line.strip(_DECORATION)
    if _HEADING.fullmatch(bare):
        return _part(bare), ""
    if first := _FIRST_HEADING.match(line):
        return _part(first[0]), line[first.end() :]
    return None


def _part(written: str) -> str:
    found = _NAME.fullmatch(_without_times(written.strip("[(])： :"))[0])
    name = "".join(c for c in (found[1] if found else "").casefold() if c.isalnum())
    return name if _SUNG_PART.fullmatch(name) else ""


def repeated(line: str) -> tuple[str, int]:
    """The line without a mark such as "(x2)" at its end, and how often it comes; empty where it is nothing but a mark.

    The mark may also stand inside of brackets around the whole line: "[Chorus x2]".
    """
    if _LONE_TIMES.fullmatch(bare := line.strip(_DECORATION)):
        line = bare
    rest, times = _without_times(line)
    if times == 1 and rest[:1] in ("(", "[") and rest[-1:] in (")", "]"):
        inner, times = _without_times(rest[1:-1])
        rest = f"{rest[0]}{inner}{rest[-1]}"
    return rest, times


def _without_times(line: str) -> tuple[str, int]:
    found = _LONE_TIMES.fullmatch(line) or _BRACKETED_TIMES.search(line) or _BARE_TIMES.search(line)
    if not found:
        return line, 1
    *numbers, end = found.groups()
    times = int(next((number for number in numbers if number), "2"))
    if times == 0:
        return line, 1
    colon = ":" if end == ":" and found.start() else ""
    return line[: found.start()].rstrip() + colon, min(times, MOST_TIMES)


def without_brackets(line: str) -> str:
    """The line without "[laughs]" and the like."""
    return _SPACE_BEFORE_STOP.sub("", " ".join(_BRACKETS.sub(" ", line).split())) if "[" in line else line


def speakers(lines: Iterable[str]) -> frozenset[str]:
    """The marks before a colon that say who sings: well-known ones, and names that introduce different lines."""
    rests: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if found := _SPEAKER.match(line):
            rests[found[1]].add(line[found.end() :])
    return frozenset(
        mark
        for mark, after in rests.items()
        if mark.casefold() in _COMMON_SPEAKERS or (len(after) > 1 and _is_name(mark))
    )


def _is_name(mark: str) -> bool:
    return all(part[0].isupper() or part.isdecimal() or part in _JOINS for part in mark.split())


def speaker_end(line: str, known: frozenset[str]) -> int:
    """Where the words of a line begin, after the mark of who sings."""
    found = _SPEAKER.match(line)
    return found.end() if found and found[1] in known else 0


def ad_libs(words: Sequence[str]) -> frozenset[int]:
    """Which words of a line stand in parentheses; what is opened and never closed is no parenthesis."""
    sure: set[int] = set()
    open_since: list[int] = []
    depth = 0
    for i, word in enumerate(words):
        inside = outside = False
        for c in word:
            if c in "(（":
                depth += 1
            elif c in ")）":
                depth = max(0, depth - 1)
            elif c.isalnum():
                inside, outside = inside or depth > 0, outside or depth == 0
        if inside and not outside:
            open_since.append(i)
        if depth == 0:
            sure.update(open_since)
            open_since.clear()
    return frozenset(sure)
