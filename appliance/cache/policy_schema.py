"""The keys of a rule in a policy file: what each may be, and what it is for. Rules are read by it, and forms made."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from appliance.cache.policy_fields import MAX_PRIORITY, PolicyFields
from appliance.cache.region import Region
from appliance.cache.rule import HINTS, Bounds
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import TIERS

FieldKind = Literal["choices", "flag", "text", "ranges", "priority", "duration"]


class RuleField(NamedTuple):
    """`choices` are all values of a key, or the keys of its ranges. `is_condition`: it says when the rule matches, and
    not what it gives."""

    key: str
    kind: FieldKind
    help: str
    is_condition: bool = True
    choices: tuple[str, ...] = ()

    def read(self, fields: PolicyFields) -> Any:
        """`None` where it is absent or wrong; what is wrong is noted."""
        match self.kind:
            case "choices":
                return fields.choices(self.key, self.choices)
            case "flag":
                return fields.flag(self.key)
            case "text":
                return fields.text(self.key)
            case "ranges":
                return self._ranges(fields)
            case "priority":
                return fields.priority(self.key)
            case "duration":
                return fields.duration_seconds(self.key)

    def _ranges(self, fields: PolicyFields) -> tuple[tuple[str, Bounds], ...]:
        table = fields.table(self.key)
        if table is None:
            return ()
        table.refuse_unknown(self.choices, self.key)
        found = ((name, table.bounds(name)) for name in self.choices)
        return tuple((name, bounds) for name, bounds in found if bounds is not None)


RULE_FIELDS: Final = (
    RuleField("region", "choices", "of a prompt; any of these", choices=tuple(Region)),
    RuleField("state", "choices", "of the session; any of these", choices=tuple(SessionState)),
    RuleField("role", "choices", "of the session", choices=tuple(SessionRole)),
    RuleField("keeps_thinking", "flag", "whether the template still shows this turn's thoughts in the next one"),
    RuleField("shared", "flag", "whether another session opens with the same system text and tools"),
    RuleField("client", "text", "the user agent; * and ?, in whichever case"),
    RuleField("model", "text", "its name; * and ?, in whichever case"),
    RuleField("hints", "ranges", "bounds of what the client hints, such as { min = 1, max = 5 }", choices=HINTS),
    RuleField("priority", "priority", f"required, 0 to {MAX_PRIORITY}; 35 is the default", is_condition=False),
    RuleField("duration", "duration", "after the last use, such as 5min; absent: no end", is_condition=False),
    RuleField("tiers", "choices", "where it may be kept; absent: all", is_condition=False, choices=tuple(TIERS)),
    RuleField("caps_rest", "flag", "nothing behind it is worth more", is_condition=False),
)
