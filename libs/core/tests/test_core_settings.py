from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from singscript_core.settings import ModelSettings, ServiceSettings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SINGSCRIPT_LISTEN", "0.0.0.0:50051")
    monkeypatch.setenv("SINGSCRIPT_MAX_STREAMS", "3")
    monkeypatch.setenv("SINGSCRIPT_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("SINGSCRIPT_ALLOW_MODEL_DOWNLOAD", "no")
    service, models = ServiceSettings(), ModelSettings()
    assert (service.listen, service.max_streams) == ("0.0.0.0:50051", 3)
    assert (models.models_dir, models.allow_model_download) == (tmp_path, False)


def test_a_service_starts_without_any_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN", "MAX_STREAMS", "DRAIN_S", "LOG_LEVEL", "MODELS_DIR"):
        monkeypatch.delenv(f"SINGSCRIPT_{name}", raising=False)
    assert ServiceSettings().listen.startswith("127.0.0.1:")
    assert ModelSettings().models_dir.is_absolute()


@pytest.mark.parametrize(("name", "value"), [("MAX_STREAMS", "0"), ("MAX_STREAMS", "many"), ("DRAIN_S", "-1")])
def test_a_wrong_value_is_refused_and_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SINGSCRIPT_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        ServiceSettings()


def test_settings_do_not_change_at_run_time() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ServiceSettings().max_streams = 9
