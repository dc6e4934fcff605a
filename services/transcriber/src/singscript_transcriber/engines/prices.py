"""What transcription at OpenAI costs: list prices of developers.openai.com/api/docs/models as of 2026-11-22."""

from __future__ import annotations

import re

# Whoever else speaks OpenAI's API has prices of their own.
HOST = "api.openai.com"
_USD_PER_MINUTE = {"whisper-1": 0.006, "gpt-transcribe": 0.0045}
# Of input (sound and prompt cost the same) and of output.
_USD_PER_MILLION_TOKENS = {
    "gpt-4o-transcribe": (2.50, 10.00),
    "gpt-4o-transcribe-diarize": (2.50, 10.00),
    "gpt-4o-mini-transcribe": (1.25, 5.00),
}
_DATE = re.compile(r"-\d{4}-\d\d-\d\d$")


def cost_usd(host: str, model: str, audio_s: float, input_tokens: int, output_tokens: int) -> float | None:
    """What one answer costs.

    Args:
        host: the server that gave it.
        model: dated names cost what those without a date do.
        audio_s: seconds of sound that count; for models that are paid by the minute.
        input_tokens, output_tokens: for the others; 0 when the answer did not say.
    Returns:
        None where the price or what it depends on is not known.
    """
    if host != HOST:
        return None
    name = _DATE.sub("", model)
    if name in _USD_PER_MINUTE:
        return audio_s / 60 * _USD_PER_MINUTE[name]
    if name in _USD_PER_MILLION_TOKENS and input_tokens:
        input_usd, output_usd = _USD_PER_MILLION_TOKENS[name]
        return (input_tokens * input_usd + output_tokens * output_usd) / 1e6
    return None
