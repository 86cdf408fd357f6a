"""The router's own names for blocks: chained 64-bit hashes over tokens and extra keys.

A hash names a block *and* all that precedes it, so two prompts share a hash exactly when they share the prefix
up to that block. The engine checks hits with its own, longer hashes: a collision here costs one poor choice of
worker, never a wrong answer.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from appliance.router.compiled import kernel

Tokens = NDArray[np.uint32]
Hashes = NDArray[np.uint64]

HASH_BYTES = 8
_ODD_1 = np.uint64(0x9E3779B185EBCA87)
_ODD_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_ODD_3 = np.uint64(0x165667B19E3779F9)
_NO_EXTRAS = np.zeros(0, np.uint64)


def hash_blocks(
    token_ids: Sequence[int] | Tokens,
    block_tokens: int,
    *,
    parent: int | None = None,
    extra_keys: Sequence[Sequence[object] | None] | None = None,
    root: int | None = None,
) -> Hashes:
    """One hash in 0 … 2⁶⁴-1 for each full block of `token_ids`; a partial last block has none.

    `parent` is the hash of the block before `token_ids`, `None` at the start of a prompt. Hashing a prompt in
    pieces of whole blocks gives the same hashes as hashing it at once. `root` stands in front of the first block
    instead of the usual one (see `root_of`); it is not used where there is a parent.
    `extra_keys` holds, per block, whatever else makes its content differ, in the shapes that vLLM's events use:
    LoRA name, `(image id, offset)` pairs, cache salt. Tuples and lists are the same; `None` and empty are the
    same; blocks past its end have none, entries past the last full block are ignored.
    A flat uint32 array of tokens is read in place, any other sequence copied first.
    Raises `OverflowError` for a token outside 0 … 2³²-1 and `TypeError` for a key that msgpack cannot express.
    Hashes made with different `block_tokens` must not be mixed.
    """
    if parent is None:
        parent = ROOT if root is None else root
    tokens = flat_tokens(token_ids)
    hashes = np.empty(tokens.size // block_tokens, np.uint64)
    extras = _flat_extras(extra_keys[: hashes.size]) if extra_keys else _NO_EXTRAS
    chain(tokens, block_tokens, np.uint64(parent), extras, hashes)
    return hashes


def root_of(name: str) -> int:
    """What stands in front of the first block of every prompt of one model: prompts of two models share no hash."""
    return int(_digest(name.encode()))


def flat_tokens(token_ids: Sequence[int] | Tokens) -> Tokens:
    """`token_ids` as the one kind of array that `chain` is compiled for: contiguous, writable, uint32."""
    if isinstance(token_ids, np.ndarray):
        return np.require(token_ids, np.uint32, ["C", "W"])
    tokens = array("I")
    # A third quicker than `array("I", token_ids)`, and this is most of what a decision takes.
    tokens.fromlist(token_ids if isinstance(token_ids, list) else [*token_ids])
    return np.frombuffer(tokens, np.uint32)


def _flat_extras(extra_keys: Sequence[Sequence[object] | None]) -> Hashes:
    if not any(extra_keys):
        return _NO_EXTRAS
    return np.array([_digest(msgspec.msgpack.encode(keys)) if keys else 0 for keys in extra_keys], np.uint64)


def _digest(data: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(data, digest_size=HASH_BYTES).digest(), "little"))


@kernel
def chain(tokens: Tokens, block_tokens: int, parent: np.uint64, extras: Hashes, hashes: Hashes) -> None:
    """Write the hash of each full block. Blocks are digested independently of one another, then chained."""
    for block in range(hashes.size):
        digest = _ODD_3
        for place in range(block * block_tokens, (block + 1) * block_tokens):
            digest ^= np.uint64(tokens[place]) * _ODD_1
            digest = ((digest << np.uint64(31)) | (digest >> np.uint64(33))) * _ODD_2
        if block < extras.size:
            digest = (digest ^ extras[block]) * _ODD_1
        else:
            digest *= _ODD_1
        parent = (parent ^ digest) * _ODD_2
        parent = (parent ^ (parent >> np.uint64(29))) * _ODD_3
        parent ^= parent >> np.uint64(32)
        hashes[block] = parent


ROOT = root_of("")
