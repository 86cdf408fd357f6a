"""What decoding one messages request gathers beside its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.api.chat_messages import decode_mark
from appliance.api.fields import Fields
from appliance.api.seal import Seal
from appliance.conversation import CacheMark, Ignored
from appliance.errors import InvalidRequest

MAX_MARKS: Final = 4


@dataclass(slots=True)
class Reading:
    """One request being read, in the order of the prompt: tools, system, messages.

    `pdf_texts` are the texts of its PDF documents, by their base64 data.
    """

    seal: Seal
    pdf_texts: Mapping[str, str] = field(default_factory=dict)
    ignored: list[Ignored] = field(default_factory=list)
    call_ids: set[str] = field(default_factory=set)
    _marks: list[CacheMark] = field(default_factory=list)

    def leave_out(self, path: str, reason: str) -> None:
        """Something is not acted upon, which is no error."""
        self.ignored.append(Ignored(path, reason))

    def mark(self, fields: Fields) -> CacheMark | None:
        """The `cache_control` of a block, a tool or the whole request.

        Raises `InvalidRequest` for a wrong one, for the fifth, and for one that outlives a mark before it: the prefix
        that it keeps would begin with one that is given up earlier.
        """
        mark = decode_mark(fields)
        if mark is None:
            return None
        path = fields.path("cache_control")
        if len(self._marks) == MAX_MARKS:
            raise InvalidRequest(f"{path}: at most {MAX_MARKS} blocks may carry cache_control", param=path)
        if any(earlier.ttl_seconds < mark.ttl_seconds for earlier in self._marks):
            message = (
                f"{path}.ttl: a longer ttl must not come after a shorter one (in the order tools, system, messages)"
            )
            raise InvalidRequest(message, param=f"{path}.ttl")
        self._marks.append(mark)
        return mark
