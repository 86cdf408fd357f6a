"""Which region each token of a prompt belongs to, and which block of the conversation it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError, InvalidRange
from appliance.cache.region import Region


class Origin(NamedTuple):
    """Where in the conversation something stands: block `block` of message `message`, or tool `tool`."""

    message: int | None = None
    block: int | None = None
    tool: int | None = None


class Span(NamedTuple):
    """The tokens `start` up to, not including, `end`. Text that a template puts around a block belongs to its span."""

    start: int
    end: int
    region: Region
    origin: Origin = Origin()


REGIONS: Final = tuple(Region)
_CODE: Final = {region.value: code for code, region in enumerate(REGIONS)}


class RegionMap:
    """Spans that cover a prompt from its first token to its last. Immutable.

    `starts` and `codes` are the spans as arrays, made once; a code is a place in `REGIONS`.
    """

    __slots__ = ("codes", "spans", "starts")

    def __init__(self, spans: Iterable[Span]) -> None:
        """Raises `InvalidRange` unless the spans are in order, none is empty, and each begins where the one before it
        ends, the first at 0."""
        self.spans = tuple(spans)
        if (wrong := _first_wrong(self.spans)) is not None:
            raise InvalidRange(wrong)
        self.starts, self.codes = _arrays(self.spans)

    @property
    def tokens(self) -> int:
        return self.spans[-1].end if self.spans else 0

    def at(self, token: int) -> Span:
        """Raises `IndexError` for a token outside the prompt."""
        if not 0 <= token < self.tokens:
            raise IndexError(f"token {token} of a prompt of {self.tokens}")
        return self.spans[self._place(token)]

    def slice(self, start: int = 0, end: int | None = None) -> Iterator[Span]:
        """The spans of the tokens `start` up to, not including, `end`, cut to these; what is outside is left out."""
        start, end = max(start, 0), self.tokens if end is None else min(end, self.tokens)
        for span in self.spans[max(self._place(start), 0) :]:
            if span.start >= end:
                return
            yield span._replace(start=max(span.start, start), end=min(span.end, end))

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        if (wrong := _first_wrong(self.spans)) is not None:
            raise IntegrityError(wrong)
        starts, codes = _arrays(self.spans)
        if not (np.array_equal(self.starts, starts) and np.array_equal(self.codes, codes)):
            raise IntegrityError("the arrays are not those of the spans")

    def _place(self, token: int) -> int:
        return int(self.starts.searchsorted(token, side="right")) - 1


def _arrays(spans: tuple[Span, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = np.array([span.start for span in spans], dtype=np.int64)
    return starts, np.array([_CODE[span.region.value] for span in spans], dtype=np.int64)


def _first_wrong(spans: tuple[Span, ...]) -> str | None:
    """One sentence about the first span that is not as it must be."""
    expected = 0
    for number, span in enumerate(spans):
        if span.start != expected or span.end <= span.start:
            return f"span {number} ({span.region}, tokens {span.start} to {span.end}) {_fault(span, expected)}"
        expected = span.end
    return None


def _fault(span: Span, expected: int) -> str:
    if span.end <= span.start:
        return f"is {'reversed' if span.end < span.start else 'empty'}: its end must be above {span.start}"
    how = "overlaps the one before it" if span.start < expected else "leaves a gap before it"
    return f"{how}: it must start at {expected}"
