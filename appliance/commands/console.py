"""`dynamo-box console`: the screens of a running box."""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import sys
from pathlib import Path

from appliance.commands.context import Context, read_context
from appliance.errors import BoxError, SettingsError, nearest


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    where, key = box_address(context, options.attach)
    checked_interval(options.interval)
    if options.serve is not None:
        return _serve(context, options)
    # A browser is a terminal that Textual brings itself.
    if not sys.stdout.isatty() and "TEXTUAL_DRIVER" not in os.environ:
        raise BoxError("the console needs a terminal", hint="`dynamo-box top` prints a screen as text, or as JSON.")
    from appliance.tui.keymap import checked
    from appliance.tui.link import Link
    from appliance.tui.session import show_console
    from appliance.tui.stance import Stance

    is_local = Link(where).is_local
    stance = Stance(
        is_local=is_local,
        is_read_only=not is_local if options.read_only is None else options.read_only,
        is_ascii=options.ascii,
        theme=_checked_theme(options.theme),
        keys=checked(_pairs(options.key)),
    )
    show_console(where, stance, key, checked_interval(options.interval))
    return 0


def _serve(context: Context, options: argparse.Namespace) -> int:
    """Each browser gets this command once more, without `--serve`."""
    from appliance.tui.browser import HOST, BrowserConsole

    try:
        socket.create_server((HOST, options.serve)).close()
    except (OSError, OverflowError) as error:
        raise BoxError(f"--serve {options.serve}: {getattr(error, 'strerror', None) or error}") from error
    keys = [key.get_secret_value() for key in context.loaded.settings.server.api_keys]
    words = [*options.command_arguments]
    place = next(number for number, word in enumerate(words) if word.partition("=")[0] == "--serve")
    has_port = words[place] == "--serve" and words[place + 1 : place + 2] == [str(options.serve)]
    del words[place : place + 1 + has_port]
    print(f"The console is at http://{HOST}:{options.serve}; Ctrl-C ends it.", flush=True)
    BrowserConsole(shlex.join([sys.executable, "-m", "appliance.cli", "console", *words]), options.serve, keys).serve()
    return 0


def box_address(context: Context, url: str | None) -> tuple[Path | str, str | None]:
    """Where to ask, and the key that opens most there: the first of the settings. Raises `NotRunning` where none runs
    here."""
    if url is None:
        context.running()
        return context.runtime.socket, None
    server = context.loaded.settings.server
    keys = (*server.operator_keys, *server.read_only_keys, *server.api_keys)
    return url, keys[0].get_secret_value() if keys else None


def checked_interval(seconds: float) -> float:
    if not 0.1 <= seconds <= 3600:
        raise SettingsError(f"--interval {seconds:g}: must be from 0.1 to 3600 seconds")
    return seconds


def _checked_theme(name: str) -> str:
    from textual.theme import BUILTIN_THEMES

    if name not in BUILTIN_THEMES:
        meant = nearest(name, BUILTIN_THEMES)
        there_are = f"there are {', '.join(BUILTIN_THEMES)}"
        raise SettingsError(f"--theme {name}: no such theme; " + (f"did you mean {meant}?" if meant else there_are))
    return name


def _pairs(words: list[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, equals, key = word.partition("=")
        if not equals or not key:
            raise SettingsError(f"--key {word}: wants ID=KEY, such as --key console.freeze=f8")
        pairs[name] = key
    return pairs
