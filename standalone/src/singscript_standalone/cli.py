"""The `singscript` command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from singscript_client import Artifact, Client, Format, Job, JobOptions, SingscriptError
from singscript_core.errors import StageError
from singscript_standalone import demo, report
from singscript_standalone.processes import ProcessFailed
from singscript_standalone.progress import JobProgress
from singscript_standalone.system import System, home, private_folder, running

EXIT_FAILED, EXIT_USAGE, EXIT_NO_WORDS, EXIT_NOT_STARTED, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
# Whose files are saved.
SAVED_STAGES = ("separate", "align")
FORMATS: tuple[Format, ...] = get_args(Format)
# Asked when someone wants lyrics looked up and the settings name no other place.
LYRICS_LOOKUP = "https://lrclib.net"

EXIT_STATUS = (
    "Exit status: 0 done · 1 the job failed · 2 wrong usage · 3 done, but no words were found · "
    "4 the system did not start · 130 interrupted."
)


class JobFailed(Exception):
    """The job ended without a result; `reason` is stable, `detail` is for the user."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


app = typer.Typer(
    help="Vocals, timed words and subtitles from a link or a file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out_console = Console(highlight=False)
err_console = Console(stderr=True, highlight=False)


def _engines_option(stage: str) -> Any:
    return typer.Option(f"--{stage}", help=f"Engines of the {stage} to try, in order, separated by commas.")


@app.command(epilog=EXIT_STATUS)
def run(
    source: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="A link or a file. Without one: the demo.")
    ] = None,
    lyrics: Annotated[
        Path | None,
        typer.Option(help="A text, LRC or SRT file with the words, a line each: they are aligned, not guessed."),
    ] = None,
    lookup: Annotated[
        bool, typer.Option("--lookup", help="Without --lyrics: look them up on the internet, at LRCLIB.")
    ] = False,
    artist: Annotated[str | None, typer.Option(help="For --lookup. By default that of the sound.")] = None,
    title: Annotated[str | None, typer.Option(help="For --lookup. By default that of the sound.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the files go. By default out/NAME.")] = None,
    language: Annotated[str | None, typer.Option(help="Such as en. By default detected.")] = None,
    separator: Annotated[str | None, _engines_option("separator")] = None,
    transcriber: Annotated[str | None, _engines_option("transcriber")] = None,
    aligner: Annotated[str | None, _engines_option("aligner")] = None,
    task: Annotated[
        Literal["transcribe", "translate"], typer.Option(help="Words as they are sung, or in English.")
    ] = "transcribe",
    prompt: Annotated[
        str | None, typer.Option(help="What it is about, or how its words are written. Some engines ignore it.")
    ] = None,
    hot_words: Annotated[
        str | None, typer.Option(help="Names and rare words that may be heard, separated by commas.")
    ] = None,
    listen: Annotated[
        Literal["auto", "vocals", "mix"],
        typer.Option(help="What is transcribed; auto: whichever the engine is surer of."),
    ] = "auto",
    stems: Annotated[
        Literal["vocals", "all"], typer.Option(help="Vocals and instrumental, or all that the model knows.")
    ] = "vocals",
    stem_format: Annotated[
        Literal["flac", "wav", "mp3", "opus"] | None,
        typer.Option(help="What the stems are saved as. By default as the separator is set."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help=f"Of subtitles; may be repeated, or separated by commas: {', '.join(FORMATS)}."),
    ] = None,
    fill: Annotated[
        Literal["sweep", "step"], typer.Option(help="Karaoke: the colour runs through a word, or changes at once.")
    ] = "sweep",
    lead_in: Annotated[
        bool, typer.Option("--lead-in", help="Karaoke: lines appear before they are sung, with a count-in.")
    ] = False,
    syllables: Annotated[bool, typer.Option("--syllables", help="Karaoke: words are divided.")] = False,
) -> None:
    """Do the whole job on one link or file: start everything, show the progress, write the files, stop everything."""
    is_demo = source is None
    # Never for an input of one's own; and whoever names engines for the demo gets those.
    by_test_models = is_demo and not (separator or transcriber or aligner)
    if source is None:
        source, lyrics = str(_demo_song()), lyrics or demo.LYRICS
        out_console.print("No input given: this is the demo, a synthetic song with known words.")
    if by_test_models:
        out_console.print(
            "[yellow]Small test models[/] do the work: they know only this song's words. Your own input gets real ones "
            "(htdemucs and Whisper small, or what you set); `singscript doctor` says what is there."
        )
    link = "://" in source
    if not link and not Path(source).is_file():
        err_console.print(f"[red]No such file:[/] {escape(source)}")
        raise typer.Exit(EXIT_USAGE)
    if (artist or title) and not lookup:
        err_console.print("[red]--artist and --title say whose lyrics are looked up:[/] they go with --lookup.")
        raise typer.Exit(EXIT_USAGE)
    options: JobOptions = {
        "lyrics": lyrics_text(lyrics) if lyrics else None,
        "language": language,
        "separator_engines": _listed(separator),
        "transcriber_engines": _listed(transcriber),
        "aligner_engines": _listed(aligner),
        "task": task,
        "prompt": prompt,
        "hot_words": _listed(hot_words),
        "listen": listen,
        "stems": stems,
        "stem_format": stem_format,
        "formats": _formats(formats or []),
        "karaoke": {"fill": fill, "lead_in": lead_in, "syllables": syllables},
        "lookup": {"artist": artist or "", "title": title or ""} if lookup else None,
    }
    if by_test_models:
        options |= demo.TEST_ENGINES
    folder = (out or Path("out") / _name(source)).absolute()
    extra = _opened(source) | (_looking_up() if lookup else {})
    with (
        _failures(),
        private_folder() as private,
        _system(private, extra=extra | (demo.with_test_models(private) if by_test_models else {})) as system,
        Client(system.url) as client,
    ):
        if link:
            job = client.jobs.create_from_link(source, **options)
        else:
            job = client.jobs.create_from_file(Path(source), **options)
        outcome = _watch(client, system, job)
        if outcome["state"] != "succeeded":
            problem = outcome.get("problem") or {"reason": "CANCELLED", "detail": "The job was cancelled."}
            raise JobFailed(problem["reason"], problem["detail"])
        result, usage = client.jobs.result(job.id), client.jobs.get(job.id).usage
        saved = _save(client, job, result.artifacts, folder)
    words = result.words
    report.show_lines(out_console, words)
    report.show_engines(out_console, words)
    report.show_usage(out_console, usage)
    report.show_dropped(out_console, words)
    report.show_unmatched(out_console, words)
    report.show_warnings(out_console, words)
    if is_demo:
        report.show_accuracy(out_console, words, demo.TRUTH)
    for path in saved:
        out_console.print(f"{_size(path):>9}  {escape(_shown(path))}", soft_wrap=True)
    if not words["lines"]:
        out_console.print("[yellow]No words were found.[/]")
        raise typer.Exit(EXIT_NO_WORDS)


