"""What kernels check before they change anything.

A call that is refused returns the place of the first item that it cannot take, otherwise `DONE`.
"""

from __future__ import annotations

from appliance.cache.kernel import Numbers, inlined, kernel
from appliance.cache.rows import block_at, header_at

DONE = -1
"""What a call returns that was not refused."""


@inlined
def is_block(t: int, block: int) -> bool:
    return 0 <= block < header_at(t, 0).num_blocks


@inlined
def has_content(t: int, block: int) -> bool:
    return is_block(t, block) and block_at(t, block).has_content != 0


@kernel
def outside(t: int, blocks: Numbers) -> int:
    for i in range(len(blocks)):
        if not is_block(t, blocks[i]):
            return i
    return DONE
