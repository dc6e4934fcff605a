"""Where Whisper's weights are, and how they get there.

There are two kinds. "pt" is OpenAI's checkpoint, one file: `NAME.pt` in the models folder, or in openai-whisper's own
cache. "ct2" is a folder for CTranslate2: `faster-whisper-NAME/` in the models folder, or in the cache of the Hugging
Face hub; a checkpoint of the other kind is converted once, into `faster-whisper-NAME-<first digits of its SHA-256>/`.
What is nowhere is downloaded once. Downloads and conversions are kept in the models folder, or where that is read-only
in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from singscript_core.errors import EngineUnavailable
from singscript_core.events import Progress
from singscript_models.children import NotWeights
from singscript_models.download import DownloadFailed, Source, disk_trouble, download
from singscript_models.reach import Reach
from singscript_models.store import cache_dir, exclusive, store_dir
from singscript_models.whisper import released
from singscript_models.whisper.convert import convert, lacks_packages

Kind = Literal["ct2", "pt"]
Fetching = Generator[Progress, None, Path]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_CONVERTED = re.compile(r"-[0-9a-f]{16}$")
_PREFIX = "faster-whisper-"


class WeightsRefused(EngineUnavailable):
    """A checkpoint is damaged, or holds something other than the weights of a Whisper network."""

    reason = "WEIGHTS_REFUSED"


@dataclass(frozen=True, slots=True)
class Place:
    """Where weights are looked for and kept, whether they may be downloaded, and who knows which hosts answer."""

    models_dir: Path
    allow_download: bool
    reach: Reach


def find(model: str, kind: Kind, place: Place) -> Path | None:
    """Where the weights are that an engine can load as they are; None while there are none.

    A checkpoint that lies there to be converted is read once by each process.
    """
    if not _NAME.fullmatch(model):
        return None
    checkpoint = _checkpoint(model, place)
    if kind == "pt":
        return checkpoint
    ready = _folder(f"{_PREFIX}{model}", place) or _folder(f"{_PREFIX}{released.canonical(model)}", place)
    if not ready and checkpoint:
        ready = _folder(_converted(checkpoint), place)
    if not ready and checkpoint and checkpoint.parent == place.models_dir and not lacks_packages():
        return None  # what was put there is meant, and waits for its conversion
    return ready or _in_hub_cache(model) or _converted_download(model, place)


def problem(model: str, kind: Kind, place: Place) -> str:
    """Why weights cannot be had, and what to do about it; empty when they can. May ask hosts for some seconds."""
    if _convertible(model, kind, place) or find(model, kind, place):
        return ""
    reason = _undownloadable(model, kind, place) or place.reach.problem(*_urls(model, kind))
    return _missing(model, kind, place, reason) if reason else ""


def fetch(model: str, kind: Kind, place: Place) -> Fetching:
    """The weights of a model, downloaded and converted where they must be: a folder for "ct2", a file for "pt".

    Of processes and of threads that want the same, one works and the others wait for it.

    Yields:
        About twice a second, bytes done and in all while something is downloaded.
    Raises:
        DownloadFailed: the network or the disk failed, downloads are switched off, or nobody has such a model.
        WeightsRefused: a checkpoint is damaged, or none of a Whisper network.
    """
    try:
        if path := find(model, kind, place):
            return path
        if not _convertible(model, kind, place) and (reason := _undownloadable(model, kind, place)):
            missing = _missing(model, kind, place, reason)
            raise DownloadFailed(f"{missing[0].upper()}{missing[1:]}")
        store = store_dir(place.models_dir)
        with (yield from exclusive(store, f"whisper-{released.canonical(model)}")) as work:
            if path := find(model, kind, place):
                return path  # another one has just got it
            checkpoint = _checkpoint(model, place)
            if kind == "ct2" and checkpoint and not lacks_packages():
                return (yield from _convert(checkpoint, store, work))
            return (yield from _download(model, kind, store, work))
    except OSError as error:
        raise disk_trouble(error) from error


def known_models(place: Place) -> list[str]:
    """Names of models: those in the models folder first, then those that can be had, whether or not they are here."""
    others = released.names()
    files = sorted(place.models_dir.iterdir()) if place.models_dir.is_dir() else []
    checkpoints = {file.stem for file in files if file.suffix == ".pt"}
    folders = {folder.name.removeprefix(_PREFIX) for folder in files if (folder / "model.bin").is_file()}
    own = checkpoints | {name for name in folders if not _CONVERTED.search(name)}
    return [name for name in sorted(own) if _NAME.fullmatch(name) and name not in others] + others


def _checkpoint(model: str, place: Place) -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
    folders = (place.models_dir, cache_dir(place.models_dir), cache)
    names = dict.fromkeys([model, released.canonical(model)])
    paths = (folder / f"{name}.pt" for folder in folders for name in names)
    return next((path for path in paths if path.is_file()), None)


def _folder(name: str, place: Place) -> Path | None:
    folders = (place.models_dir / name, cache_dir(place.models_dir) / name)
    return next((folder for folder in folders if (folder / "model.bin").is_file()), None)


def _in_hub_cache(model: str) -> Path | None:
    repository = released.repository(model)
    if not repository:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = [try_to_load_from_cache(repository, name) for name in ("config.json", "tokenizer.json", "model.bin")]
    return Path(cached[-1]).parent if all(isinstance(path, str) for path in cached) else None  # pyright: ignore[reportArgumentType]  (all are)


def _converted(checkpoint: Path) -> str:
    """The name of the folder that a checkpoint is converted to."""
    status = checkpoint.stat()
    return f"{_PREFIX}{checkpoint.stem}-{_sha256(checkpoint, status.st_size, status.st_mtime_ns)[:16]}"


@lru_cache(maxsize=32)
def _sha256(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _converted_download(model: str, place: Place) -> Path | None:
    """The conversion of OpenAI's checkpoint, which is not kept itself when it was downloaded for that."""
    source = released.openai(model)
    return _folder(f"{_PREFIX}{released.canonical(model)}-{source.sha256[:16]}", place) if source else None


