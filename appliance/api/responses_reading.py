"""What decoding one responses request gathers beside its messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.api.chat_messages import decode_mark
from appliance.api.fields import Fields
from appliance.api.prompt_cache import DEFAULT_BREAKPOINT_SECONDS, decode_breakpoint
from appliance.api.seal import Seal
from appliance.conversation import CacheMark, Ignored


@dataclass(slots=True)
class Reading:
    """One request being read.

    `pdf_texts` are the texts of its PDF files by their base64 data, `more_tools` the items that declare tools in the
    middle of an input, `call_ids` the calls whose results may follow.
    """

    seal: Seal
    pdf_texts: Mapping[str, str] = field(default_factory=dict)
    breakpoint_seconds: float = DEFAULT_BREAKPOINT_SECONDS
    ignored: list[Ignored] = field(default_factory=list)
    more_tools: list[Fields] = field(default_factory=list)
    call_ids: set[str] = field(default_factory=set)

    def leave_out(self, path: str, reason: str) -> None:
        """Something is not acted upon, which is no error."""
        self.ignored.append(Ignored(path, reason))

    def mark(self, fields: Fields) -> CacheMark | None:
        """The `prompt_cache_breakpoint` of a part or an item, or the `cache_control` of other protocols."""
        return decode_breakpoint(fields, self.breakpoint_seconds) or decode_mark(fields)
