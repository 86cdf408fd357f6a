"""A worker's cache, the host tier or the disk as a picture."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from string import ascii_letters, digits
from typing import Any, Final

from appliance.control import Control

WIDTH: Final = 64
EMPTY, NOBODY, OTHERS = ".", "-", "+"
LETTERS: Final = ascii_letters + digits


def show_map(control: Control, options: argparse.Namespace) -> int:
    worker = "" if options.worker is None else f"&worker={options.worker}"
    told = control.get(f"/box/v1/blocks?tier={options.tier}{worker}&cells={options.cells}")
    print(json.dumps(told, indent=2) if options.json else "\n".join(_map_lines(told)))
    return 0


def _map_lines(told: dict[str, Any]) -> Iterator[str]:
    """A letter for the owner of what was used last in each cell, the owner of most cells first."""
    cells = Counter(owner for owner in told["owner"] if owner is not None)
    letters = {owner: letter for (owner, _), letter in zip(cells.most_common(), LETTERS, strict=False)}
    signs = [
        EMPTY if not filled else NOBODY if owner is None else letters.get(owner, OTHERS)
        for filled, owner in zip(told["filled"], told["owner"], strict=True)
    ]
    filled, held, blocks = sum(told["filled"]), sum(told["held"]), told["blocks"]
    counted = f"{blocks:,} blocks, {filled:,} filled, {held:,} held"
    whose = told["tier"] if told["worker"] is None else f"worker {told['worker']}"
    yield f"{whose}: {counted}; {told['blocks_per_cell']:,} a sign"
    for start in range(0, len(signs), WIDTH):
        yield "".join(signs[start : start + WIDTH])
    for owner, letter in letters.items():
        yield f"{letter} {told['owners'][owner]}"
    yield f"{EMPTY} empty   {NOBODY} nobody's" + (f"   {OTHERS} others" if len(cells) > len(letters) else "")
