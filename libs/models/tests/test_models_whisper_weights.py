"""Whisper's weights: found wherever they may lie, else fetched over real HTTP on loopback, converted, and kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faster_whisper.utils
import pytest
import torch
import whisper
from nano_whisper import save_openai
from webfiles import Web, serving

from singscript_core.events import Progress
from singscript_models import command
from singscript_models.command import EXIT_FAILED, EXIT_USAGE
from singscript_models.download import DownloadFailed
from singscript_models.reach import Reach
from singscript_models.whisper import released, weights
from singscript_models.whisper.shelf import WhisperShelf
from singscript_models.whisper.weights import Place, WeightsRefused

FILES = {"config.json": b"{}", "tokenizer.json": b"[1]", "vocabulary.txt": b"words\n" * 9, "model.bin": bytes(200_000)}
CHECKPOINT = b"a checkpoint" * 1000
SHA256 = hashlib.sha256(CHECKPOINT).hexdigest()
CONVERTED = f"faster-whisper-tiny-{SHA256[:16]}"
REVISION = "d" * 40


@pytest.fixture(autouse=True)
def _no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Stands for the hub and for OpenAI; the one model that they have is "tiny"."""
    monkeypatch.setenv("no_proxy", "*")
    with serving() as web:
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        openai = {"tiny": f"{web.url}/models/{SHA256}/tiny.pt"}
        catalogues = {"faster_whisper": {"tiny": "Systran/tiny", "small": "Systran/small"}, "whisper": openai}
        monkeypatch.setattr(released, "_catalogue", lambda package, file: catalogues[package])
        monkeypatch.setattr(released, "_PINNED", {"Systran/tiny": (REVISION, sums())})
        for name, content in FILES.items():
            web.source(f"Systran/tiny/resolve/{REVISION}/{name}", content)
        web.source(f"models/{SHA256}/tiny.pt", CHECKPOINT)
        yield web


