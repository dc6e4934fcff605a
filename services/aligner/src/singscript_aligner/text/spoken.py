"""From how a word is written to how it is said."""

from __future__ import annotations

import unicodedata
from functools import cache

import regex
from num2words import num2words

from singscript_aligner.text.languages import LANGUAGES, NUMBERS, OTHER_LANGUAGE, Language

_SAME_LANGUAGE = {"nb": "no", "nn": "no"}
_CLOCK = regex.compile(r"(?<![\d:])(\d{1,2}):(\d{2})(?![\d:])")
_PIECE = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:'[\p{L}\p{M}\p{N}]+)*'?|'[\p{L}\p{M}\p{N}]+")
_AROUND = regex.compile(r"^[\"“”„«»‘’'(\[¿¡]+|[\"“”«»’')\],;:!?…]+$")
# The English engines know a to z alone.
_ENGLISH_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "þ": "th"})
_NOT_ENGLISH = regex.compile(r"[^\x00-\x7f°£€¥]")
# Longer numbers are read digit by digit, as a telephone number is.
_LONGEST_NUMBER = 9


def spoken(word: str, language: str) -> list[str]:
    """The words that are said, lower case, for a word as it is written: "$25," → ["twenty", "five", "dollars"].

    Empty for what has no sound, such as a dash or a note sign. Digits stay where nothing knows how to say them: they
    sound, though nobody here knows how. Roman numerals stay letters, and so does "No.", which is mostly the answer.

    Args:
        language: code such as "de" or "pt-BR"; "" where it is not known.
    """
    code = language.lower().replace("_", "-").partition("-")[0]
    code = _SAME_LANGUAGE.get(code, code)
    rules = LANGUAGES.get(code, OTHER_LANGUAGE)
    text = word.replace("’", "'").replace("‘", "'").replace("−", "-").lower()
    if known := rules.abbreviations.get(_AROUND.sub("", text)):
        return _PIECE.findall(known)
    text = _folded(text) if code == "en" else _composed(text)
    text = _CLOCK.sub(lambda m: f" {_clock(int(m[1]), int(m[2]), code, rules)} ", text)
    text = _number_pattern(code).sub(lambda m: f" {_number(m, code, rules)} ", text)
    for sign, name in rules.signs.items():
        text = text.replace(sign, f" {name} ")
    for sign, (_, many) in rules.money.items():
        text = text.replace(sign, f" {many} ")
    return _PIECE.findall(text)


def _folded(text: str) -> str:
    """As English writes it: without accents, and without the letters of other alphabets."""
    plain = unicodedata.normalize("NFKD", text.translate(_ENGLISH_LETTERS)).lower()
    plain = "".join(str(unicodedata.decimal(c, c)) for c in plain if not unicodedata.combining(c))
    return _NOT_ENGLISH.sub(" ", plain)


def _composed(text: str) -> str:
    """One form for each letter, digit and sign; º, ª and thin spaces stay, which say how a number is meant."""
    text = "".join(c if c in "ºª" or c.isspace() else unicodedata.normalize("NFKC", c) for c in text)
    return unicodedata.normalize("NFC", text)


@cache
def _number_pattern(code: str) -> regex.Pattern[str]:
    rules = LANGUAGES.get(code, OTHER_LANGUAGE)
    thousands = "," if rules.decimal == "." else ".\u00a0\u202f'"
    never = r"(?!)"
    money = f"[{''.join(rules.money)}]" if rules.money else never
    return regex.compile(
        rf"(?P<money>{money})?(?P<minus>(?<![\w.])-)?"
        rf"(?P<whole>\d{{1,3}}(?:[{thousands}]\d{{3}})+(?!\d)|\d+)(?:[{rules.decimal}](?P<decimals>\d+))?"
        rf"(?:(?P<ordinal>{rules.ordinals or never})(?!\p{{L}})|(?P<decade>{rules.decades or never})(?!\p{{L}}))?"
        rf"(?P<money_after>{money})?"
    )


def _number(match: regex.Match[str], code: str, rules: Language) -> str:
    parts = match.groupdict()
    whole = regex.sub(r"\D", "", parts["whole"])
    decimals, money = parts["decimals"], parts["money"] or parts["money_after"]
    value = int(whole)
    if len(whole) > _LONGEST_NUMBER or (len(whole) > 1 and whole[0] in "0０"):
        said = _digits(whole, code)
    elif parts["ordinal"] and not decimals:
        said = num2words(value, lang=code, to="ordinal") + (parts.get("ending") or "")
        if parts.get("feminine"):
            said = regex.sub(r"o\b", "a", said)
    elif rules.years and (1100 <= value < 2000 or 2010 <= value < 2100) and not (money or decimals or parts["minus"]):
        said = num2words(value, lang=code, to="year")
    else:
        said = _cardinal(value, code)
    if parts["decade"]:
        said = _many(said, parts["decade"].strip("'"))
    if money:
        one, many = rules.money[money]
        said = one if value == 1 else f"{said} {many}"
        if decimals:
            said = f"{said} {_cardinal(int(decimals), code)}"
    elif decimals:
        said = f"{said} {rules.point} {_digits(decimals, code)}"
    return f"{rules.minus} {said}" if parts["minus"] else said


def _many(said: str, ending: str) -> str:
    """ "ninety" + "s" → "nineties"; "neunzig" + "er" → "neunziger"."""
    return f"{said[:-1]}ies" if ending == "s" and said.endswith("y") else f"{said}{ending}"


def _clock(hours: int, minutes: int, code: str, rules: Language) -> str:
    said = _cardinal(hours, code)
    if code == "en":
        if minutes == 0:
            return f"{said} o'clock"
        return f"{said} {'oh ' if minutes < 10 else ''}{_cardinal(minutes, code)}"
    return f"{said} {rules.clock} {_cardinal(minutes, code) if minutes else ''}"


def _digits(digits: str, code: str) -> str:
    return " ".join(_cardinal(int(digit), code) for digit in digits)


def _cardinal(value: int, code: str) -> str:
    return num2words(value, lang=code) if code in NUMBERS and value < 10**_LONGEST_NUMBER else str(value)
