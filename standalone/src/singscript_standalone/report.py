"""What a finished job looks like on a terminal: timed lines, what was heard beside them, warnings, files."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from singscript_client import UsageSum
from singscript_standalone.progress import STAGES


def show_lines(console: Console, words: dict[str, Any]) -> None:
    """The lines with their times; where lyrics were given, also what was heard without them.

    Args:
        words: the content of words.json.
    """
    lines = words["lines"]
    if not lines:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("start", justify="right", style="cyan", no_wrap=True)
    table.add_column("end", justify="right", style="cyan", no_wrap=True)
    table.add_column("line")
    given = words["lyrics_given"]
    if given:
        table.add_column("heard without the lyrics", style="dim")
        heard = heard_beside(lines, words["heard"])
        for line, beside in zip(lines, heard, strict=True):
            table.add_row(clock(line["start_s"]), clock(line["end_s"]), escape(line["text"]), escape(beside))
    else:
        for line in lines:
            table.add_row(clock(line["start_s"]), clock(line["end_s"]), escape(line["text"]))
    console.print(table)


def heard_beside(lines: list[dict[str, Any]], heard: list[dict[str, Any]]) -> list[str]:
    """For each line the heard words that lie nearest to it in time: every heard word beside exactly one line."""
    words = [word for segment in heard for word in segment["words"]]
    beside: list[list[str]] = [[] for _ in lines]
    for word in words:
        middle_s = (word["start_s"] + word["end_s"]) / 2
        distances = [max(line["start_s"] - middle_s, middle_s - line["end_s"], 0.0) for line in lines]
        beside[distances.index(min(distances))].append(word["text"])
    return [" ".join(texts) for texts in beside]


def show_warnings(console: Console, words: dict[str, Any]) -> None:
    """All warnings; engines that were passed over come last and dimmed, as `singscript doctor` has them too."""
    passed_over = [w for w in words["warnings"] if w["reason"] == "ENGINE_FALLBACK"]
    for warning in words["warnings"]:
        if warning not in passed_over:
            console.print(f"[yellow]{warning['reason']}[/] {escape(warning['message'])}")
    for warning in passed_over:
        console.print(f"[dim]{warning['stage']}: {escape(warning['message'])}[/]")


def show_engines(console: Console, words: dict[str, Any]) -> None:
    """One line: which engine did which stage."""
    used = [
        f"{stage}: {' '.join(part for part in (chosen['engine'], chosen['model']) if part)}"
        for stage in STAGES
        if (chosen := words["stages"].get(stage))
    ]
    console.print(escape(" · ".join(used)))


def show_usage(console: Console, usage: list[UsageSum]) -> None:
    """A line for each model that was paid for.

    Args:
        usage: as the job has it.
    """
    for one in usage:
        if one.cost_usd is None:
            price = "at a price that is not known here"
        else:
            price = f"{one.cost_usd:.4f} USD" + (" or more" if one.unpriced_requests else "")
        requests = f"{one.requests} request{'' if one.requests == 1 else 's'}"
        used = f"{one.engine} {one.model}: {clock(one.audio_s)} in {requests}, {price}"
        console.print(escape(used))


def show_dropped(console: Console, words: dict[str, Any]) -> None:
    """One line that counts the text that was heard and not believed."""
    if count := len(words["dropped"]):
        pieces = "1 piece of text was" if count == 1 else f"{count} pieces of text were"
        console.print(f"{pieces} not believed; see words.json.")


def show_unmatched(console: Console, words: dict[str, Any]) -> None:
    """Which words of the lyrics were not found, and which were sung and stand nowhere in them."""
    for name, found in (
        ("unsung", "of the lyrics {} not found"),
        ("unlisted", "{} sung that the lyrics do not have"),
    ):
        # Documents of jobs of before have neither.
        texts = [one["text"] for one in words.get(name, [])]
        if count := sum(len(text.split()) for text in texts):
            what = f"{count} word{'' if count == 1 else 's'} {found.format('was' if count == 1 else 'were')}"
            shown = " … ".join(" ".join(text.split()) for text in texts)
            console.print(f"[yellow]{what}:[/] {escape(shown if len(shown) <= 200 else shown[:199] + '…')}")


@dataclass(frozen=True)
class Accuracy:
    """How far timed words are from the truth."""

    median_start_error_s: float
    within_300_ms: float


def accuracy(words: dict[str, Any], truth: dict[str, Any]) -> Accuracy | None:
    """Compares words with a truth that has the same words in the same order; None when it has not."""
    timed = [w for line in words["lines"] for w in line["words"]]
    true = [w for line in truth["lines"] for w in line["words"]]
    if len(timed) != len(true):
        return None
    errors = [abs(a["start_s"] - b["start_s"]) for a, b in zip(timed, true, strict=True)]
    return Accuracy(statistics.median(errors), sum(e <= 0.3 for e in errors) / len(errors))


def show_accuracy(console: Console, words: dict[str, Any], truth_file: Path) -> None:
    """The demo knows when each word was sung: says how near the times came."""
    found = accuracy(words, json.loads(truth_file.read_text()))
    if found is not None:
        console.print(
            f"Against the demo's known times: word starts {found.median_start_error_s * 1000:.0f} ms off (median), "
            f"{found.within_300_ms:.0%} within 300 ms.",
            highlight=False,
        )


def clock(time_s: float) -> str:
    """Minutes, seconds and hundredths: "1:02.50"."""
    hundredths = round(time_s * 100)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