def sums() -> dict[str, tuple[str, int]]:
    return {name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in FILES.items()}


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Checkpoints that were converted, by somebody who does no more than that."""
    done: list[Path] = []

    def converting(checkpoint: Path, folder: Path) -> Iterator[None]:
        done.append(checkpoint)
        yield
        (folder / "model.bin").write_bytes(checkpoint.read_bytes())

    monkeypatch.setattr(weights, "convert", converting)
    return done


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "lacks_packages", lambda: True)


class Answering(Reach):
    """Every host answers."""

    def problem(self, *urls: str) -> str:
        return ""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "models").mkdir()
    return Place(tmp_path / "models", True, Answering())


def fetched(model: str, kind: weights.Kind, place: Place) -> tuple[Path, list[Progress]]:
    reports: list[Progress] = []
    fetching = weights.fetch(model, kind, place)
    while True:
        try:
            reports.append(next(fetching))
        except StopIteration as end:
            return end.value, reports


def kept(place: Place) -> list[str]:
    """Files of the models folder, what is only there to wait for each other left out."""
    paths = (path for path in place.models_dir.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(str(path.relative_to(place.models_dir)) for path in paths)


def a_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def in_hub_cache(repository: str, root: Path) -> Path:
    cache = root / "hub" / f"models--{repository.replace('/', '--')}"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(REVISION)
    return a_folder(cache / "snapshots" / REVISION)


def test_the_models_folder_comes_first(web: Web, place: Place, tmp_path: Path, conversions: list[Path]) -> None:
    cached = in_hub_cache("Systran/tiny", tmp_path)
    assert fetched("tiny", "ct2", place) == (cached, [])
    (place.models_dir / "tiny.pt").write_bytes(CHECKPOINT)
    assert fetched("tiny", "ct2", place)[0] == place.models_dir / CONVERTED
    own = a_folder(place.models_dir / "faster-whisper-tiny")
    assert fetched("tiny", "ct2", place) == (own, [])
    assert weights.problem("tiny", "ct2", place) == ""
    assert web.asked == []


def test_a_folder_without_weights_does_not_count(web: Web, place: Place) -> None:
    (a_folder(place.models_dir / "faster-whisper-tiny") / "model.bin").unlink()
    assert weights.find("tiny", "ct2", place) is None
    folder, _ = fetched("tiny", "ct2", place)
    assert (folder / "model.bin").read_bytes() == FILES["model.bin"]


def test_pinned_files_come_from_the_hub_and_are_kept(web: Web, place: Place) -> None:
    folder, reports = fetched("tiny", "ct2", place)
    assert folder == place.models_dir / "faster-whisper-tiny"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert kept(place) == sorted(f"faster-whisper-tiny/{name}" for name in FILES)
    total_bytes = sum(len(content) for content in FILES.values())
    done = [report.done_bytes or 0 for report in reports]
    assert done == sorted(done) and done[-1] == total_bytes
    assert {report.total_bytes for report in reports} == {total_bytes}
    asked = len(web.asked)
    assert fetched("tiny", "ct2", place) == (folder, [])
    assert len(web.asked) == asked == len(FILES)


def test_a_second_name_is_the_same_model(web: Web, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogues = {"faster_whisper": {"tiny": "Systran/tiny", "mini": "Systran/tiny"}, "whisper": {}}
    monkeypatch.setattr(released, "_catalogue", lambda package, file: catalogues[package])
    folder, _ = fetched("mini", "ct2", place)
    assert folder.name == "faster-whisper-tiny"
    assert weights.find("tiny", "ct2", place) == folder


def test_what_was_cut_short_goes_on(web: Web, place: Place, no_packages: None) -> None:
    web.files = {path: content for path, content in web.files.items() if path.endswith("config.json")}
    with pytest.raises(DownloadFailed, match="404"):
        fetched("tiny", "ct2", place)
    for name, content in FILES.items():
        web.source(f"Systran/tiny/resolve/{REVISION}/{name}", content)
    web.cuts = [1, 99, 10, 99, 100_000]  # of the tokenizer, the vocabulary and the weights; 99 is all that is left
    web.asked.clear()
    folder, _ = fetched("tiny", "ct2", place)
    assert (folder / "model.bin").read_bytes() == FILES["model.bin"]
    assert not [path for path in web.asked if "config.json" in path]
    assert web.asked[-1].endswith("model.bin bytes=100000-")


def test_the_second_place_is_asked_when_the_first_sends_something_else(
    web: Web, place: Place, conversions: list[Path]
) -> None:
    web.source(f"Systran/tiny/resolve/{REVISION}/model.bin", bytes(100) + FILES["model.bin"][100:-1] + b"!")
    folder, reports = fetched("tiny", "ct2", place)
    assert folder == place.models_dir / CONVERTED
    assert (folder / "model.bin").read_bytes() == CHECKPOINT
    assert Progress(0.0) in reports  # while it is converted
    assert not [path for path in kept(place) if path.endswith((".pt", "faster-whisper-tiny/model.bin"))]
    assert weights.find("tiny", "ct2", place) == folder  # also without the checkpoint


def test_all_failures_are_told_with_what_to_do(web: Web, place: Place, conversions: list[Path]) -> None:
    web.files.clear()
    told = r"answered 404 for config.json\. .*answered 404 for tiny.pt\. Put faster-whisper-tiny/ into"
    with pytest.raises(DownloadFailed, match=told) as failure:
        fetched("tiny", "ct2", place)
    assert failure.value.reason == "DOWNLOAD_FAILED"
    assert kept(place) == conversions == []


@pytest.mark.parametrize("kind", ["ct2", "pt"])
def test_why_weights_cannot_be_had(
    web: Web, tmp_path: Path, kind: weights.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = "faster-whisper-tiny/" if kind == "ct2" else "tiny.pt"
    off = Place(tmp_path, False, Reach())
    put = f"; put it into SINGSCRIPT_MODELS_DIR as {wanted}."
    assert (
        weights.problem("tiny", kind, off)
        == f"the model tiny is not on this machine and downloads are switched off{put}"
    )
    with pytest.raises(DownloadFailed, match="downloads are switched off"):
        fetched("tiny", kind, off)
    on = Place(tmp_path, True, Reach())
    assert weights.problem("tiny", kind, Place(tmp_path, True, Answering())) == ""
    for name in ("nonsense", "../tiny", ""):
        assert "nobody offers a model of that name" in weights.problem(name, kind, on)
    catalogues = {
        "faster_whisper": {"tiny": "Systran/tiny"},
        "whisper": {"tiny": f"http://127.0.0.1:9/{SHA256}/tiny.pt"},
    }
    monkeypatch.setattr(released, "_catalogue", lambda package, file: catalogues[package])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "127.0.0.1 cannot be reached" in weights.problem("tiny", kind, on)
    with pytest.raises(DownloadFailed, match="cannot be reached"):
        fetched("tiny", kind, on)
    assert web.asked == []


def test_the_hub_may_be_switched_off_by_its_own_setting(
    web: Web, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in weights.problem("tiny", "ct2", place)
    with pytest.raises(DownloadFailed, match="HF_HUB_OFFLINE is set"):
        fetched("tiny", "ct2", place)
    assert weights.problem("tiny", "pt", place) == ""
    assert web.asked == []


def test_a_checkpoint_whose_sum_is_known_comes_before_files_whose_sums_are_not(
    web: Web, place: Place, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(released, "_PINNED", {})
    assert fetched("tiny", "ct2", place)[0] == place.models_dir / CONVERTED
    assert web.asked == [f"/models/{SHA256}/tiny.pt"]
    assert kept(place) == [f"{CONVERTED}/model.bin"]


def declare(web: Web, **changes: Any) -> None:
    """Lets the hub say what its repository `small` holds."""
    siblings: list[dict[str, Any]] = [{"rfilename": "README.md", "size": 3, "blobId": "0"}]
    for name, content in FILES.items():
        web.source(f"Systran/small/resolve/{REVISION}/{name}", content)
        siblings.append({"rfilename": name, "size": len(content), "blobId": "0"})
    siblings[-1]["lfs"] = {
        "sha256": sums()["model.bin"][0],
        "size": len(FILES["model.bin"]),
        "pointerSize": 1,
    } | changes
    about = {"id": "Systran/small", "sha": REVISION, "siblings": siblings}
    web.source("api/models/Systran/small?blobs=true", json.dumps(about).encode())


def test_without_a_known_sum_the_one_that_the_hub_declares_counts(web: Web, place: Place) -> None:
    declare(web)
    folder, _ = fetched("small", "ct2", place)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_files_other_than_declared_are_not_kept(web: Web, place: Place) -> None:
    declare(web, sha256="0" * 64)
    with pytest.raises(DownloadFailed, match=r"something other than model\.bin"):
        fetched("small", "ct2", place)
    assert weights.find("small", "ct2", place) is None


def test_a_hub_that_has_no_such_repository(web: Web, place: Place) -> None:
    with pytest.raises(DownloadFailed, match=r"answered 404 for Systran/small\. Put faster-whisper-small/"):
        fetched("small", "ct2", place)


def test_a_checkpoint_is_really_converted_once(place: Place) -> None:
    save_openai(place.models_dir / "mine.pt", "hello", 1.0)
    assert weights.problem("mine", "ct2", place) == ""
    folder, _ = fetched("mine", "ct2", place)
    sha256 = hashlib.sha256((place.models_dir / "mine.pt").read_bytes()).hexdigest()
    assert folder == place.models_dir / f"faster-whisper-mine-{sha256[:16]}"
    names = {"config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}  # another user may serve it
    assert folder.stat().st_mode & 0o555 == 0o555
    before = (folder / "model.bin").stat()
    assert fetched("mine", "ct2", place) == (folder, [])
    assert (folder / "model.bin").stat() == before
    assert fetched("mine", "pt", place) == (place.models_dir / "mine.pt", [])


def test_a_checkpoint_that_was_replaced_is_converted_anew(place: Place, conversions: list[Path]) -> None:
    (place.models_dir / "mine.pt").write_bytes(b"one")
    old, _ = fetched("mine", "ct2", place)
    (place.models_dir / "mine.pt").write_bytes(b"another")
    new, _ = fetched("mine", "ct2", place)
    assert new != old and (new / "model.bin").read_bytes() == b"another"
    assert len(conversions) == 2


def test_without_torch_a_checkpoint_says_what_it_takes(place: Place, no_packages: None) -> None:
    (place.models_dir / "mine.pt").write_bytes(b"one")
    problem = weights.problem("mine", "ct2", place)
    assert problem.startswith("to convert mine.pt takes the packages torch and openai-whisper; install them, or put")
    with pytest.raises(DownloadFailed, match="takes the packages torch"):
        fetched("mine", "ct2", place)


def test_packages_are_looked_for_and_not_imported() -> None:
    code = "import sys; from singscript_models.whisper import convert as c; print(c.lacks_packages(), *sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lacks, *imported = found.stdout.split()
    assert lacks == "False" and not {"torch", "whisper", "ctranslate2"} & {*imported}


def test_openais_own_cache_is_looked_at(web: Web, place: Place, tmp_path: Path, conversions: list[Path]) -> None:
    cached = tmp_path / "cache" / "whisper" / "tiny.pt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CHECKPOINT)
    assert fetched("tiny", "pt", place) == (cached, [])
    assert fetched("tiny", "ct2", place)[0] == place.models_dir / CONVERTED
    assert cached.read_bytes() == CHECKPOINT
    assert web.asked == []


def test_openais_checkpoint_is_downloaded_for_openai_whisper(web: Web, place: Place) -> None:
    path, reports = fetched("tiny", "pt", place)
    assert path == place.models_dir / "tiny.pt" and path.read_bytes() == CHECKPOINT
    assert reports[-1].done_bytes == len(CHECKPOINT)
    assert fetched("tiny", "pt", place) == (path, [])
    assert len(web.asked) == 1


def test_a_checkpoint_with_a_wrong_sum_is_removed(web: Web, place: Place) -> None:
    web.source(f"models/{SHA256}/tiny.pt", b"something else")
    with pytest.raises(DownloadFailed, match=r"something other than tiny.pt.*Put tiny.pt into SINGSCRIPT_MODELS_DIR"):
        fetched("tiny", "pt", place)
    assert kept(place) == []


class _Payload:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._trace),)


def test_r11_a_checkpoint_with_a_payload_is_refused(place: Place, tmp_path: Path) -> None:
    torch.save({"dims": {}, "model_state_dict": _Payload(tmp_path / "it-ran")}, place.models_dir / "evil.pt")
    with pytest.raises(WeightsRefused, match="The weights evil cannot be used: the file is damaged") as refusal:
        fetched("evil", "ct2", place)
    assert refusal.value.reason == "WEIGHTS_REFUSED"
    assert not (tmp_path / "it-ran").exists()
    assert kept(place) == ["evil.pt"]


def test_a_read_only_models_folder_stays_as_it_is(
    web: Web, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access
    # Who runs the tests may be root, who may write everywhere but on a read-only disk.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != place.models_dir and real(path, mode))
    folder, _ = fetched("tiny", "ct2", place)
    assert folder.is_relative_to(tmp_path / "cache") and folder.name == "faster-whisper-tiny"
    assert list(place.models_dir.iterdir()) == []
    assert fetched("tiny", "ct2", place) == (folder, [])


def test_a_disk_that_is_full_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(checkpoint: Path, folder: Path) -> Iterator[None]:
        yield
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "convert", full)
    (place.models_dir / "mine.pt").write_bytes(b"one")
    with pytest.raises(DownloadFailed, match="disk of SINGSCRIPT_MODELS_DIR is full"):
        fetched("mine", "ct2", place)
    assert kept(place) == ["mine.pt"]


def test_a_checkpoint_that_may_not_be_read_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(weights, "_sha256", closed)
    (place.models_dir / "mine.pt").write_bytes(b"one")
    with pytest.raises(DownloadFailed, match="cannot be read or written"):
        fetched("mine", "ct2", place)


def test_threads_at_once_convert_once(place: Place, conversions: list[Path]) -> None:
    (place.models_dir / "mine.pt").write_bytes(b"one")
    threads = [threading.Thread(target=fetched, args=("mine", "ct2", place)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert conversions == [place.models_dir / "mine.pt"]


FETCHER = """
import json, sys
from pathlib import Path
from singscript_models.reach import Reach
from singscript_models.whisper import released, weights
folder, pinned = Path(sys.argv[1]), json.loads(sys.argv[2])
released._catalogue = lambda package, file: {"tiny": "Systran/tiny"} if package == "faster_whisper" else {}
released._PINNED = {"Systran/tiny": pinned}
for _ in weights.fetch("tiny", "ct2", weights.Place(folder, True, Reach())):
    pass
