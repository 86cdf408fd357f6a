"""The router's own names for blocks: chained 64-bit hashes over tokens and extra keys.

A hash names a block *and* all that precedes it, so two prompts share a hash exactly when they share the prefix
up to that block. The engine checks hits with its own, longer hashes: a collision here costs one poor choice of
worker, never a wrong answer.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain, repeat

import msgspec

HASH_BYTES = 8
_TOKEN_BYTES = 4
_ROOT = blake2b(b"first block", digest_size=HASH_BYTES).digest()


def hash_blocks(
    token_ids: Sequence[int],
    block_tokens: int,
    *,
    parent: int | None = None,
    extra_keys: Sequence[Sequence[object] | None] | None = None,
) -> list[int]:
    """One hash in 0 … 2⁶⁴-1 for each full block of `token_ids`; a partial last block has none.

    `parent` is the hash of the block before `token_ids`, `None` at the start of a prompt. Hashing a prompt in
    pieces of whole blocks gives the same hashes as hashing it at once.
    `extra_keys` holds, per block, whatever else makes its content differ, in the shapes that vLLM's events use:
    LoRA name, `(image id, offset)` pairs, cache salt. Tuples and lists are the same; `None` and empty are the
    same; blocks past its end have none, entries past the last full block are ignored.
    Raises `struct.error` for a token outside 0 … 2³²-1 and `TypeError` for a key that msgpack cannot express.
    Hashes made with different `block_tokens` must not be mixed.
    """
    num_blocks = len(token_ids) // block_tokens
    num_tokens = num_blocks * block_tokens
    packed = struct.pack(f"<{num_tokens}I", *token_ids[:num_tokens])
    size_bytes = block_tokens * _TOKEN_BYTES
    digest = _ROOT if parent is None else parent.to_bytes(HASH_BYTES, "little")
    hashes = []
    extras = chain(map(_canonical, (extra_keys or ())[:num_blocks]), repeat(b""))
    for start, extra in zip(range(0, len(packed), size_bytes), extras, strict=False):
        digest = blake2b(digest + packed[start : start + size_bytes] + extra, digest_size=HASH_BYTES).digest()
        hashes.append(int.from_bytes(digest, "little"))
    return hashes


def _canonical(keys: Sequence[object] | None) -> bytes:
    return msgspec.msgpack.encode(keys) if keys else b""
