"""From how a word is written to how it is spoken, in English."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

from num2words import num2words

_CURRENCIES = {"$": ("dollar", "dollars"), "£": ("pound", "pounds"), "€": ("euro", "euros")}
_SYMBOLS = {"&": "and", "+": "plus", "%": "percent", "@": "at", "=": "equals", "°": "degrees"}
_NUMBER = re.compile(
    r"(?P<currency>[$£€])?(?P<sign>(?<![\w.])-)?(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?P<suffix>st|nd|rd|th|'?s)?(?P<percent>%)?"
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_PIECE = re.compile(r"[a-z]+(?:'[a-z]+)*'?|'[a-z]+")
# Longer numbers are read digit by digit, as a telephone number is.
_LONGEST_NUMBER = 9


def spoken(word: str) -> list[str]:
    """The spoken words, lower case, of a word as it is written: "$25," → ["twenty", "five", "dollars"].

    Empty for what has no sound, such as a dash or a note sign.
    """
    plain = unicodedata.normalize("NFKD", word.replace("’", "'").replace("‘", "'")).lower()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = _CLOCK.sub(lambda m: _clock(int(m[1]), int(m[2])), plain)
    plain = _NUMBER.sub(lambda m: f" {_number(m)} ", plain)
    for sign, name in _SYMBOLS.items():
        plain = plain.replace(sign, f" {name} ")
    return _PIECE.findall(plain)


def _clock(hours: int, minutes: int) -> str:
    if minutes == 0:
        return f" {num2words(hours)} o'clock "
    return f" {num2words(hours)} {'oh ' if minutes < 10 else ''}{num2words(minutes)} "


def _number(match: re.Match[str]) -> str:
    digits = match["number"].replace(",", "")
    if len(digits.partition(".")[0]) > _LONGEST_NUMBER:
        return " ".join(num2words(int(digit)) for digit in digits if digit.isdigit())
    value = Decimal(digits) if "." in digits else int(digits)
    suffix = match["suffix"] or ""
    if suffix in ("st", "nd", "rd", "th") and isinstance(value, int):
        said = num2words(value, to="ordinal")
    elif isinstance(value, int) and (1100 <= value < 2000 or 2010 <= value < 2100) and not match["currency"]:
        said = num2words(value, to="year")
    else:
        said = num2words(value)
    if match["sign"]:
        said = f"minus {said}"
    if suffix.endswith("s") and suffix.strip("'") == "s":
        said = f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"
    if match["currency"]:
        one, many = _CURRENCIES[match["currency"]]
        said = f"{said} {one if value == 1 else many}"
    return f"{said} percent" if match["percent"] else said
