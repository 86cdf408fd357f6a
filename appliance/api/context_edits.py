"""`context_management` of the messages API: what is to be cleared from a long history before the model reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from appliance.api.fields import Fields
from appliance.api.messages_reading import Reading

CLEAR_TOOL_USES: Final = "clear_tool_uses_20250919"
CLEAR_THINKING: Final = "clear_thinking_20251015"
DEFAULT_TRIGGER_TOKENS: Final = 100_000
DEFAULT_KEPT_USES: Final = 3
DEFAULT_KEPT_TURNS: Final = 1
TRIGGERS: Final = ("input_tokens", "tool_uses")


@dataclass(frozen=True, slots=True)
class ClearToolUses:
    """Forget the results of all tool calls but the last `keep`, once the prompt has more than `trigger_tokens` tokens
    or more than `trigger_uses` calls; not when fewer than `at_least_tokens` would be won.

    `inputs_of` are the tools whose calls lose their input too, `None` all of them.
    """

    trigger_tokens: int | None = DEFAULT_TRIGGER_TOKENS
    trigger_uses: int | None = None
    keep: int = DEFAULT_KEPT_USES
    at_least_tokens: int = 0
    exclude: frozenset[str] = frozenset()
    inputs_of: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True)
class ClearThinking:
    """Forget the thoughts of all turns but the last `keep_turns` that have some."""

    keep_turns: int = DEFAULT_KEPT_TURNS


Edit = ClearToolUses | ClearThinking


def decode_edits(body: Fields, reading: Reading) -> tuple[Edit, ...] | None:
    """In the order in which they are to be made; `None` when the request does not ask for any. Edits that are not known
    here are left out. Raises `InvalidRequest`."""
    management = body.object("context_management")
    if management is None:
        return None
    edits = (_decode_edit(fields, reading) for fields in management.objects("edits"))
    return tuple(edit for edit in edits if edit is not None)


def _decode_edit(fields: Fields, reading: Reading) -> Edit | None:
    kind = fields.required_string("type")
    if kind == CLEAR_TOOL_USES:
        return _decode_clear_tool_uses(fields)
    if kind == CLEAR_THINKING:
        return _decode_clear_thinking(fields)
    reading.leave_out(fields.path(), f"edits of type {kind} are not made here")
    return None


def _decode_clear_tool_uses(fields: Fields) -> ClearToolUses:
    trigger = fields.object("trigger")
    kind, value = ("input_tokens", DEFAULT_TRIGGER_TOKENS) if trigger is None else _decode_trigger(trigger)
    return ClearToolUses(
        trigger_tokens=value if kind == "input_tokens" else None,
        trigger_uses=value if kind == "tool_uses" else None,
        keep=_decode_amount(fields, "keep", "tool_uses", DEFAULT_KEPT_USES),
        at_least_tokens=_decode_amount(fields, "clear_at_least", "input_tokens", 0),
        exclude=_decode_names(fields, "exclude_tools"),
        inputs_of=_decode_inputs(fields),
    )


def _decode_trigger(trigger: Fields) -> tuple[str, int]:
    kind = trigger.choice("type", TRIGGERS)
    if kind is None:
        raise trigger.refuse("type", f"one of {', '.join(TRIGGERS)}")
    return kind, _required_amount(trigger)


def _decode_clear_thinking(fields: Fields) -> ClearThinking | None:
    """To keep all is no edit."""
    keep = fields.raw("keep")
    if keep == "all" or (isinstance(keep, dict) and keep.get("type") == "all"):
        return None
    turns = _decode_amount(fields, "keep", "thinking_turns", DEFAULT_KEPT_TURNS)
    if turns == 0:
        raise fields.required_object("keep").refuse("value", "an integer ≥ 1")
    return ClearThinking(turns)


def _decode_inputs(fields: Fields) -> frozenset[str] | None:
    if isinstance(fields.raw("clear_tool_inputs"), list):
        return _decode_names(fields, "clear_tool_inputs")
    return None if fields.flag("clear_tool_inputs") else frozenset()


def _decode_amount(fields: Fields, name: str, kind: str, default: int) -> int:
    amount = fields.object(name)
    if amount is None:
        return default
    if amount.raw("type") != kind:
        raise amount.refuse("type", f'"{kind}"')
    return _required_amount(amount)


def _required_amount(fields: Fields) -> int:
    value = fields.integer("value", 0)
    if value is None:
        raise fields.refuse("value", "an integer ≥ 0")
    return value


def _decode_names(fields: Fields, name: str) -> frozenset[str]:
    names = fields.array(name) or []
    if not all(isinstance(tool, str) for tool in names):
        raise fields.refuse(name, "an array of names of tools")
    return frozenset(names)
