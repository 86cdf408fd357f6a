"""The arguments of a call as a client sends them back: JSON text that a model wrote."""

from __future__ import annotations

import json
import re
from typing import Final

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def readable(arguments: str) -> str:
    """With U+FFFD for half of a surrogate pair, which no tokenizer takes: a model that once wrote one must not end its
    session. What is no JSON, and all other JSON, comes back as it is."""
    if _SURROGATE.search(arguments) is None:
        return arguments
    try:
        text = json.dumps(json.loads(arguments), ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return arguments if whole == text else whole
