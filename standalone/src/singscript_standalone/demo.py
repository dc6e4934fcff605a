"""The demo: a synthetic song whose words and times are known, and the small test models that work on it."""

from __future__ import annotations

import shutil
from pathlib import Path

from singscript_client import JobOptions

_CHECKOUT = Path(__file__).resolve().parents[3]
_TEST_MODELS = _CHECKOUT / "tests" / "support" / "models"

SONG, LYRICS, TRUTH = (_CHECKOUT / "demo" / name for name in ("demo.flac", "lyrics.txt", "truth.json"))

# Options of the demo's job. Where the checkpoint is not in the checkout the engine after it does the work, and says so.
TEST_ENGINES: JobOptions = {
    "separator_engines": ["demucs", "passthrough"],
    "separator_model": "nano-htdemucs",
    "transcriber_engines": ["faster-whisper", "sphinx"],
    "transcriber_model": "nano-whisper",
    "aligner_engines": ["sphinx"],
}


def with_test_models(folder: Path) -> dict[str, str]:
    """Settings of services that know the test models and no others.

    Args:
        folder: where copies of them are put: what is converted lies beside them, and not in the checkout.
    """
    models = folder / "models"
    models.mkdir()
    # nano-ctc, a folder, is not for the demo.
    for checkpoint in _TEST_MODELS.glob("nano-*.*"):
        shutil.copy(checkpoint, models)
    return {
        "SINGSCRIPT_MODELS_DIR": str(models),
        "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD": "false",
        # Small as it is, nothing is gained by converting and measuring it.
        "SINGSCRIPT_SEPARATOR_BACKEND": "torch",
    }
