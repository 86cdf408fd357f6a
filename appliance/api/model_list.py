"""The models as both families of protocols list them: OpenAI's whole, Anthropic's page by page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from appliance.api.fields import shown
from appliance.errors import InvalidRequest, nearest
from appliance.generation import ModelCard

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 1000


class OpenAIModel(Struct, frozen=True):
    id: str
    created: int
    max_model_len: int
    context_window: int
    object: str = "model"
    owned_by: str = "dynamo-box"


class OpenAIModels(Struct, frozen=True):
    data: list[OpenAIModel]
    object: str = "list"


class ModelBody(Struct, frozen=True, tag="model"):
    id: str
    display_name: str
    created_at: str
    max_input_tokens: int
    max_tokens: int
    lifecycle: str = "active"


class ModelPage(Struct, frozen=True):
    data: list[ModelBody]
    has_more: bool
    first_id: str | None
    last_id: str | None


def openai_model(card: ModelCard) -> OpenAIModel:
    return OpenAIModel(card.id, card.created, card.context_tokens, card.context_tokens)


def model_body(card: ModelCard) -> ModelBody:
    created_at = datetime.fromtimestamp(card.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ModelBody(card.id, card.id, created_at, card.context_tokens, card.context_tokens)


def model_page(cards: tuple[ModelCard, ...], query: Mapping[str, str]) -> ModelPage:
    """The models after `after_id`, or those right before `before_id`, `limit` of them at most. `has_more` says whether
    there are more in the same direction. Raises `InvalidRequest`."""
    limit = _limit(query.get("limit"))
    after_id, before_id = query.get("after_id"), query.get("before_id")
    if after_id is not None and before_id is not None:
        raise InvalidRequest("after_id and before_id exclude each other", param="after_id", code="invalid_value")
    if before_id is not None:
        earlier = cards[: _position(cards, "before_id", before_id)]
        return _page(earlier[-limit:], has_more=len(earlier) > limit)
    later = cards if after_id is None else cards[_position(cards, "after_id", after_id) + 1 :]
    return _page(later[:limit], has_more=len(later) > limit)


def _page(cards: tuple[ModelCard, ...], *, has_more: bool) -> ModelPage:
    bodies = [model_body(card) for card in cards]
    return ModelPage(bodies, has_more, bodies[0].id if bodies else None, bodies[-1].id if bodies else None)


def _limit(value: str | None) -> int:
    if value is None:
        return DEFAULT_LIMIT
    if value.isascii() and value.isdecimal() and len(value) <= 4 and 1 <= int(value) <= MAX_LIMIT:
        return int(value)
    message = f"limit: {shown(value)} is not allowed; use an integer from 1 to {MAX_LIMIT}"
    raise InvalidRequest(message, param="limit", code="invalid_value")


def _position(cards: tuple[ModelCard, ...], name: str, model_id: str) -> int:
    ids = [card.id for card in cards]
    if model_id in ids:
        return ids.index(model_id)
    close = nearest(model_id, ids)
    hint = f"Did you mean {close}?" if close else None
    raise InvalidRequest(f"{name}: there is no model {shown(model_id)}", param=name, code="invalid_value", hint=hint)
