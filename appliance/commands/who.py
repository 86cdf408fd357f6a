"""Who gives a command, as the box's history will call them."""

from __future__ import annotations

import getpass


def who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
