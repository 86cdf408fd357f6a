"""The line with which Claude Code tells its maker's accounting where a request comes from.

It is another in every session or request and stands ahead of everything else.
"""

from __future__ import annotations

from appliance.stabiliser.finding import lines
from appliance.stabiliser.text_rule import Fate, TextRule

ATTRIBUTION = TextRule("attribution", lines("x-anthropic-billing-header:"), Fate.REMOVED)
