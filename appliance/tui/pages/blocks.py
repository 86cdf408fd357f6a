"""4 Blocks: a worker's cache, the host tier or the disk, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

from rich.segment import Segment
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding

from appliance.api.block_views import MAX_CELLS, BlockChain, BlockMapView
from appliance.tui import ink
from appliance.tui.frame import Feed, Wanted
from appliance.tui.line import Line, clean, heading, width_of, words
from appliance.tui.models.blocks import Lens, cell_words, cells, legend, owner_of
from appliance.tui.moment import Moment
from appliance.tui.pages.chain import ChainDialog
from appliance.tui.pages.steering import SteeringPage
from appliance.tui.widgets.block_map import TONES, BlockMap
from appliance.tui.widgets.drawing import Drawing

MOST_RESTS: Final = 3
"""Frames without a new map while maps look alike."""


class BlocksPage(SteeringPage):
    """A worker's cache: a cell for so many neighbouring blocks, as large as there is room for, read line by line. `m`
    shows them under another lens: state, owner, region, age of the last use, how often they were found again, what they
    are worth. `n` goes to the next worker, and from the last one to the host tier and the disk where there are any.
    What has just lost blocks is shown reversed. `enter` shows the prompt of the cell's block from its start: regions,
    who shares them, where they are. `p` goes to the prefixes of the cell's owner."""

    title = "Blocks"
    feeds = frozenset({Feed.BLOCKS})
    listening = BlockMap
    BINDINGS: ClassVar[list[Any]] = [
        Binding("m", "lens(1)", "the next lens", id="blocks.lens"),
        Binding("M", "lens(-1)", "the lens before", id="blocks.lens-back"),
        Binding("p", "prefixes", "the prefixes of the cell's owner", id="blocks.prefixes"),
        Binding("n", "whose", "the next worker, host, disk", id="blocks.worker"),
    ]
    DEFAULT_CSS = """
    BlocksPage #head { height: 1; }
    BlocksPage #legend { height: 1; }
    BlocksPage #detail { height: 4; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self.lens = Lens.STATE
        self.whose: int | str = 0
        """A worker's, or those of the tier of this name."""
        self._all: list[int | str] = [0]
        self._view: BlockMapView | None = None
        self._gone: frozenset[int] = frozenset()
        self._still = self._rests = 0
        """Maps in a row that looked like the one before; frames to come without one."""

    def compose(self) -> ComposeResult:
        yield Drawing(id="head")
        yield BlockMap()
        yield Drawing(id="legend")
        yield Drawing(id="detail")

    def wanted(self, at: float | None) -> Wanted:
        room = self.query_one(BlockMap).room
        feeds = frozenset[Feed]() if self._rests > 0 and at is None else self.feeds
        return Wanted(feeds, at, self.whose, min(max(room, 64), MAX_CELLS))

    def focus_list(self) -> None:
        self.query_one(BlockMap).focus()

    def own_keys(self) -> Iterator[tuple[str, str]]:
        yield "m", "lens"
        if len(self._all) > 1:
            yield "n", "whose"

    def show(self, moment: Moment) -> None:
        status, view = moment.frame.status, moment.frame.blocks
        if status is not None:
            tiers = [name for name, tier in (("host", status.host), ("disk", status.disk)) if tier is not None]
            self._all = [*(worker.id for worker in status.workers), *tiers]
        if view is None:
            self._rests = max(self._rests - 1, 0)
            return
        self._gone, self._view = _gone(self._view, view), view
        self._still = 0 if self._draw() else min(self._still + 1, MOST_RESTS)
        self._rests = self._still

    def _draw(self) -> bool:
        """Whether the map looks otherwise than so far."""
        view = self._view
        if view is None:
            return False
        has_changed = self.query_one(BlockMap).show(cells(view, self.lens), self._gone)
        self.query_one("#head", Drawing).draw(partial(head_lines, view, self.lens))
        self.query_one("#legend", Drawing).draw(partial(legend_lines, view, self.lens))
        self._show_cell()
        return has_changed

    def on_block_map_moved(self) -> None:
        self._show_cell()

    @work(exclusive=True)
    async def on_block_map_opened(self) -> None:
        if not self.is_now():
            return
        view, place = self._view, self.query_one(BlockMap).cursor
        owner = None if view is None else owner_of(view, place)
        if view is None or owner is None:
            self.notify("nobody knows whose this is", severity="warning")
            return
        token = view.first_token[place]
        if token is None:
            self.notify(f"where it stands in the prompt of {owner} nobody knows", severity="warning", markup=False)
            return
        chain = await self.ask(
            "GET", f"/box/v1/blocks/chain?session={quote(owner, safe='')}&token={token}", None, BlockChain
        )
        if chain is not None:
            await self.app.push_screen(ChainDialog(chain))

    async def action_prefixes(self) -> None:
        owner = None if self._view is None else owner_of(self._view, self.query_one(BlockMap).cursor)
        if owner is not None:
            await self.console_app.show_filtered("5", owner)

    def _show_cell(self) -> None:
        place = self.query_one(BlockMap).cursor
        if self._view is not None and place < len(self._view.filled):
            self.query_one("#detail", Drawing).draw(partial(_detail, self._view, place))

    def action_lens(self, step: int) -> None:
        lenses = [*Lens]
        self.lens = lenses[(lenses.index(self.lens) + step) % len(lenses)]
        self._draw()

    def action_whose(self) -> None:
        place = self._all.index(self.whose) if self.whose in self._all else -1
        self.whose = self._all[(place + 1) % len(self._all)]
        self._view, self._rests = None, 0
        self.console_app.poller.hurry()


