"""What decoding one chat request knows and gathers beside its messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.api.prompt_cache import DEFAULT_BREAKPOINT_SECONDS
from appliance.conversation import Ignored


@dataclass(slots=True)
class Reading:
    """`pdf_texts` are the texts of the request's PDF files by their base64 data, `call_ids` the calls whose results may
    follow; `ignored` grows."""

    breakpoint_seconds: float = DEFAULT_BREAKPOINT_SECONDS
    pdf_texts: Mapping[str, str] = field(default_factory=dict)
    ignored: list[Ignored] = field(default_factory=list)
    call_ids: set[str] = field(default_factory=set)

    def leave_out(self, path: str, reason: str) -> None:
        """Something is not acted upon, which is no error."""
        self.ignored.append(Ignored(path, reason))
