"""Where prompts go apart, and where words are in them: answers of the box over the screen that asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from rich.cells import chop_cells
from rich.segment import Segment
from rich.style import Style

from appliance.api.prefix_views import Fork, ForkSide, PrefixMatch, PrefixSearch
from appliance.tui import ink
from appliance.tui.line import Line, beside, clean, heading, words
from appliance.tui.widgets.told import Told

UNSHOWN = "text of prompts is not shown (state.record_text)"
CUTS = {"time": "the time for it was over: not all was read", "matches": "there are more: only these are listed"}


def visible(text: str) -> str:
    """On one line: white space may be all that differs."""
    return clean(text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))


class ForkDialog(Told):
    def __init__(self, fork: Fork) -> None:
        super().__init__(f"{len(fork.sides)} prompts")
        self._fork = fork

    def lines(self, width: int) -> Iterator[Line]:
        return fork_lines(self._fork, width)


class SearchDialog(Told):
    def __init__(self, search: PrefixSearch) -> None:
        super().__init__(search.words)
        self._search = search

    def lines(self, width: int) -> Iterator[Line]:
        return search_lines(self._search, width)


def fork_lines(fork: Fork, width: int) -> Iterator[Line]:
    """How much is shared, and the sides two by two: what leads to the fork, and behind the bar how each goes on."""
    blocks = f", {fork.shared_block_tokens:,} of them in whole blocks"
    yield words((f"{fork.token:,} tokens are shared", ink.STRONG), blocks)
    half = (width - 3) // 2
    for place in range(0, len(fork.sides), 2):
        yield []
        columns = [[*_side(fork, side, half)] for side in fork.sides[place : place + 2]]
        yield from beside(columns[0], columns[1] if len(columns) > 1 else [], width)


def _side(fork: Fork, side: ForkSide, width: int) -> Iterator[Line]:
    yield heading(clean(side.session), width, f"{side.prompt_tokens:,} tokens")
    yield words((f"goes on in {side.place}" if side.place else _end(fork, side), ink.QUIET))
    if side.text is None or fork.before is None:
        yield words((UNSHOWN, ink.QUIET))
        return
    yield from chopped([(visible(fork.before) + "│", ink.QUIET), (visible(side.text), ink.STRONG)], width)


def _end(fork: Fork, side: ForkSide) -> str:
    return "ends here" if side.prompt_tokens == fork.token else "goes on"


def search_lines(search: PrefixSearch, width: int) -> Iterator[Line]:
    """Each place with the text around it."""
    places = sum(match.count for match in search.matches)
    named = "1 place" if places == 1 else f"{places:,} places"
    yield words((named, ink.STRONG), f" in {search.read_tokens:,} tokens that differ")
    if search.cut is not None:
        yield words((CUTS[search.cut], ink.WARN))
    for match in search.matches:
        yield []
        yield from _match_lines(match, width)


def _match_lines(match: PrefixMatch, width: int) -> Iterator[Line]:
    more = match.sessions - len(match.names)
    names = ", ".join(map(clean, match.names)) + (f" and {more} more" if more else "")
    again = f", {match.count - 1:,} more behind it" if match.count > 1 else ""
    yield heading(f"{match.place or 'token'} · {match.token:,}{again}", width)
    yield words((names, ink.NAME))
    end = match.start + match.length
    before, found, after = match.snippet[: match.start], match.snippet[match.start : end], match.snippet[end:]
    yield from chopped(
        [("…" + visible(before), ink.PLAIN), (visible(found), ink.CURSOR), (visible(after) + "…", ink.PLAIN)], width
    )


def chopped(parts: Sequence[tuple[str, Style]], width: int) -> Iterator[Line]:
    """Cut wherever a line is full, for blanks count here."""
    styles = [style for text, style in parts for _ in text]
    start = 0
    for row in chop_cells("".join(text for text, _ in parts), max(width, 1)):
        pairs = zip(row, styles[start : start + len(row)], strict=True)
        yield [Segment("".join(sign for sign, _ in run), style) for style, run in groupby(pairs, key=itemgetter(1))]
        start += len(row)
