"""Writes SETTINGS.md from the settings that the code declares; `--check` only compares.

python tools/settings_page.py [--check]
"""

from __future__ import annotations

import sys

from parts import ROOT
from pydantic import AliasChoices, SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from singscript_aligner.settings import AlignerSettings
from singscript_core.settings import ModelSettings, ServiceSettings
from singscript_downloader.settings import DownloaderSettings
from singscript_gateway.settings import ApiSettings, DispatcherSettings
from singscript_separator.settings import SeparatorSettings
from singscript_serving.tls import TlsSettings
from singscript_storage.settings import StorageSettings
from singscript_transcriber.settings import TranscriberSettings

PAGE = ROOT / "SETTINGS.md"
INTRODUCTION = """# Settings

All settings come from the environment; a wrong value stops the process at its start with a sentence that names it. This
page is written by `make format` from the code that reads them.

"computed" stands for a default that depends on the machine.
"""
SECTIONS: tuple[tuple[str, type[BaseSettings], tuple[type[BaseSettings], ...]], ...] = (
    ("Every gRPC service", ServiceSettings, ()),
    ("Where files are kept: every service, and the gateway", StorageSettings, ()),
    ("TLS between services: every service, and the gateway", TlsSettings, ()),
    ("Model weights: separator, transcriber, aligner", ModelSettings, ()),
    ("Downloader", DownloaderSettings, (ServiceSettings,)),
    ("Separator", SeparatorSettings, (ServiceSettings,)),
    ("Transcriber", TranscriberSettings, (ServiceSettings, ModelSettings)),
    ("Aligner", AlignerSettings, (ServiceSettings, ModelSettings)),
    ("Gateway: API", ApiSettings, ()),
    ("Gateway: dispatcher", DispatcherSettings, ()),
)


def rows(settings: type[BaseSettings], told_already: tuple[type[BaseSettings], ...]) -> list[str]:
    """A table row for each setting that the classes of `told_already` do not have."""
    told = {name for other in told_already for name in other.model_fields}
    found: list[str] = []
    for name, field in settings.model_fields.items():
        if name in told:
            continue
        alias = field.validation_alias
        assert not isinstance(alias, AliasChoices)
        variable = str(alias or f"SINGSCRIPT_{name}").upper()
        found.append(f"| `{variable}` | {default_of(field.default, field.default_factory)} | {field.description} |")
    return found


def default_of(default: object, factory: object) -> str:
    """A default as the environment would have it."""
    if factory is not None:
        return "computed"
    if default is PydanticUndefined:
        return "must be set"
    if isinstance(default, SecretStr) or default in (None, ""):
        return "–"
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def page() -> str:
    parts = [INTRODUCTION]
    for title, settings, told_already in SECTIONS:
        table = ["| setting | default | meaning |", "|---|---|---|", *rows(settings, told_already)]
        parts.append("\n".join([f"## {title}", "", *table, ""]))
    return "\n".join(parts)


def main() -> None:
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit("SETTINGS.md is not what the code says: run `make format`.")


if __name__ == "__main__":
    main()
