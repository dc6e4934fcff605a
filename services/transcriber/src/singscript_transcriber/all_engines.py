"""All engines of this service, made from its settings."""

from __future__ import annotations

from singscript_models.reach import Reach
from singscript_models.whisper.weights import Place
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.engines.faster_whisper import FasterWhisperEngine
from singscript_transcriber.engines.openai import OpenAIEngine
from singscript_transcriber.engines.sphinx import SphinxEngine
from singscript_transcriber.engines.whisper import WhisperEngine
from singscript_transcriber.settings import TranscriberSettings


def engine_chain(settings: TranscriberSettings) -> EngineChain:
    """A new engine is added here.

    Raises:
        UnknownEngine: the settings name an engine that does not exist.
    """
    place = Place(settings.models_dir, settings.allow_model_download, Reach())
    engines = (
        OpenAIEngine(
            settings.openai_api_key.get_secret_value(),
            settings.openai_base_url,
            settings.openai_model,
            settings.openai_parallel,
        ),
        FasterWhisperEngine(place, settings.whisper_model, settings.whisper_idle_s),
        WhisperEngine(place, settings.whisper_model, settings.whisper_idle_s),
        SphinxEngine(settings.sphinx_processes),
    )
    return EngineChain(engines, settings.transcriber_engines)
