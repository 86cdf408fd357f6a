"""What can be done about tokens that were computed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from appliance.cache.ledger import Blame, Divergence, Emptied, Reason

_EMPTIED: Final[dict[str | None, str]] = {
    Emptied.BOX_ENDED: "A disk tier (cache.disk.bytes) outlives the box.",
    Emptied.WORKER_ENDED: "A host tier (cache.host.bytes) outlives an engine; its log says why it ended.",
    Emptied.FLUSHED: "An operator did that (`dynamo-box cache flush`).",
}


def advice_on_text(divergence: Divergence | None, rules: Collection[str]) -> str:
    """About text that changed; `rules` of the stabiliser are on."""
    rule = None if divergence is None else divergence.rule
    if rule is not None and rule not in rules:
        return f"Switch the stabiliser's rule on that is for this: stabiliser.{rule} = true."
    if rule is not None:
        shows = "`dynamo-box stabilise request.json` shows what it sees"
        return f"The stabiliser's rule {rule} is on and did not catch this; {shows}."
    place = "" if divergence is None or divergence.place is None else divergence.place
    if place.startswith("messages"):
        return "The client has rewritten its history (compacted or pruned it, left thoughts out): it is read anew."
    if place.startswith("tools"):
        return "Have the client send the same tools with the same descriptions in every turn."
    return "No rule is for this: have the client put what changes behind what stays, as in the last user message."


def advice_on_routing(request: str, *, has_host_tier: bool) -> str:
    prices = f"/box/v1/routing/{request} has the prices of all workers."
    if has_host_tier:
        return prices
    return f"{prices} With a host tier (cache.host.bytes) every worker reads what one has computed."


def advice_on_room(reason: Reason | None, blame: Blame | None, session: str | None, *, has_host_tier: bool) -> str:
    """About blocks of a session that had to go."""
    if blame is None:
        return "More was evicted than was told, or it is long ago: see /box/v1/evictions."
    if blame.rule in _EMPTIED:
        return _EMPTIED[blame.rule]
    if reason is Reason.PREEMPTED:
        return "The request it made room for was more important: nvext.agent_hints.priority decides."
    if reason is Reason.EXPIRED:
        return f"Keep them longer: a cache mark with a ttl of 1h, or a longer duration in {blame.rule}."
    memory = "More memory would have kept them: cache.gpu.bytes" + (", cache.host.bytes" if has_host_tier else "")
    tier = "" if has_host_tier else ", or a host tier (cache.host.bytes), which keeps what a GPU cannot"
    if session is None:
        return f"{memory}{tier}. Name the session (x-dynamo-session-id): one that may come back is kept longer."
    pin = f"`dynamo-box hints pin {session}`, a cache mark, nvext.agent_hints.priority, or a policy"
    return f"{memory}{tier}. To keep this session's longer: {pin}."
