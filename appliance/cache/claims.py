"""The algebra of claims: how the wishes of several sources become one worth per piece of a prompt, which never rises.

A worth is a priority for a duration after the last use, then the default. An array of worths has a row of priorities
and a row of durations in seconds. One worth is at most another when both numbers are, which holds at every later moment
too. A priority of at most the default cannot fall to it, so there the duration is 0: it asks nothing of what is ahead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

DEFAULT_PRIORITY: Final = 35
NO_END: Final = float("inf")

Worths = NDArray[np.float64]
Mask = NDArray[np.bool_]

HIGHEST: Final[Worths] = np.array([[100.0], [NO_END]])
LOWEST: Final[Worths] = np.array([[0.0], [0.0]])


class Wish(NamedTuple):
    """What one source wants for the pieces where `mask` is true."""

    mask: Mask
    worths: Worths


def worth(priority: float, duration_seconds: float | None) -> Worths:
    """One column; `None`: no end."""
    seconds = NO_END if duration_seconds is None else duration_seconds
    return np.array([[priority], [seconds if priority > DEFAULT_PRIORITY else 0.0]])


def raised(worths: Worths) -> Worths:
    """Each is at least what any behind it is: a block that keeps nothing in front of it cannot be reached."""
    return np.maximum.accumulate(worths[:, ::-1], axis=1)[:, ::-1]


def capped(worths: Worths) -> Worths:
    """Each is at most what any before it is."""
    return np.minimum.accumulate(worths, axis=1)


def settled(wishes: Iterable[Wish], pieces: int) -> Worths:
    """One worth per piece, from wishes in order of strength of which the last speaks for every piece.

    A wish gets exactly what it wants, raised in itself, where no stronger one has spoken, and there it is held between
    the stronger ones before and behind. So no weaker wish ever changes a stronger one's.
    """
    worths = np.zeros((2, pieces))
    is_settled = np.zeros(pieces, dtype=np.bool_)
    for wish in wishes:
        mask = wish.mask & ~is_settled
        most = capped(np.where(is_settled, worths, HIGHEST))
        least = raised(np.where(is_settled, worths, LOWEST))
        wanted = raised(np.where(mask, wish.worths, LOWEST))
        worths = np.where(mask, np.clip(wanted, least, most), worths)
        is_settled |= mask
    return worths
