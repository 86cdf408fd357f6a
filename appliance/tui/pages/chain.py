"""The prompt of a block from its start: its regions, who shares them and where they are, over the map that asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.style import Style

from appliance.api.block_views import BlockChain, ChainPart
from appliance.tui import ink
from appliance.tui.line import Line, clean, heading, words
from appliance.tui.widgets.told import Told

NAMED: Final = 3


class ChainDialog(Told):
    def __init__(self, chain: BlockChain) -> None:
        super().__init__(f"{chain.session}, up to token {chain.end_token:,} of {chain.prompt_tokens:,}")
        self._chain = chain

    def lines(self, width: int) -> Iterator[Line]:
        return chain_lines(self._chain, width)


def chain_lines(chain: BlockChain, width: int) -> Iterator[Line]:
    """A line for each part, from the start of the prompt."""
    yield heading(
        "tokens              of them  region       where each worker would find them, and who shares them", width
    )
    yield from map(_part, chain.parts)
    if chain.told_tokens < chain.end_token:
        yield words((f"and {chain.end_token - chain.told_tokens:,} tokens in more parts", ink.QUIET))
    if not chain.parts:
        yield words(("its prompt fills no block", ink.QUIET))


def _part(part: ChainPart) -> Line:
    others = part.sessions - min(NAMED, len(part.names))
    named = ", ".join(part.names[:NAMED]) + (f" and {others:,} more" if others else "")
    return words(
        f"{part.start_token:>9,} …{part.end_token:>9,}{part.end_token - part.start_token:>8,}  ",
        (f"{part.region or '—':<12} ", ink.NAME),
        *_where(part.tiers),
        (clean(f"  {named}"), ink.QUIET),
    )


def _where(tiers: dict[str, str | None]) -> Iterator[tuple[str, Style]]:
    """By worker, or once for all of them."""
    if len({*tiers.values()}) == 1:
        yield _found(next(iter(tiers.values())), "")
        return
    for worker, tier in tiers.items():
        yield _found(tier, f"{worker} ")


def _found(tier: str | None, worker: str) -> tuple[str, Style]:
    styles = {"gpu": ink.GPU, "host": ink.HOST, "disk": ink.DISK, "remote": ink.REMOTE}
    return f"{worker}{tier or 'nowhere'}  ", ink.WARN if tier is None else styles[tier]