"""


def test_processes_at_once_download_once(web: Web, place: Place) -> None:
    command = [sys.executable, "-c", FETCHER, str(place.models_dir), json.dumps([REVISION, sums()])]
    processes = [subprocess.Popen(command) for _ in range(2)]
    for process in processes:
        with process:
            process.wait(60)
        assert process.returncode == 0
    assert sorted(web.asked) == sorted(f"/Systran/tiny/resolve/{REVISION}/{name}" for name in FILES)
    assert weights.find("tiny", "ct2", place) == place.models_dir / "faster-whisper-tiny"


def test_models_of_ones_own_are_known_beside_the_released_ones(web: Web, place: Place) -> None:
    for name in ("mine.pt", "tiny.pt", ".hidden.pt"):
        (place.models_dir / name).write_bytes(b"")
    for name in ("faster-whisper-yours", f"faster-whisper-mine-{'0' * 16}", "faster-whisper-small"):
        a_folder(place.models_dir / name)
    assert weights.known_models(place) == ["mine", "yours", "tiny", "small"]
    shutil.rmtree(place.models_dir)
    assert weights.known_models(place) == ["tiny", "small"]


def test_what_both_packages_name_is_known_and_most_of_it_is_pinned() -> None:
    names = released.names()
    assert {released.canonical(name) for name in [*faster_whisper.utils._MODELS, *whisper._MODELS]} == set(names)
    assert released.canonical("turbo") == "large-v3-turbo" and released.canonical("large") == "large-v3"
    assert released.repository("small") == faster_whisper.utils._MODELS["small"]
    for name, url in whisper._MODELS.items():
        source = released.openai(name)
        assert source is not None and source.url == url and re.fullmatch("[0-9a-f]{64}", source.sha256)
    pinned = {name: released.pinned(name) for name in names if released.pinned(name)}
    assert len(pinned) == len(released._PINNED)  # each of them can be asked for
    assert {"tiny", "base", "small", "medium", "large-v2", "large-v3", "large-v3-turbo"} < pinned.keys()
    for name, sources in pinned.items():
        files = list(sources)
        assert files[-1] == "model.bin" and {"config.json", "tokenizer.json"} < set(files) <= set(released._FILES)
        for file, source in sources.items():
            place = f"https://huggingface.co/{released.repository(name)}/resolve/[0-9a-f]{{40}}/{re.escape(file)}"
            assert re.fullmatch(place, source.url)
            assert re.fullmatch("[0-9a-f]{64}", source.sha256)
            assert source.size_bytes
    weights_sums = [sources["model.bin"].sha256 for sources in pinned.values()]
    assert len(set(weights_sums)) == len(weights_sums)


def pull_or_list(arguments: list[str]) -> int:
    return command.main(WhisperShelf, "Whisper", "small", arguments)


def test_pull_gets_a_model_and_list_shows_it(
    web: Web, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SINGSCRIPT_MODELS_DIR", str(place.models_dir))
    (place.models_dir / "mine.pt").write_bytes(b"")
    assert pull_or_list(["list"]) == 0
    shown = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert shown == [["mine", "here, to be converted"], ["tiny", "0.2 MB to download"], ["small", "to download"]]
    assert pull_or_list(["pull", "tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "tiny: here"
    assert pull_or_list(["list"]) == 0
    assert "tiny                        here\n" in capsys.readouterr().out


def test_pull_says_what_went_wrong(
    web: Web, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SINGSCRIPT_MODELS_DIR", str(place.models_dir))
    web.files.clear()
    assert pull_or_list(["pull", "tiny"]) == EXIT_FAILED
    assert "answered 404" in capsys.readouterr().err
    assert pull_or_list(["pull", "nonsense"]) == EXIT_USAGE
    assert "There is no Whisper model named 'nonsense'. Choose from: tiny, small." in capsys.readouterr().err
    monkeypatch.setenv("SINGSCRIPT_ALLOW_MODEL_DOWNLOAD", "maybe")
    assert pull_or_list(["list"]) == EXIT_USAGE
