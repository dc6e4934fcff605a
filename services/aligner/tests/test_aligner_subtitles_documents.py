"""TTML, JSON, tables and plain text, read back by lxml, ttconv, jsonschema and csv."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
import ttconv.model as ttml
from aligner_sheets import UNTIMED, aligned, crooked_sheets, line, rows, sheets, sung, text_of
from hypothesis import given
from jsonschema import Draft202012Validator
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  # comes without types
from ttconv.imsc.reader import to_model
from ttconv.isd import ISD
from ttconv.style_properties import StyleProperties

from singscript_aligner.subtitles import Format, Sheet, render
from singscript_aligner.words import Line

_TT = "{http://www.w3.org/ns/ttml}"
_HALF_MS = 0.0005 + 1e-9


@pytest.fixture(scope="module")
def grammar(request: pytest.FixtureRequest) -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(request.path.parent / "data" / "lyrics-ttml.rng"))


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def ttml_lines(text: str) -> list[tuple[float, float, str, list[tuple[str, float, float]]]]:
    """Start, end, text and words of each line; as the standard has it, the times of a child count from its parent's."""
    found: list[tuple[float, float, str, list[tuple[str, float, float]]]] = []
    for p in etree.fromstring(text.encode()).iter(f"{_TT}p"):
        start_s, words = seconds(p.get("begin", "")), list[tuple[str, float, float]]()
        for span in p.iter(f"{_TT}span"):
            (colour,) = span.iter(f"{_TT}set")
            begin_s, end_s = seconds(colour.get("begin", "")), seconds(colour.get("end", ""))
            words.append(("".join(span.itertext()), start_s + begin_s, start_s + end_s))
        for br in p.iter(f"{_TT}br"):
            br.text = "\n"
        found.append((start_s, seconds(p.get("end", "")), "".join(p.itertext()), words))
    return found


def test_ttml_fits_its_grammar_and_has_lines_and_words(grammar: etree.RelaxNG) -> None:
    @UNTIMED
    @given(sheets())
    def check(sheet: Sheet) -> None:
        text = text_of(sheet, Format.TTML)
        grammar.assertValid(etree.fromstring(text.encode()))
        for (start_s, end_s, written, words), x in zip(ttml_lines(text), sheet.lines, strict=True):
            assert (start_s, end_s) == pytest.approx((x.start_s, x.end_s), abs=_HALF_MS)
            assert written == "\n".join(rows(x.text))
            assert [word for word, *_ in words] == [word.text for word in x.words]
            assert [time for _, *times in words for time in times] == pytest.approx(
                [time for word in x.words for time in (word.start_s, word.end_s)], abs=_HALF_MS
            )

    check()


def test_ttml_of_crooked_lines_fits_its_grammar_and_has_no_overlap(grammar: etree.RelaxNG) -> None:
    @UNTIMED
    @given(crooked_sheets())
    def check(sheet: Sheet) -> None:
        text = text_of(sheet, Format.TTML)
        grammar.assertValid(etree.fromstring(text.encode()))
        lines = ttml_lines(text)
        assert all(start_s < end_s and written for start_s, end_s, written, _ in lines)
        assert all(a[1] <= b[0] for a, b in pairwise(lines))

    check()


def shown_at(document: ttml.ContentDocument, time_s: float) -> list[tuple[str, bool]]:
    """What stands on the screen of a TTML player: each piece of text, and whether it is coloured as sung."""
    found: list[tuple[str, bool]] = []
    screen = ISD.from_model(document, Fraction(time_s))
    for region in screen.iter_regions() if screen else ():
        for element in region.dfs_iterator():
            if isinstance(element, ttml.Text):
                span = element.parent()
                colour: Any = span.get_style(StyleProperties.Color) if span else None
                found.append((element.get_text(), colour is not None and colour.components[2] == 0))
    return found


