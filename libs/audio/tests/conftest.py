"""Makes `sounds` importable by the tests of this folder."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# No test here is about time, and machines are shared.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
