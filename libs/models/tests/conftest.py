from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side
sys.path.append(str(Path(__file__).parent))  # for models_works
