"""`dynamo-box export`: settings, policies and hints in one portable file."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from appliance.commands.context import read_context
from appliance.errors import BoxError


def run(options: argparse.Namespace) -> int:
    from appliance.portable import export_text, portable_policies, portable_settings
    from appliance.state.looking import look

    context = read_context(options)
    settings = portable_settings(context.loaded)
    policies = portable_policies(look(context.state_file, lambda reader: reader.policies(limit=1000)) or [])
    hints = context.control.get("/box/v1/hints")["hints"] if context.runtime.held() else []
    text = export_text(settings, policies, hints)
    if options.file == "-":
        print(text, end="")
        return 0
    path = Path(options.file).expanduser()
    _write(path, text)
    counted = {"settings": len(settings), "policies": len(policies), "hints": len(hints)}
    if options.json:
        print(json.dumps({"file": str(path)} | counted))
    else:
        without = "" if context.runtime.held() else "; no box is running, so hints are left out"
        print(f"{path}: {', '.join(f'{count} {what}' for what, count in counted.items())}{without}")
    return 0


def _write(path: Path, text: str) -> None:
    """Policies and hints name sessions and clients: the file is its owner's."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "w") as file:  # noqa: PTH123 – of a handle
            file.write(text)
    except OSError as error:
        raise BoxError(f"{path} cannot be written: {error.strerror}") from error
