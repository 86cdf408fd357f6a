"""Arguments of `dynamo-box config …`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command


def add(
    commands: Commands,
    common: argparse.ArgumentParser,
    box: argparse.ArgumentParser,
) -> None:
    config = add_command(commands, "config", "show, check or describe the settings", [])
    actions = config.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(actions, "show", "every setting, its value, and what set it", [common, box])
    validate = add_command(actions, "validate", "check a settings file without starting anything", [common])
    validate.add_argument("file", nargs="?", help="the file to check (default: the one a box would read)")
    add_command(actions, "schema", "the JSON Schema of the settings file", [common])
