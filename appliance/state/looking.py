"""Reading the file without a box, or beside one that writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from appliance.state.engines import ReadSession, read_engine
from appliance.state.faults import Unusable, fault_of
from appliance.state.migration import version_of, versions
from appliance.state.reader import Reader

Answer = TypeVar("Answer")


def look(path: Path, read: Callable[[Reader], Answer]) -> Answer | None:
    """What `read` makes of the file; `None` where there is none yet. Changes nothing. Raises `Unusable`."""
    if not path.is_file():
        return None
    engine = read_engine(path)
    try:
        with ReadSession(engine) as session, session.begin():
            version, known = version_of(session.connection()), versions()[-1]
            if version != known:
                raise Unusable(f"{path} is of version {version}, and this program reads {known}")
            return read(Reader(session))
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise Unusable(f"{path} cannot be read: {fault_of(error).value}") from error
    finally:
        engine.dispose()
