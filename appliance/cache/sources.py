"""The digest of the sources of the eviction core's kernels.

numba keeps compiled kernels on disk and looks at one file only, that of the kernel itself: after a change in a file
that it calls into, or an upgrade that leaves the kernel's own file as it was, it would run the old code. The digest is
part of the header's type and so of the signature of every kernel that Python calls; it also keeps a process of another
version from mapping the arrays.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_FILES = (
    "kernel.py",
    "rows.py",
    "prefetch.py",
    "links.py",
    "timers.py",
    "buckets.py",
    "prefixes.py",
    "slots.py",
    "worth.py",
    "shares.py",
    "checks.py",
    "use_kernels.py",
    "claim_kernels.py",
    "take_kernels.py",
    "simulation_kernels.py",
    "rebuild_kernels.py",
    "layout.py",
)


def _digest() -> str:
    folder = Path(__file__).parent
    return hashlib.sha256(b"\0".join((folder / name).read_bytes() for name in _FILES)).hexdigest()[:12]


SOURCES_DIGEST = _digest()
"""Twelve hexadecimal digits."""
