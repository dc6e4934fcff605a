from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from singscript_storage import FolderStore, InvalidKey, S3Store, StorageSettings, artifact_key, open_store

S3 = {
    "SINGSCRIPT_S3_ENDPOINT": "127.0.0.1:9000",
    "SINGSCRIPT_S3_BUCKET": "singscript",
    "SINGSCRIPT_S3_ACCESS_KEY": "key",
    "SINGSCRIPT_S3_SECRET_KEY": "very-secret",
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "STORAGE_DIR",
        "S3_ENDPOINT",
        "S3_BUCKET",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
        "S3_REGION",
        "S3_SECURE",
        "S3_PUBLIC_ENDPOINT",
    ):
        monkeypatch.delenv(f"SINGSCRIPT_{name}", raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_without_settings_there_is_no_store() -> None:
    assert open_store(StorageSettings()) is None


def test_a_folder_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SINGSCRIPT_STORAGE_DIR", str(tmp_path / "deep" / "store"))
    store = open_store(StorageSettings())
    assert isinstance(store, FolderStore)
    store.check()


def test_an_s3_server_is_not_spoken_to_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, S3 | {"SINGSCRIPT_S3_SECURE": "false"})
    assert isinstance(open_store(StorageSettings()), S3Store)


def test_the_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, S3)
    assert "very-secret" not in repr(StorageSettings())
    assert "very-secret" not in StorageSettings().model_dump_json()


@pytest.mark.parametrize("missing", ["BUCKET", "ACCESS_KEY", "SECRET_KEY"])
def test_half_an_s3_configuration_is_refused(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    set_all(monkeypatch, {name: value for name, value in S3.items() if not name.endswith(missing)})
    with pytest.raises(ValidationError, match="SINGSCRIPT_S3_ENDPOINT needs"):
        StorageSettings()


@pytest.mark.parametrize(
    "endpoint",
    ["files.example.org", "ftp://files.example.org", "https://files.example.org/s3", "https://me@files.example.org"],
)
def test_public_endpoint_is_scheme_and_host(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    set_all(monkeypatch, S3 | {"SINGSCRIPT_S3_PUBLIC_ENDPOINT": endpoint})
    with pytest.raises(ValidationError, match="s3_public_endpoint"):
        StorageSettings()


def test_public_endpoint_is_of_a_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    public = {"SINGSCRIPT_S3_PUBLIC_ENDPOINT": "https://files.example.org"}
    set_all(monkeypatch, public | {"SINGSCRIPT_STORAGE_DIR": str(tmp_path)})
    with pytest.raises(ValidationError, match="SINGSCRIPT_S3_PUBLIC_ENDPOINT needs SINGSCRIPT_S3_ENDPOINT"):
        StorageSettings()


def test_links_lead_to_the_public_endpoint_only(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, S3)
    store = open_store(StorageSettings())
    assert store and store.link("x", "text/plain", "inline") is None
    monkeypatch.setenv("SINGSCRIPT_S3_PUBLIC_ENDPOINT", "https://files.example.org:8443")
    store = open_store(StorageSettings())
    link = store.link("a/x.txt", "text/plain", "inline") if store else None
    assert link and link.startswith("https://files.example.org:8443/singscript/a/x.txt?")
    assert "very-secret" not in link


def test_folder_has_no_links(tmp_path: Path) -> None:
    assert FolderStore(tmp_path).link("x", "text/plain", "inline") is None


def test_two_stores_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_all(monkeypatch, S3 | {"SINGSCRIPT_STORAGE_DIR": str(tmp_path)})
    with pytest.raises(ValidationError, match="not both"):
        StorageSettings()


@pytest.mark.parametrize(("name", "value"), [("S3_ENDPOINT", "http://127.0.0.1:9000"), ("S3_BUCKET", "No Bucket")])
def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    set_all(monkeypatch, S3 | {f"SINGSCRIPT_{name}": value})
    with pytest.raises(ValidationError, match=name.lower()):
        StorageSettings()


def test_the_key_of_an_artifact_depends_on_the_work_alone() -> None:
    key = artifact_key("separate", {"model": "htdemucs", "shifts": "1"}, "ab" * 32, "vocals.flac")
    assert key == artifact_key("separate", {"shifts": "1", "model": "htdemucs"}, "ab" * 32, "vocals.flac")
    stage, digest, name = key.split("/")
    assert (stage, len(digest), name) == ("separate", 64, "vocals.flac")
    others = {
        artifact_key("separate", {"model": "htdemucs", "shifts": "2"}, "ab" * 32, "vocals.flac"),
        artifact_key("separate", {"model": "htdemucs"}, "ab" * 32, "vocals.flac"),
        artifact_key("separate", {"model": "htdemucs", "shifts": "1"}, "cd" * 32, "vocals.flac"),
    }
    assert len(others | {key}) == 4


def test_the_key_of_an_artifact_stays_the_same_between_versions() -> None:
    """Otherwise an update would do all work again."""
    assert artifact_key("download", {}, "", "source") == (
        "download/34971318cfcb73c1d9e00b9922f8918992331f077de53490858a694c101b1e35/source"
    )


def test_an_artifact_with_an_impossible_name_is_refused() -> None:
    with pytest.raises(InvalidKey):
        artifact_key("separate", {}, "", "../vocals.flac")
