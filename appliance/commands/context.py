"""What every command starts from: the settings and the runtime folder."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from appliance.control import Control
from appliance.errors import NotRunning, SettingsError
from appliance.paths import Folders, resolve_folders
from appliance.runtime import BoxFile, Runtime
from appliance.settings import OPTION_NAMES, Loaded, load_settings


@dataclass(frozen=True, slots=True)
class Context:
    loaded: Loaded
    folders: Folders

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.folders.runtime)

    @property
    def state_file(self) -> Path:
        """What a box with these settings remembers."""
        return self.folders.state_file(self.loaded.settings.state.path)

    @property
    def control(self) -> Control:
        return Control(self.runtime.socket)

    def running(self) -> BoxFile:
        """The box that runs here. Raises `NotRunning`."""
        runtime = self.runtime
        box = runtime.read() if runtime.held() else None
        if box is None:
            raise NotRunning(f"no box is running (looked in {runtime.folder})", hint="`dynamo-box up` starts one.")
        return box


def read_context(options: argparse.Namespace) -> Context:
    """Load the settings as the command line, environment and file say. Raises `SettingsError`."""
    config = Path(options.config) if options.config else None
    loaded = load_settings(options=settings_options(options), config=config)
    paths = loaded.settings.paths
    return Context(loaded, resolve_folders(os.environ, data=paths.data, cache=paths.cache, runtime=paths.runtime))


def settings_options(options: argparse.Namespace) -> dict[str, object]:
    """Dotted settings keys that the command line names."""
    named = {key: getattr(options, name[2:].replace("-", "_"), None) for key, name in OPTION_NAMES.items()}
    for pair in getattr(options, "set", None) or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set {pair}: wants KEY=VALUE, such as --set cache.gpu.bytes=4GiB")
        named[key.strip()] = value.strip()
    return {key: value for key, value in named.items() if value is not None}
