"""Server-sent events: framing."""

from __future__ import annotations

from typing import Final

EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
KEEP_ALIVE: Final = b": keep-alive\n\n"
DONE: Final = b"data: [DONE]\n\n"


def frame(payload: bytes) -> bytes:
    """One event. `payload` must hold no line break, which JSON text never does."""
    return b"data: %b\n\n" % payload


def named_frame(name: bytes, payload: bytes) -> bytes:
    """One event with a name. `payload` must hold no line break, which JSON text never does."""
    return b"event: %b\ndata: %b\n\n" % (name, payload)
