"""The version of a file, and the way from one to another."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FOLDER: Final = Path(__file__).with_name("migrations")


def versions() -> list[str]:
    """All that this program knows, the oldest first."""
    return [script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()][::-1]


def version_of(connection: Connection) -> str | None:
    """`None` for an empty file."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(connection: Connection, version: str) -> None:
    """Up or down to a version that is known, or `base`, in the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = versions()
    now = version_of(connection)
    is_down = version == "base" or (now is not None and known.index(version) < known.index(now))
    (command.downgrade if is_down else command.upgrade)(config, version)
