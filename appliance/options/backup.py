"""Arguments of `dynamo-box backup`, `export` and `import`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command

BACKUP = """\
The copy is of one moment and needs nothing beside it. To go back to it: stop the box, put the copy in the place of
state.db in the data folder, and remove state.db-wal and state.db-shm if they are there."""

EXPORT = """\
FILE is one JSON document with what an operator has decided, to be read by people and by other boxes: the settings that
are set in the settings file or by variables, without keys that are secret; the policies that were active, with their
whole text, who activated them and when; and the hints that hold now, if a box runs. It has no requests, no sessions and
no stored responses: `dynamo-box backup` has them."""

IMPORT = """\
Settings are written to the settings file if there is none yet; one that is there is left as it is, and what differs is
said. Policies are written beside it, to policies/NAME.toml, unless files of that name are there with another text. If a
box runs, the policy that was active becomes its active one, and hints that have not expired hold there for as long as
they had left."""


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    backup = add_command(commands, "backup", "copy what the box remembers to a file, also while it runs", [common])
    backup.add_argument("file", metavar="FILE", help="the copy; one that is there is replaced when it is complete")
    backup.epilog = BACKUP
    exported = add_command(commands, "export", "settings, policies and hints in one portable file", [common])
    exported.add_argument("file", metavar="FILE", help="where to; - for standard output")
    exported.epilog = EXPORT
    imported = add_command(commands, "import", "take over what `export` has written", [common])
    imported.add_argument("file", metavar="FILE", help="what `export` has written; - for standard input")
    imported.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    imported.epilog = IMPORT
