"""SRT and WebVTT, read back by pysubs2, webvtt-py and a browser."""

from __future__ import annotations

import html
import io
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pysubs2
import pytest
import webvtt
from aligner_sheets import NASTY, UNTIMED, WORD_JOINER, crooked_sheets, line, rows, sheets, sung, text_of
from hypothesis import assume, given

from singscript_aligner.subtitles import Format, Sheet

_TIME = re.compile(r"<(\d+):(\d\d):(\d\d\.\d{3})>")
# Every word of NASTY in a line of its own and all of them in one, with a pause and a word that is not sung.
EVERYTHING = Sheet(
    [
        *(line(text, float(i), i + 0.9, (text, i + 0.1, i + 0.8)) for i, text in enumerate(NASTY)),
        line(
            "\n".join([" ".join(NASTY), "(oh) " + " ".join(NASTY)]),
            100.0,
            200.0,
            *((text, 101.0 + i, 101.5 + i) for i, text in enumerate(NASTY)),
        ),
        line(
            "你好世界",
            200.0,
            203.0,
            ("你", 200.0, 200.5),
            ("好", 200.5, 200.7),
            ("世", 202.0, 202.5),
            ("界", 202.5, 203.0),
        ),
    ]
)


def ms(time_s: float) -> int:
    return round(1000 * time_s)


def as_written(text: str) -> str:
    return text.replace(WORD_JOINER, "")


def in_parentheses(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


def srt_events(text: str) -> list[tuple[int, int, list[str]]]:
    events = pysubs2.SSAFile.from_string(text, "srt")
    return [(event.start, event.end, rows(as_written(event.plaintext))) for event in events]


@UNTIMED
@given(sheets())
def test_srt_has_the_lines(sheet: Sheet) -> None:
    # pysubs2 takes a number in the last row of a file for that of a cue to come.
    assume(not sheet.lines or not re.search(r"\n\s*\d+\s*$", sheet.lines[-1].text))
    expected = [(ms(x.start_s), ms(x.end_s), rows(in_parentheses(x.text))) for x in sheet.lines]
    assert srt_events(text_of(sheet, Format.SRT)) == expected


@UNTIMED
@given(sheets())
def test_srt_by_word_has_the_words(sheet: Sheet) -> None:
    expected = [(ms(start_s), ms(end_s), [in_parentheses(text)]) for text, start_s, end_s in sung(sheet)]
    assert srt_events(text_of(sheet, Format.SRT_WORDS)) == expected


@pytest.mark.parametrize("wanted", [Format.SRT, Format.SRT_WORDS])
@UNTIMED
@given(sheet=crooked_sheets())
def test_srt_of_crooked_lines_has_no_overlap_and_no_empty_cue(wanted: Format, sheet: Sheet) -> None:
    events = srt_events(text_of(sheet, wanted))
    assert all(start < end and text for start, end, text in events)
    assert all(a[1] <= b[0] for a, b in pairwise(events))


def vtt_cues(text: str) -> list[tuple[int, int, list[str], list[tuple[int, str]]]]:
    """Start, end, rows and (time, text up to the next time) of each cue."""
    assert text.startswith("WEBVTT\n\n")
    found: list[tuple[int, int, list[str], list[tuple[int, str]]]] = []
    for caption in webvtt.from_buffer(io.StringIO(text)):
        start, end = caption.start_time.in_milliseconds(), caption.end_time.in_milliseconds()
        first, *others = _TIME.split(caption.raw_text)
        timed = [
            (3_600_000 * int(hours) + 60_000 * int(minutes) + ms(float(seconds)), html.unescape(text))
            for hours, minutes, seconds, text in zip(*(others[i::4] for i in range(4)), strict=True)
        ]
        found.append((start, end, rows(html.unescape(first) + "".join(text for _, text in timed)), timed))
    return found


@UNTIMED
@given(sheets())
def test_vtt_has_lines_and_words(sheet: Sheet) -> None:
    cues = vtt_cues(text_of(sheet, Format.VTT))
    assert [cue[:3] for cue in cues] == [(ms(x.start_s), ms(x.end_s), rows(x.text)) for x in sheet.lines]
    for (start, _, _, timed), x in zip(cues, sheet.lines, strict=True):
        words = [word for word in x.words if ms(word.start_s) > start]
        assert [time for time, _ in timed] == [ms(word.start_s) for word in words]
        assert all(text.startswith(word.text) for (_, text), word in zip(timed, words, strict=True))


@UNTIMED
@given(crooked_sheets())
def test_vtt_of_crooked_lines_keeps_to_the_standard(sheet: Sheet) -> None:
    cues = vtt_cues(text_of(sheet, Format.VTT))
    assert all(a[1] <= b[0] for a, b in pairwise(cues))
    for start, end, text, timed in cues:
        assert text
        assert all(a < b for a, b in pairwise([start, *(time for time, _ in timed), end]))


def test_an_empty_sheet_is_a_valid_file() -> None:
    assert text_of(Sheet([]), Format.SRT) == text_of(Sheet([]), Format.SRT_WORDS) == ""
    assert text_of(Sheet([]), Format.VTT) == "WEBVTT\n\n"


def test_hours_have_no_end() -> None:
    sheet = Sheet([line("late", 360_000.5, 360_001.0)])
    assert "100:00:00,500 --> 100:00:01,000" in text_of(sheet, Format.SRT)
    assert "100:00:00.500 --> 100:00:01.000" in text_of(sheet, Format.VTT)


_READ_CUES = """async vtt => {
    const track = document.createElement("track");
    track.default = true;
    const video = document.createElement("video");
    video.append(track);
    document.body.append(video);
    track.track.mode = "hidden";
    await new Promise((resolve, reject) => {
        track.onload = resolve;
        track.onerror = () => reject(new Error("the browser refuses the file"));
        track.src = URL.createObjectURL(new Blob([vtt], {type: "text/vtt"}));
    });
    const nodes = cue => [...cue.getCueAsHTML().childNodes].map(node => [node.nodeType, node.data ?? node.outerHTML]);
    const cues = [...track.track.cues].map(cue => [cue.startTime, cue.endTime, nodes(cue)]);
    video.remove();
    return cues;
}"""
_TEXT_NODE, _PROCESSING_INSTRUCTION = 3, 7


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: no browser reads WebVTT"
    )
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed: no browser reads WebVTT")
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        )
        try:
            yield browser.new_page()
        finally:
            browser.close()


