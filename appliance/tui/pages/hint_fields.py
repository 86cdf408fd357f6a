"""What can be chosen of a hint: its fields with their defaults, as people write them and as the box takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from appliance.api.hint_views import DEFAULT_SECONDS
from appliance.errors import SettingsError
from appliance.units import format_duration, parse_duration


class HintField(NamedTuple):
    """`name` in a request to the box, `label` for people. `optional`: what the box does where nothing is written."""

    name: str
    label: str
    default: str
    read: Callable[[str], float]
    optional: str | None = None


def whole_number(text: str) -> int:
    """Raises `ValueError`, saying what is accepted."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


HOLDS: Final = HintField("expires_in", "for", format_duration(DEFAULT_SECONDS), parse_duration)
FIELDS: Final[Mapping[str, tuple[HintField, ...]]] = {
    "pin": (HOLDS, HintField("priority", "level, 0 to 100", "100", whole_number)),
    "release": (HOLDS,),
    "ttl": (HintField("ttl_seconds", "after each use", "10min", parse_duration), HOLDS),
    "priority": (HintField("priority", "level, 0 is ordinary", "1", whole_number), HOLDS),
    "prefetch": (HintField("worker", "worker", "", whole_number, "the best one"),),
    "warm": (),
    "turn_finished": (),
}


def chosen(fields: tuple[HintField, ...], texts: list[str]) -> dict[str, Any]:
    """As the box takes it. Raises `SettingsError` that names the field."""
    values = {}
    for field, text in zip(fields, texts, strict=True):
        if not text.strip() and field.optional is not None:
            continue
        try:
            values[field.name] = field.read(text.strip())
        except ValueError as error:
            raise SettingsError(f"{field.label}: {error}") from error
    return values
