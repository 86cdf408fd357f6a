"""Styles by what they mean, in the sixteen colours of the terminal's own theme. A style is never the only sign."""

from __future__ import annotations

from typing import Final

from rich.style import Style

PLAIN: Final = Style()
STRONG: Final = Style(bold=True)
QUIET: Final = Style(dim=True)
GOOD: Final = Style(color="green")
WARN: Final = Style(color="yellow")
BAD: Final = Style(color="red", bold=True)
NAME: Final = Style(color="cyan")
CURSOR: Final = Style(reverse=True)
BANNER: Final = Style(color="yellow", reverse=True)
ALARM: Final = Style(color="red", reverse=True, bold=True)

GPU: Final = Style(color="green")
HOST: Final = Style(color="cyan")
DISK: Final = Style(color="blue")
REMOTE: Final = Style(color="yellow")
COMPUTED: Final = Style(color="magenta")
"""Tokens by where they came from; a letter or a pattern always goes with it."""

PHASES: Final = {"running": GOOD, "startup": WARN, "starting": WARN, "restarting": WARN, "draining": WARN}


def of_phase(phase: str) -> Style:
    return PHASES.get(phase, BAD)


def of_share(share: float | None) -> Style:
    """Of a hit rate."""
    if share is None:
        return QUIET
    return GOOD if share >= 0.8 else WARN if share >= 0.4 else BAD
