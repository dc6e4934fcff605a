"""The progress of one job on a terminal: a bar for each stage, and the words as they are heard."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from singscript_client import Event

STAGES = ("download", "separate", "transcribe", "align")


class JobProgress:
    """Shows events as they come; on a terminal as live bars, elsewhere as a line for each change.

    Args:
        console: where to show it.
        title: what the job is called until more is known.

    Attributes:
        outcome: the data of the last state event.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._bars = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[amount]:<17}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._live = console.is_terminal
        self.outcome: dict[str, Any] = {}

    def __enter__(self) -> JobProgress:
        for stage in STAGES:
            self._tasks[stage] = self._bars.add_task(stage, total=None, start=False, amount="", note="")
        if self._live:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._bars.stop()

    def show(self, events: Iterable[Event]) -> None:
        """Shows events until they end."""
        for event in events:
            handler = getattr(self, f"_on_{event.kind}", None)
            if handler is not None:
                handler(event.data)

    def _on_state(self, data: dict[str, Any]) -> None:
        self.outcome = data
        if data["state"] == "queued" and data.get("reason"):
            self._console.print(f"[yellow]trying again:[/] {data['message']} [dim]({data['reason']})[/]")
        if data["state"] == "running":
            for stage, task in self._tasks.items():
                self._bars.reset(task, start=False, total=None, description=stage, amount="", note="")

    def _on_stage(self, data: dict[str, Any]) -> None:
        task = self._tasks[data["stage"]]
        if data["state"] == "running":
            self._bars.start_task(task)
        elif data["state"] == "skipped":
            self._bars.update(task, note="skipped")
        if not self._live and data["state"] != "pending":
            self._console.print(f"{data['stage']}: {data['state']}")

    def _on_progress(self, data: dict[str, Any]) -> None:
        task = self._tasks[data["stage"]]
        done, total = data["done_s"], data["total_s"]
        if data["finished"]:
            self._bars.update(task, total=1, completed=1, amount=_clock(done) if done else "")
            self._bars.stop_task(task)
        elif done or not data["done_bytes"]:
            amount = _clock(done) + (f" of {_clock(total)}" if total else "")
            self._bars.update(task, total=total, completed=done, amount=amount)
        else:
            amount = f"{data['done_bytes'] / 1e6:.1f} MB"
            self._bars.update(task, total=data["total_bytes"], completed=data["done_bytes"], amount=amount)

    def _on_engine(self, data: dict[str, Any]) -> None:
        name = " ".join(part for part in (data["engine"], data["model"]) if part)
        self._bars.update(self._tasks[data["stage"]], note=name)

    def _on_segment(self, data: dict[str, Any]) -> None:
        self._console.print(f"[dim]{_clock(data['start_s'])}  {escape(data['text'])}[/]")

    def _on_lyrics(self, data: dict[str, Any]) -> None:
        self._console.print(f"lyrics of {escape(data['title'])}, {escape(data['artist'])}: {escape(data['url'])}")

    def _on_media(self, data: dict[str, Any]) -> None:
        length = f" ({_clock(data['duration_s'])})" if data["duration_s"] else ""
        self._console.print(f"[bold]{escape(data['title'] or self._title)}[/]{length}")


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(int(time_s), 60)
    return f"{minutes}:{seconds:02d}"
