"""What sessions' prompts share, words in them, and where two go apart: the console's view-models as lines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from appliance.api.prefix_views import Fork, Prefixes
from appliance.control import Control

if TYPE_CHECKING:
    from appliance.tui.models.prefixes import PrefixLine

SHOWN_NAMES: Final = 3
WIDTH: Final = 120


def show_prefixes(control: Control, options: argparse.Namespace) -> int:
    if options.compare is not None:
        query = "&".join(f"session={quote(name, safe='')}" for name in options.compare)
        return _show(control.get(f"/box/v1/prefixes/fork?{query}"), options, _fork_lines)
    search = "" if options.search is None else f"&search={quote(options.search, safe='')}"
    told = control.get(f"/box/v1/prefixes?limit={options.limit}&text={options.text}{search}")
    return _show(told, options, _tree_lines if options.search is None else _match_lines)


def _show(told: Any, options: argparse.Namespace, lines: Callable[[dict[str, Any]], Iterator[str]]) -> int:
    print(json.dumps(told, indent=2) if options.json else "\n".join(lines(told)))
    return 0


def _tree_lines(told: dict[str, Any]) -> Iterator[str]:
    from appliance.tui.models.prefixes import tree_of

    tree = tree_of(msgspec.convert(told, Prefixes))
    yield (
        f"{tree.sessions} of {tree.known} sessions, {tree.prompt_tokens:,} tokens of prompts, "
        f"{tree.distinct_tokens:,} of them different"
    )
    yield from map(_tree_line, tree.lines)


def _tree_line(one: PrefixLine) -> str:
    from appliance.tui.pages.forks import visible

    resident = " ".join(f"{worker}:{tokens:,}" for worker, tokens in one.resident.items() if tokens)
    place = f"{'  ' * one.depth}{one.start_token:,} + {one.tokens:,}"
    facts = [place, one.region or "—", _names(one.names, one.sessions), f"[{resident}]" if resident else ""]
    return "  ".join(filter(None, [*facts, visible(one.text or "")]))


def _names(names: Sequence[str], sessions: int) -> str:
    more = sessions - len(names[:SHOWN_NAMES])
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _fork_lines(told: dict[str, Any]) -> Iterator[str]:
    from appliance.tui.line import text_of
    from appliance.tui.pages.forks import fork_lines

    yield from (text_of(line).rstrip() for line in fork_lines(msgspec.convert(told, Fork), WIDTH))


def _match_lines(told: dict[str, Any]) -> Iterator[str]:
    from appliance.tui.line import text_of
    from appliance.tui.pages.forks import search_lines

    search = msgspec.convert(told, Prefixes).search
    if search is not None:
        yield from (text_of(line).rstrip() for line in search_lines(search, WIDTH))
