"""Doubly linked lists inside rows with `previous` and `next`, their ends in rows with `first` and `last`.

Every function takes constant time. The ends of list n are marked `-2 - n` in the elements that lie there, which is why
`unlink` needs no list; an empty list has a negative `first`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from appliance.cache.kernel import kernel
from appliance.cache.rows import RowAt


class ListKernels(NamedTuple):
    append: Callable[[int, int, int], None]
    """Of the memory, an element in no list, and the list's number."""
    prepend: Callable[[int, int, int], None]
    unlink: Callable[[int, int], None]
    """Of the memory and an element in a list."""


def linked(element_at: RowAt, ends_at: RowAt) -> ListKernels:
    @kernel
    def append(t: int, element: int, which: int) -> None:
        last = ends_at(t, which).last
        element_at(t, element).previous = last if last >= 0 else -2 - which
        element_at(t, element).next = -2 - which
        if last >= 0:
            element_at(t, last).next = element
        else:
            ends_at(t, which).first = element
        ends_at(t, which).last = element

    @kernel
    def prepend(t: int, element: int, which: int) -> None:
        first = ends_at(t, which).first
        element_at(t, element).next = first if first >= 0 else -2 - which
        element_at(t, element).previous = -2 - which
        if first >= 0:
            element_at(t, first).previous = element
        else:
            ends_at(t, which).last = element
        ends_at(t, which).first = element

    @kernel
    def unlink(t: int, element: int) -> None:
        before, after = element_at(t, element).previous, element_at(t, element).next
        if before >= 0:
            element_at(t, before).next = after
        else:
            ends_at(t, -2 - before).first = after
        if after >= 0:
            element_at(t, after).previous = before
        else:
            ends_at(t, -2 - after).last = before

    return ListKernels(append, prepend, unlink)