def _convertible(model: str, kind: Kind, place: Place) -> bool:
    named = kind == "ct2" and _NAME.fullmatch(model) is not None
    return named and not lacks_packages() and _checkpoint(model, place) is not None


def _undownloadable(model: str, kind: Kind, place: Place) -> str:
    """Why a download of the weights, which are not here, need not be tried."""
    if not place.allow_download:
        return "downloads are switched off"
    if not _urls(model, kind):
        return "nobody offers a model of that name"
    return "HF_HUB_OFFLINE is set" if kind == "ct2" and _offline() else ""


def _missing(model: str, kind: Kind, place: Place, reason: str) -> str:
    put = f"put it into SINGSCRIPT_MODELS_DIR as {_put(model, kind)}."
    if kind == "ct2" and find(model, "pt", place):
        return f"to convert {model}.pt takes the packages torch and openai-whisper; install them, or {put}"
    return f"the model {model} is not on this machine and {reason}; {put}"


def _urls(model: str, kind: Kind) -> list[str]:
    """Addresses at the hosts that have the weights; one host is enough."""
    openai = _openai(model, kind)
    urls = [openai.url] if openai else []
    return [*urls, released.hub()] if kind == "ct2" and released.repository(model) else urls


def _openai(model: str, kind: Kind) -> Source | None:
    """OpenAI's checkpoint of a model, if it is of use."""
    return released.openai(model) if kind == "pt" or not lacks_packages() else None


def _put(model: str, kind: Kind) -> str:
    return f"{_PREFIX}{model}/" if kind == "ct2" else f"{model}.pt"


def _offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _download(model: str, kind: Kind, store: Path, work: Path) -> Fetching:
    """From the first place that has it; a place whose sums are known beforehand comes first."""
    ways: list[Fetching] = []
    if kind == "ct2" and released.repository(model):
        ways.append(_from_hub(model, store, work))
    if source := _openai(model, kind):
        ways.append(_from_openai(source, model, kind, store, work))
    if not released.pinned(model):
        ways.reverse()
    failures: list[str] = []
    for way in ways:
        try:
            return (yield from way)
        except DownloadFailed as failure:
            failures.append(failure.message)
    put = f"Put {_put(model, kind)} into SINGSCRIPT_MODELS_DIR, or try again later."
    raise DownloadFailed(" ".join([*dict.fromkeys(failures), put]))


def _from_openai(source: Source, model: str, kind: Kind, store: Path, work: Path) -> Fetching:
    part = work / f"{released.canonical(model)}.pt"
    yield from download(source, part)
    if kind == "pt":
        return part.replace(store / part.name)
    try:
        return (yield from _convert(part, store, work))
    finally:
        part.unlink()


def _from_hub(model: str, store: Path, work: Path) -> Fetching:
    sources = released.pinned(model) or released.declared(model)
    part = work / f"{_PREFIX}{released.canonical(model)}"
    part.mkdir(exist_ok=True)
    yield from _download_all(sources, part)
    target = store / part.name
    target.mkdir(exist_ok=True)
    for name in sources:  # the weights come last: a folder with them is whole
        (part / name).replace(target / name)
    shutil.rmtree(part)
    return target


def _download_all(sources: Mapping[str, Source], folder: Path) -> Generator[Progress]:
    sizes = [source.size_bytes for source in sources.values()]
    total_bytes = sum(size for size in sizes if size is not None) if None not in sizes else None
    before_bytes = 0
    for name, source in sources.items():
        done_bytes = 0
        for progress in download(source, folder / name):
            done_bytes = progress.done_bytes or 0
            yield Progress(0.0, done_bytes=before_bytes + done_bytes, total_bytes=total_bytes)
        before_bytes += done_bytes


def _convert(checkpoint: Path, store: Path, work: Path) -> Fetching:
    name = _converted(checkpoint)
    part = work / name
    shutil.rmtree(part, ignore_errors=True)  # of a process that was ended
    part.mkdir()
    try:
        for _ in convert(checkpoint, part):
            yield Progress(0.0)
        return part.rename(store / name)
    except NotWeights as error:
        raise WeightsRefused(f"The weights {checkpoint.stem} cannot be used: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
