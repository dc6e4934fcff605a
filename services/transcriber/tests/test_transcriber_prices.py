from __future__ import annotations

import pytest

from singscript_transcriber.engines import prices


@pytest.mark.parametrize(
    ("model", "audio_s", "tokens", "usd"),
    [
        ("whisper-1", 90.0, (0, 0), 0.009),
        ("gpt-transcribe", 60.0, (600, 40), 0.0045),
        ("gpt-4o-transcribe", 60.0, (600_000, 100_000), 2.5),
        ("gpt-4o-transcribe-diarize", 60.0, (600_000, 100_000), 2.5),
        ("gpt-4o-mini-transcribe", 60.0, (600_000, 100_000), 1.25),
        ("gpt-4o-mini-transcribe-2025-12-15", 60.0, (600_000, 100_000), 1.25),
    ],
)
def test_list_prices(model: str, audio_s: float, tokens: tuple[int, int], usd: float):
    assert prices.cost_usd(prices.HOST, model, audio_s, *tokens) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("host", "model", "tokens"),
    [
        ("127.0.0.1", "whisper-1", (0, 0)),
        (prices.HOST, "whisper-2", (0, 0)),
        (prices.HOST, "gpt-4o-transcribe", (0, 0)),
        (prices.HOST, "gpt-4o-transcribe-2025", (600, 40)),
    ],
)
def test_no_price_is_made_up(host: str, model: str, tokens: tuple[int, int]):
    assert prices.cost_usd(host, model, 60.0, *tokens) is None
