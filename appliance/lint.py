"""What clients change from turn to turn, what it costs, and which rule of the stabiliser is for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from appliance.advice import advice_on_text
from appliance.cache.ledger import Divergence, Reason
from appliance.records import RequestRecord
from appliance.why import difference

LABEL_CHARACTERS: Final = 40

Seconds = Callable[[int | None, int], float]
"""What computing so many tokens takes on a worker."""


class Kind(NamedTuple):
    """What one client changes: in `system`, `tools` or `messages`, behind the words `label`; or what `rule` is for.
    `None`: unknown, or no text is kept."""

    client: str | None
    place: str | None
    rule: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Buster:
    """It diverged in `requests` of the client's `of`, and these computed `tokens` anew, for `seconds`. The texts are
    those of the request `last`."""

    kind: Kind
    of: int
    advice: str
    requests: int = 0
    tokens: int = 0
    seconds: float = 0.0
    before: str | None = None
    now: str | None = None
    last: str | None = None


@dataclass(slots=True)
class _Client:
    requests: int = 0
    found: dict[Kind, Buster] = field(default_factory=dict)


def lint(records: Iterable[RequestRecord], rules: Collection[str], seconds: Seconds) -> list[Buster]:
    """The dearest first. `records` are the newest first, `rules` of the stabiliser those that are on."""
    clients: dict[str | None, _Client] = {}
    for record in records:
        client = clients.setdefault(record.client, _Client())
        client.requests += 1
        for divergence, tokens in _diverged(record):
            kind = kind_of(record.client, divergence)
            known = client.found.get(kind) or _first(kind, record, divergence, rules)
            client.found[kind] = replace(
                known,
                requests=known.requests + 1,
                tokens=known.tokens + tokens,
                seconds=known.seconds + seconds(record.worker, tokens),
            )
    found = [replace(one, of=client.requests) for client in clients.values() for one in client.found.values()]
    return sorted(found, key=lambda one: (-one.tokens, str(one.kind)))


def kind_of(client: str | None, divergence: Divergence) -> Kind:
    place = None if divergence.place is None else divergence.place.partition("[")[0]
    if divergence.rule is not None:
        return Kind(client, place, divergence.rule, None)
    return Kind(client, place, None, None if place == "messages" else _label(divergence))


def _diverged(record: RequestRecord) -> Iterable[tuple[Divergence, int]]:
    """One at most: the first, with all tokens that it cost."""
    first = next((one.divergence for one in record.ranges if one.divergence is not None), None)
    tokens = sum(one.tokens for one in record.ranges if one.reason is Reason.DIVERGED)
    return () if first is None else ((first, tokens),)


def _first(kind: Kind, record: RequestRecord, divergence: Divergence, rules: Collection[str]) -> Buster:
    before, now = divergence.before, divergence.now
    if before is not None and now is not None:
        before, now = difference(before, now)
    return Buster(kind, 0, advice_on_text(divergence, rules), before=before, now=now, last=record.id)


def _label(divergence: Divergence) -> str | None:
    """The words of its line ahead of what differs."""
    if divergence.before is None or divergence.now is None:
        return None
    pairs = enumerate(zip(divergence.before, divergence.now, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), 0)
    line = divergence.now[:same].rpartition("\n")[2]
    return line[: line.rfind(" ") + 1].strip()[-LABEL_CHARACTERS:] or None