@app.command(epilog=EXIT_STATUS)
def up(
    port: Annotated[int, typer.Option(help="Port of the REST API on 127.0.0.1.")] = 8080,
) -> None:
    """Keep everything running, with its data kept in SINGSCRIPT_HOME, and print the address."""
    folder = home() / "up"
    folder.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    with _failures(), _system(folder, port=port) as system:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        out_console.print(f"[bold]{system.url}[/]  (API: {system.url}/docs)")
        for name, address in system.services.items():
            out_console.print(f"{name:<12} gRPC {address}")
        out_console.print(f"Data: {home() / 'up'}. Ctrl-C stops everything.", soft_wrap=True)
        stop.wait()
        out_console.print("stopping")


@app.command(epilog="Exit status: 0 the main job can run · 1 something that it needs is missing.")
def doctor() -> None:
    """Say what is there and what is missing: engines, weights, keys, guards, disk."""
    from singscript_standalone.doctor import examine

    with _failures():
        findings = examine()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("", "what", "state", ""):
        table.add_column(title)
    colours = {"ok": "green", "missing": "yellow", "bad": "red"}
    group = ""
    for one in findings:
        state = f"[{colours[one.state]}]{one.state}[/]"
        table.add_row(one.group if one.group != group else "", one.name, state, escape(one.detail))
        group = one.group
    out_console.print(table)
    if any(one.state == "bad" for one in findings):
        raise typer.Exit(EXIT_FAILED)


models_app = typer.Typer(help="Weights of models, in SINGSCRIPT_MODELS_DIR.", no_args_is_help=True)
app.add_typer(models_app, name="models")


@models_app.command(epilog="Exit status: 0 done · 1 weights could not be had · 2 wrong usage · 130 interrupted.")
def pull(names: Annotated[list[str], typer.Argument(metavar="NAME", help="Such as htdemucs or small.")]) -> None:
    """Download and convert the weights of models before they are needed; what is there is left alone."""
    with _failures():
        listed = _models("separator", "list", capture=True)
        if listed.returncode:
            raise typer.Exit(listed.returncode)
        separators = [line.split()[0] for line in listed.stdout.splitlines()]
        # Checked first: it also knows names that it does not list, and nothing is downloaded when one is wrong.
        others = [name for name in names if name not in separators]
        status = _models("transcriber", "pull", *others).returncode if others else 0
        if status == EXIT_USAGE:
            err_console.print(f"Nor is it one of the separator's: {', '.join(separators)}.", soft_wrap=True)
        own = [name for name in names if name in separators]
        if own and not status:
            status = _models("separator", "pull", *own).returncode
        raise typer.Exit(status)


