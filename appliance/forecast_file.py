"""What the forecast has learned, over restarts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from appliance.cache.errors import InvalidForecast


class ForecastStore(Protocol):
    """Both block: call them in a thread."""

    def load(self) -> Mapping[str, Any] | None:
        """`None` when nothing was saved. Raises `InvalidForecast` for what cannot be read."""

    def save(self, learned: Mapping[str, Any]) -> None:
        """Replaces what was saved. Raises `OSError`."""


class ForecastFile:
    """One JSON file, replaced whole: who reads it finds the old one or the new one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Mapping[str, Any] | None:
        try:
            learned = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InvalidForecast(f"{self._path}: cannot be read: {error}") from error
        if not isinstance(learned, dict):
            raise InvalidForecast(f"{self._path}: holds no JSON object")
        return learned

    def save(self, learned: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.write_text(json.dumps(learned))
            beside.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
