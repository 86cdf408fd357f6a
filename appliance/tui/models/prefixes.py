"""What sessions' last prompts have in common, as a tree: where each goes apart from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from appliance.api.prefix_views import MAX_FORKED
from appliance.tui.frame import Frame

if TYPE_CHECKING:
    from appliance.api.prefix_views import Prefixes, PrefixView


class Way(Struct, frozen=True):
    """How one that comes from a fork goes on; `names` are some of its `sessions`."""

    names: list[str]
    sessions: int
    text: str | None


class PrefixLine(Struct, frozen=True):
    """`names` are some of the `sessions` that share these tokens; `resident` by worker. `depth` counts forks before.
    It begins with `text`, ends with `ending`, and goes on in these `ways`."""

    key: str
    depth: int
    start_token: int
    tokens: int
    sessions: int
    names: list[str]
    region: str | None
    resident: dict[str, int]
    text: str | None
    ending: str | None
    ways: list[Way]

    @property
    def sides(self) -> list[str]:
        """A session for each way, as many as can be compared."""
        return [way.names[0] for way in self.ways][:MAX_FORKED]


class PrefixTree(Struct, frozen=True):
    """`shared` is the part of all prompt tokens that another session's prompt has too, 0 … 1."""

    lines: list[PrefixLine]
    sessions: int
    known: int
    prompt_tokens: int
    distinct_tokens: int

    @property
    def shared(self) -> float | None:
        return 1 - self.distinct_tokens / self.prompt_tokens if self.prompt_tokens else None


def prefix_tree(frame: Frame) -> PrefixTree | None:
    """`None` where it is not known."""
    return None if frame.prefixes is None else tree_of(frame.prefixes)


def tree_of(found: Prefixes) -> PrefixTree:
    """Each before those that go on from it, those of most sessions first."""
    depths: dict[int | None, int] = {None: -1}
    children: dict[int | None, list[PrefixView]] = {}
    for node in found.nodes:
        depths[node.id] = depths[node.parent] + 1
        children.setdefault(node.parent, []).append(node)
    for ways in children.values():
        ways.sort(key=lambda one: (one.sessions, one.end_token - one.start_token), reverse=True)
    lines = {node.id: _line(node, depths[node.id], _ways(node, children.get(node.id, []))) for node in found.nodes}
    order: list[PrefixLine] = []
    pending = children.get(None, [])[::-1]
    while pending:
        node = pending.pop()
        order += [lines[node.id], *_ends(node, depths[node.id] + 1)]
        pending += children.get(node.id, [])[::-1]
    return PrefixTree(order, found.sessions, found.known, found.prompt_tokens, found.distinct_tokens)


def _line(node: PrefixView, depth: int, ways: list[Way]) -> PrefixLine:
    return PrefixLine(
        key=f"{node.start_token} {node.end_token} {' '.join(node.names[:2])}",
        depth=depth,
        start_token=node.start_token,
        tokens=node.end_token - node.start_token,
        sessions=node.sessions,
        names=node.names,
        region=node.region,
        resident=node.resident_tokens,
        text=node.text,
        ending=node.ending,
        ways=ways,
    )


def _ways(node: PrefixView, children: list[PrefixView]) -> list[Way]:
    """The children, then those that end within the next block."""
    ends = [Way([end.session], 1, end.text) for end in node.ends]
    return [Way(child.names, child.sessions, child.text) for child in children] + ends


def _ends(node: PrefixView, depth: int) -> list[PrefixLine]:
    """Less than a block is in no cache."""
    return [
        PrefixLine(
            key=f"{node.end_token} end {end.session}",
            depth=depth,
            start_token=node.end_token,
            tokens=end.tokens,
            sessions=1,
            names=[end.session],
            region=None,
            resident={},
            text=end.text,
            ending=end.text,
            ways=[],
        )
        for end in node.ends
    ]