def _gone(before: BlockMapView | None, now: BlockMapView) -> frozenset[int]:
    """Cells that have fewer blocks than in the frame before, or those of another owner."""
    if before is None or _form(before) != _form(now):
        return frozenset()
    if before.filled == now.filled and before.owner == now.owner and before.owners == now.owners:
        return frozenset()
    owners = zip(before.owner, now.owner, strict=False)
    return frozenset(
        place
        for place, (had, has, (old, new)) in enumerate(zip(before.filled, now.filled, owners, strict=False))
        if has < had or (old is not None and new is not None and before.owners[old] != now.owners[new])
    )


def _form(view: BlockMapView) -> tuple[str, int | None, int, int]:
    """Of two maps of one form a cell is of the same blocks."""
    return view.tier, view.worker, view.blocks, view.blocks_per_cell


def head_lines(view: BlockMapView, lens: Lens, _width: int = 0, _height: int = 0) -> list[Line]:
    filled, held = sum(view.filled), sum(view.held)
    per_cell = "1 block" if view.blocks_per_cell == 1 else f"{view.blocks_per_cell:,} blocks"
    parts = words(
        (view.tier if view.worker is None else f"worker {view.worker}", ink.STRONG),
        (f"  by {lens.value}", ink.NAME),
        f"  {view.blocks:,} blocks of {view.block_tokens} tokens  {filled:,} filled  {held:,} held  ",
        (f"one cell: {per_cell}", ink.QUIET),
    )
    return [parts]


def legend_lines(view: BlockMapView, lens: Lens, width: int, _height: int = 0) -> list[Line]:
    """As many as there is room for."""
    line: Line = []
    for sign, tone, said in legend(view, lens):
        item = [Segment(sign, TONES[tone]), Segment(f" {clean(said)}   ", ink.QUIET)]
        if width_of(line) + width_of(item) - 3 > width:
            break
        line += item
    return [line]


def _detail(view: BlockMapView, place: int, width: int, _height: int) -> list[Line]:
    facts = cell_words(view, place)
    half = (len(facts) + 1) // 2
    return [
        heading("the cell under the cursor", width),
        *([*_facts(facts[:half])], [*_facts(facts[half:])]),
    ]


def _facts(facts: list[tuple[str, str]]) -> Line:
    return [piece for name, value in facts for piece in words((f"{name} ", ink.QUIET), f"{clean(value)}   ")]
