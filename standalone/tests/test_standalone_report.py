"""What the command prints about a result."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from singscript_client import UsageSum
from singscript_standalone.report import (
    accuracy,
    clock,
    heard_beside,
    show_dropped,
    show_lines,
    show_unmatched,
    show_usage,
)


def word(text: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {"text": text, "start_s": start_s, "end_s": end_s, "confidence": None, "timing": "acoustic"}


def line(text: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {"text": text, "start_s": start_s, "end_s": end_s, "words": [word(text, start_s, end_s)]}


def heard(*words: dict[str, Any]) -> dict[str, Any]:
    return {"words": list(words)}


@pytest.mark.parametrize(
    ("time_s", "shown"), [(0, "0:00.00"), (59.999, "1:00.00"), (62.5, "1:02.50"), (3601, "60:01.00")]
)
def test_times_read_as_minutes_and_seconds(time_s: float, shown: str) -> None:
    assert clock(time_s) == shown


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 5)), min_size=1, max_size=10),
    st.lists(st.tuples(st.floats(0, 120), st.floats(0, 3)), max_size=30),
)
def test_every_heard_word_stands_beside_exactly_one_line(
    bounds: list[tuple[float, float]], spoken: list[tuple[float, float]]
) -> None:
    lines = [line("x", start, start + length) for start, length in sorted(bounds)]
    words = [word(f"w{n}", start, start + length) for n, (start, length) in enumerate(spoken)]
    beside = heard_beside(lines, [heard(*words)])
    assert len(beside) == len(lines)
    assert sorted(" ".join(beside).split()) == sorted(w["text"] for w in words)


def test_a_heard_word_stands_beside_the_line_that_it_was_sung_in() -> None:
    lines = [line("one", 0, 2), line("two", 10, 12)]
    assert heard_beside(lines, [heard(word("won", 0.5, 1), word("to", 11, 11.5), word("near", 8, 9))]) == [
        "won",
        "to near",
    ]


def test_markup_in_lyrics_is_text() -> None:
    console = Console(file=StringIO(), width=100)
    words = {"lyrics_given": True, "lines": [line("[red]stop[/red]", 0, 1)], "heard": []}
    show_lines(console, words)
    assert "[red]stop[/red]" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]  (a StringIO)


def test_accuracy_is_the_median_of_start_errors() -> None:
    timed = {"lines": [{"words": [word("a", 0.0, 1), word("b", 1.1, 2), word("c", 3.0, 4)]}]}
    truth = {"lines": [{"words": [word("a", 0.0, 1), word("b", 1.0, 2), word("c", 2.0, 3)]}]}
    found = accuracy(timed, truth)
    assert found is not None
    assert found.median_start_error_s == pytest.approx(0.1)
    assert found.within_300_ms == pytest.approx(2 / 3)
    assert accuracy({"lines": []}, truth) is None


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, ""),
        (1, "1 piece of text was not believed; see words.json.\n"),
        (2, "2 pieces of text were not believed; see words.json.\n"),
    ],
)
def test_text_that_was_not_believed_is_counted(count: int, said: str) -> None:
    console = Console(file=StringIO(), width=100)
    show_dropped(console, {"dropped": [{"text": "Thank you."}] * count})
    assert console.file.getvalue() == said  # pyright: ignore[reportAttributeAccessIssue]  (a StringIO)


@pytest.mark.parametrize(
    ("requests", "cost_usd", "unpriced", "said"),
    [
        (1, 0.02, 0, "openai whisper-1: 3:20.00 in 1 request, 0.0200 USD\n"),
        (8, 0.02, 2, "openai whisper-1: 3:20.00 in 8 requests, 0.0200 USD or more\n"),
        (8, None, 8, "openai whisper-1: 3:20.00 in 8 requests, at a price that is not known here\n"),
    ],
)
def test_spend_is_told_as_far_as_it_is_known(requests: int, cost_usd: float | None, unpriced: int, said: str) -> None:
    used = UsageSum(
        engine="openai",
        model="whisper-1",
        audio_s=200.0,
        requests=requests,
        input_tokens=0,
        output_tokens=0,
        cost_usd=cost_usd,
        unpriced_requests=unpriced,
    )
    console = Console(file=StringIO(), width=100)
    show_usage(console, [used])
    assert console.file.getvalue() == said  # pyright: ignore[reportAttributeAccessIssue]  (a StringIO)


@pytest.mark.parametrize(
    ("unsung", "unlisted", "said"),
    [
        ([], [], ""),
        (["gone"], [], "1 word of the lyrics was not found: gone\n"),
        (
            ["all gone", "[x]"],
            ["oh yeah"],
            "3 words of the lyrics were not found: all gone … [x]\n"
            "2 words were sung that the lyrics do not have: oh yeah\n",
        ),
        ([], ["la " * 100], "100 words were sung that the lyrics do not have: " + ("la " * 67)[:199] + "…\n"),
    ],
)
def test_words_without_a_partner_are_told(unsung: list[str], unlisted: list[str], said: str) -> None:
    console = Console(file=StringIO(), width=1000)
    show_unmatched(console, {"unsung": [{"text": t} for t in unsung], "unlisted": [{"text": t} for t in unlisted]})
    assert console.file.getvalue() == said  # pyright: ignore[reportAttributeAccessIssue]  (a StringIO)


def test_nothing_paid_for_is_nothing_said() -> None:
    console = Console(file=StringIO(), width=100)
    show_usage(console, [])
    assert console.file.getvalue() == ""  # pyright: ignore[reportAttributeAccessIssue]  (a StringIO)
