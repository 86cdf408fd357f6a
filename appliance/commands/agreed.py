"""What cannot be taken back is done after its impact was seen and agreed to."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from appliance.errors import SettingsError


def agreed(options: argparse.Namespace, question: str, impact: Callable[[], str]) -> bool:
    """Whether the user wants it: said beforehand by --yes, else asked, with what it comes to above the question.

    Raises `SettingsError` where nobody can be asked.
    """
    if options.yes:
        return True
    if options.json or not sys.stdin.isatty():
        raise SettingsError(
            f"{question} nobody can be asked here", hint="--yes does it at once, --dry-run says what it comes to."
        )
    print(impact())
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