@models_app.command("list")
def list_models() -> None:
    """Say which models there are, for which stage, and which are on this machine."""
    with _failures():
        for service in ("separator", "transcriber"):
            listed = _models(service, "list", capture=True)
            if listed.returncode:
                raise typer.Exit(listed.returncode)
            for line in listed.stdout.splitlines():
                out_console.print(f"{service:<13}{escape(line)}", soft_wrap=True)


def _models(service: str, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """The service's own command, in a process of its own: whoever only starts services loads none of their code."""
    command = [sys.executable, "-m", f"singscript_{service}.models", *arguments]
    return subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE if capture else None)


@contextmanager
def _system(folder: Path, *, port: int = 0, extra: dict[str, str] | None = None) -> Iterator[System]:
    with ExitStack() as stack:
        with err_console.status("starting") as status:
            system = stack.enter_context(running(folder, port=port, extra=extra, say=status.update))
        yield system


@contextmanager
def _failures() -> Iterator[None]:
    """Turns what may go wrong into a sentence and an exit status."""
    try:
        yield
    except (JobFailed, SingscriptError) as error:
        err_console.print(f"[red]{error.reason}[/] {escape(error.detail)}")
        raise typer.Exit(EXIT_FAILED) from None
    except (ProcessFailed, StageError) as error:
        err_console.print(f"[red]The system did not start.[/] {escape(str(error))}")
        raise typer.Exit(EXIT_NOT_STARTED) from None
    except KeyboardInterrupt:
        err_console.print("interrupted; everything is stopped")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _watch(client: Client, system: System, job: Job) -> dict[str, Any]:
    try:
        with JobProgress(out_console, job.title) as progress:
            progress.show(client.jobs.watch(job.id))
    finally:
        for name in system.supervisor.restarted:
            err_console.print(f"[yellow]The {name} ended by itself and was started again.[/]")
    return progress.outcome


def _save(client: Client, job: Job, artifacts: list[Artifact], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []
    for artifact in artifacts:
        if artifact.stage in SAVED_STAGES:
            client.jobs.save(job.id, artifact, folder / artifact.name)
            saved.append(folder / artifact.name)
    return saved


def _opened(source: str) -> dict[str, str]:
    """Whoever types a link at this machine's own terminal may reach this machine and its network by it."""
    if "://" not in source:
        return {}
    try:
        host = urlsplit(source).netloc.rpartition("@")[2]
    except ValueError:
        return {}
    hosts = [h for h in (os.environ.get("SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS"), host) if h]
    return {"SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS": ",".join(hosts)}


def _looking_up() -> dict[str, str]:
    """Whoever asks for it at this machine's own terminal may have lyrics looked up."""
    return {"SINGSCRIPT_LYRICS_LOOKUP": os.environ.get("SINGSCRIPT_LYRICS_LOOKUP") or LYRICS_LOOKUP}


def _listed(given: str | None) -> list[str] | None:
    """What was separated by commas; None when that is nothing."""
    return [part for one in (given or "").split(",") if (part := one.strip())] or None


def _formats(given: list[str]) -> list[Format] | None:
    """Names of formats, separated by commas, each once; None when there is none."""
    names = dict.fromkeys(part for one in given for part in _listed(one) or ())
    if unknown := [name for name in names if name not in FORMATS]:
        err_console.print(f"[red]No such format:[/] {escape(unknown[0])}. There are {', '.join(FORMATS)}.")
        raise typer.Exit(EXIT_USAGE)
    return [known for name in names for known in FORMATS if known == name] or None


def _demo_song() -> Path:
    if not demo.SONG.is_file():
        err_console.print("[red]The demo is not here:[/] it is part of a checkout. Name a link or a file.")
        raise typer.Exit(EXIT_USAGE)
    return demo.SONG


def lyrics_text(path: Path) -> str:
    """Lyrics: UTF-8, or UTF-16 that begins with its mark, as editors on Windows write it."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "This is no text in UTF-8. Save it as such."
        err_console.print(f"[red]The lyrics {escape(str(path))} cannot be read:[/] {escape(str(why))}")
        raise typer.Exit(EXIT_USAGE) from None
    if not text.strip():
        err_console.print(f"[red]The lyrics {escape(str(path))} are empty.[/] Without --lyrics the words are guessed.")
        raise typer.Exit(EXIT_USAGE)
    return text


def _name(source: str) -> str:
    stem = Path(urlsplit(source).path if "://" in source else source).stem
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip("-.") or "result"


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _size(path: Path) -> str:
    size_bytes = path.stat().st_size
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def main() -> None:
    # A stop from outside ends a run as Ctrl-C does: everything that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
