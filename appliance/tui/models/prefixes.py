"""What sessions' last prompts have in common, as a tree: where each goes apart from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from appliance.tui.frame import Frame

if TYPE_CHECKING:
    from appliance.api.prefix_views import Prefixes, PrefixView

MOST_SIDES: Final = 8


class Way(Struct, frozen=True):
    """How one that comes from a fork goes on; `names` are some of its `sessions`. Without text where the prompt ends
    there, or none is shown."""

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
        return [way.names[0] for way in self.ways][:MOST_SIDES]


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
        order.append(lines[node.id])
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
    """Then those whose prompts end in the block behind the node, as far as they are named."""
    if node.sessions == 1:
        return []
    gone = {name for child in children for name in child.names}
    is_all_named = len(node.names) == node.sessions
    ended = [name for name in node.names if name not in gone] if is_all_named else []
    return [Way(child.names, child.sessions, child.text) for child in children] + [
        Way([name], 1, None) for name in ended
    ]
