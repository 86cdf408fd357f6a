"""What sessions' last prompts have in common, as a tree: where each goes apart from the others."""

from __future__ import annotations

from msgspec import Struct

from appliance.tui.frame import Frame


class PrefixLine(Struct, frozen=True):
    """`names` are some of the `sessions` that share these tokens; `resident` by worker. `depth` counts forks before."""

    key: str
    depth: int
    start_token: int
    tokens: int
    sessions: int
    names: list[str]
    region: str | None
    resident: dict[str, int]


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
    """Each before those that go on from it, those of most sessions first. `None` where it is not known."""
    found = frame.prefixes
    if found is None:
        return None
    depths: dict[int, int] = {}
    lines = {}
    children: dict[int | None, list[int]] = {}
    for node in found.nodes:
        depths[node.id] = 0 if node.parent is None else depths[node.parent] + 1
        children.setdefault(node.parent, []).append(node.id)
        lines[node.id] = PrefixLine(
            key=f"{node.start_token} {node.end_token} {' '.join(node.names[:2])}",
            depth=depths[node.id],
            start_token=node.start_token,
            tokens=node.end_token - node.start_token,
            sessions=node.sessions,
            names=node.names,
            region=node.region,
            resident=node.resident_tokens,
        )
    order: list[PrefixLine] = []
    pending = _by_size(children.get(None, []), lines)
    while pending:
        node_id = pending.pop()
        order.append(lines[node_id])
        pending += _by_size(children.get(node_id, []), lines)
    return PrefixTree(order, found.sessions, found.known, found.prompt_tokens, found.distinct_tokens)


def _by_size(ids: list[int], lines: dict[int, PrefixLine]) -> list[int]:
    """The largest last: it is taken from the end."""
    return sorted(ids, key=lambda one: (lines[one].sessions, lines[one].tokens))
