"""Sessions as a file held them, before they are put on one clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from appliance.cache.trace import Access

FILE_SHIFT: Final = 40
"""Numbers of blocks within one file stay below two to this power."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Sessions as recorded. With `is_local_time` every session's clock starts at its own beginning; with
    `has_local_keys` equal block keys of two files are not equal blocks."""

    block_tokens: int
    sessions: tuple[tuple[Access, ...], ...]
    is_local_time: bool = False
    has_local_keys: bool = False

    def in_folder(self, number: int) -> Iterator[tuple[Access, ...]]:
        """The sessions of the folder's file with this number, with keys that are good in the whole folder."""
        if not self.has_local_keys:
            yield from self.sessions
            return
        for session in self.sessions:
            yield tuple(replace(access, block_keys=access.block_keys + (number << FILE_SHIFT)) for access in session)


def by_session(accesses: Sequence[Access]) -> tuple[tuple[Access, ...], ...]:
    """In the order in which sessions began, each in the order of arrival."""
    sessions: dict[str, list[Access]] = {}
    for access in sorted(accesses, key=lambda access: access.arrival_seconds):
        sessions.setdefault(access.session, []).append(access)
    return tuple(tuple(session) for session in sessions.values())