def browser_cues(page: Any, text: str) -> list[tuple[int, int, str, list[tuple[int, str]]]]:
    """As `vtt_cues`, but the text as one."""
    found: list[tuple[int, int, str, list[tuple[int, str]]]] = []
    for start_s, end_s, nodes in page.evaluate(_READ_CUES, text):
        whole, timed = "", list[tuple[int, str]]()
        for kind, data in nodes:
            assert kind in (_TEXT_NODE, _PROCESSING_INSTRUCTION), data
            if kind == _PROCESSING_INSTRUCTION:
                hours, minutes, seconds = data.split(":")
                timed.append((3_600_000 * int(hours) + 60_000 * int(minutes) + ms(float(seconds)), ""))
            else:
                whole += data
                if timed:
                    timed[-1] = (timed[-1][0], timed[-1][1] + data)
        found.append((ms(start_s), ms(end_s), whole, timed))
    return found


def test_a_browser_reads_vtt_as_it_was_meant(page: Any) -> None:
    @UNTIMED
    @given(sheets())
    def check(sheet: Sheet) -> None:
        cues = browser_cues(page, text_of(sheet, Format.VTT))
        assert [cue[:2] for cue in cues] == [(ms(x.start_s), ms(x.end_s)) for x in sheet.lines]
        for (start, _, text, timed), x in zip(cues, sheet.lines, strict=True):
            assert rows(text) == rows(x.text)
            words = [word for word in x.words if ms(word.start_s) > start]
            # Chromium writes its own clock down, a float, and cuts it off.
            assert [time for time, _ in timed] == pytest.approx([ms(word.start_s) for word in words], abs=1)
            assert all(text.startswith(word.text) for (_, text), word in zip(timed, words, strict=True))

    check()
    assert [rows(text) for _, _, text, _ in browser_cues(page, text_of(EVERYTHING, Format.VTT))] == [
        rows(x.text) for x in EVERYTHING.lines
    ]


def test_nothing_that_a_text_can_hold_breaks_a_file() -> None:
    assert [text for _, _, text in srt_events(text_of(EVERYTHING, Format.SRT))] == [
        rows(in_parentheses(x.text)) for x in EVERYTHING.lines
    ]
    assert [text for _, _, text, _ in vtt_cues(text_of(EVERYTHING, Format.VTT))] == [
        rows(x.text) for x in EVERYTHING.lines
    ]
