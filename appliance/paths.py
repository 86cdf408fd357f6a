"""The folders of the box, by the XDG rules, from an environment that is passed in. Creates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

APPLICATION = "dynamo-box"


@dataclass(frozen=True, slots=True)
class Folders:
    """`data` is worth a backup, `cache` may be deleted while no box runs, `runtime` holds the lock and the socket."""

    data: Path
    cache: Path
    runtime: Path

    def state_file(self, chosen: Path | None) -> Path:
        """What is remembered over restarts: `chosen`, else in the data folder."""
        return chosen or self.data / "state.db"

    def slab_file(self, chosen: Path | None) -> Path:
        """The disk tier: `chosen`, else in the cache folder."""
        return chosen or self.cache / "kv.slab"


def default_config_file(environ: Mapping[str, str]) -> Path:
    """Where the settings file is looked for when nobody names one. The file need not exist."""
    return _base(environ, "XDG_CONFIG_HOME", ".config") / APPLICATION / "config.toml"


def resolve_folders(
    environ: Mapping[str, str], *, data: Path | None = None, cache: Path | None = None, runtime: Path | None = None
) -> Folders:
    """The folders as set; those that are `None` follow XDG, and without `XDG_RUNTIME_DIR` runtime is `<cache>/run`."""
    data = data or _base(environ, "XDG_DATA_HOME", ".local/share") / APPLICATION
    cache = cache or _base(environ, "XDG_CACHE_HOME", ".cache") / APPLICATION
    session = _absolute(environ, "XDG_RUNTIME_DIR")
    runtime = runtime or (session / APPLICATION if session else cache / "run")
    return Folders(data, cache, runtime)


def _base(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    return _absolute(environ, variable) or _home(environ) / below_home


def _home(environ: Mapping[str, str]) -> Path:
    return _absolute(environ, "HOME") or Path.home()


def _absolute(environ: Mapping[str, str], variable: str) -> Path | None:
    """The folder a variable names; XDG has relative ones ignored."""
    path = Path(environ.get(variable, ""))
    return path if path.is_absolute() else None
