"""Thoughts that leave the box signed or closed, so that it knows them again when a client sends them back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

KEY_BYTES = 32


class Seal:
    """Signs and closes texts with one key of `KEY_BYTES` bytes. Who has the key can open them."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a seal's key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._box = Fernet(base64.urlsafe_b64encode(key))

    def sign(self, text: str) -> str:
        return base64.b64encode(self._digest(text)).decode()

    def is_signed(self, text: str, signature: str) -> bool:
        """Whether `sign` of this key made `signature` for exactly this text."""
        return hmac.compare_digest(self.sign(text).encode(), signature.encode("utf-8", errors="replace"))

    def close(self, text: str) -> str:
        """`text`, unreadable but for this key. Closing it twice gives two different results."""
        return self._box.encrypt(text.encode("utf-8", errors="surrogatepass")).decode()

    def open(self, closed: str) -> str | None:
        """The text that `close` was given; `None` for anything that this key did not close."""
        try:
            return self._box.decrypt(closed.encode()).decode("utf-8", errors="surrogatepass")
        except (InvalidToken, UnicodeError):
            return None

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8", errors="surrogatepass"), hashlib.sha256)


def load_key(path: Path) -> bytes:
    """The key kept at `path`, made on first use and readable by this user only: what was sealed outlives a restart."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) == KEY_BYTES:
        return key
    key = os.urandom(KEY_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(descriptor)
    unfinished.replace(path)
    return key
