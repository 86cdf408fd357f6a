"""`packaging/` holds scripts, which find each other beside themselves."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "packaging"))