def test_a_ttml_player_shows_the_whole_line_and_colours_the_word_that_is_sung() -> None:
    sheet = Sheet(
        [line("Hello (oh) <you>", 10.0, 15.0, ("Hello", 10.5, 11.0), ("<you>", 13.0, 14.0)), line("end", 15.0, 16.0)]
    )
    document = to_model(ElementTree.ElementTree(ElementTree.fromstring(text_of(sheet, Format.TTML))))
    assert document is not None
    coloured = {
        time_s: [text for text, sung in shown_at(document, time_s) if sung] for time_s in (10.2, 10.7, 12.0, 13.5, 14.5)
    }
    assert coloured == {10.2: [], 10.7: ["Hello"], 12.0: [], 13.5: ["<you>"], 14.5: []}
    for time_s in coloured:
        assert "".join(text for text, _ in shown_at(document, time_s)) == "Hello (oh) <you>"
    assert shown_at(document, 9.9) == []
    assert shown_at(document, 15.0) == [("end", False)]


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    content = json.loads((resources.files("singscript_aligner.subtitles") / "lyrics.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def test_json_fits_its_schema_and_holds_everything(schema: Draft202012Validator) -> None:
    @UNTIMED
    @given(sheets())
    def check(sheet: Sheet) -> None:
        document = json.loads(text_of(sheet, Format.JSON))
        schema.validate(document)
        for found, x in zip(document["lines"], sheet.lines, strict=True):
            assert (found["text"], found["start_s"], found["end_s"]) == (x.text, x.start_s, x.end_s)
            assert found["lyrics_line"] == x.lyrics_line
            assert [(word["text"], word["start_s"], word["end_s"], word["timing"]) for word in found["words"]] == [
                (word.text, word.start_s, word.end_s, word.timing.value) for word in x.words
            ]
            for written, word in zip(found["words"], x.words, strict=True):
                assert written["confidence"] == (None if word.confidence is None else round(word.confidence, 3))
        assert (document["language"], document["title"], document["artist"]) == (
            sheet.language,
            sheet.title,
            sheet.artist,
        )

    check()


def test_the_schema_refuses_what_is_no_document(schema: Draft202012Validator) -> None:
    line = Line("a", 0.0, 1.0, (aligned("a", 0.0, 1.0),))
    for spoil in (
        lambda document: document.update(version=2),
        lambda document: document.update(colour="red"),
        lambda document: document["lines"][0].pop("words"),
        lambda document: document["lines"][0]["words"][0].update(timing="guessed"),
        lambda document: document["lines"][0]["words"][0].update(confidence=1.1),
        lambda document: document["lines"][0]["words"][0].update(start_s=-1),
    ):
        document = json.loads(text_of(Sheet([line]), Format.JSON))
        assert schema.is_valid(document)
        spoil(document)
        assert not schema.is_valid(document)


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))


@UNTIMED
@given(sheets())
def test_tsv_has_the_lines(sheet: Sheet) -> None:
    head, *body = table(text_of(sheet, Format.TSV))
    assert head == ["start", "end", "text"]
    assert body == [
        [str(round(1000 * x.start_s)), str(round(1000 * x.end_s)), " ".join(rows(x.text))] for x in sheet.lines
    ]


@UNTIMED
@given(crooked_sheets())
def test_tables_of_crooked_lines_have_three_cells_and_no_overlap(sheet: Sheet) -> None:
    for wanted in (Format.TSV, Format.AUDACITY):
        cells = [row for row in table(text_of(sheet, wanted)) if row != ["start", "end", "text"]]
        assert all(len(row) == 3 and row[2] for row in cells)
        assert all(float(start) < float(end) for start, end, _ in cells)
        assert all(float(a[1]) <= float(b[0]) for a, b in pairwise(cells))


@UNTIMED
@given(sheets())
def test_audacity_has_a_label_for_each_word(sheet: Sheet) -> None:
    labels = [row.split("\t") for row in text_of(sheet, Format.AUDACITY).splitlines()]
    assert labels == [[f"{start_s:.6f}", f"{end_s:.6f}", text] for text, start_s, end_s in sung(sheet)]


@UNTIMED
@given(sheets())
def test_plain_text_has_the_rows(sheet: Sheet) -> None:
    assert text_of(sheet, Format.TXT) == "".join(f"{row}\n" for x in sheet.lines for row in rows(x.text))


def test_an_empty_sheet_is_a_valid_file_of_each_format(grammar: etree.RelaxNG, schema: Draft202012Validator) -> None:
    empty = Sheet([])
    grammar.assertValid(etree.fromstring(render(empty, Format.TTML).content))
    schema.validate(json.loads(text_of(empty, Format.JSON)))
    assert text_of(empty, Format.TSV) == "start\tend\ttext\n"
    assert text_of(empty, Format.AUDACITY) == text_of(empty, Format.TXT) == ""


def test_every_format_has_a_name_of_its_own() -> None:
    files = [render(Sheet([]), wanted) for wanted in Format]
    assert len({file.name for file in files}) == len(files)
    assert all(file.name.startswith("lyrics.") and "/" in file.media_type for file in files)
