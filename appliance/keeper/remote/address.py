"""The address of a remote store."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

REDIS_SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys", "unix")
OBJECT_SCHEMES: Final = ("s3", "gs", "az", "file")
STORES: Final = "redis://host:6379/0, valkey://…, s3://bucket/folder, gs://…, az://…, file:///folder"
PASSWORD_VARIABLE: Final = "REDISCLI_AUTH"  # noqa: S105 – the name of one
"""As for the servers' own command line. Object stores have their own variables."""


def checked_url(url: str) -> str:
    """As it is; empty for no store. Raises `ValueError` for an address that means none, or has a password in it."""
    if not url:
        return url
    schemes = (*REDIS_SCHEMES, *OBJECT_SCHEMES)
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise ValueError(f"a store begins with one of {', '.join(f'{name}://' for name in schemes)}")
    if parts.password is not None or "password=" in parts.query:
        raise ValueError(f"leave the password out, and put it into the environment variable {PASSWORD_VARIABLE}")
    if parts.scheme in ("s3", "gs", "az") and not parts.netloc:
        raise ValueError(f"{parts.scheme}:// is followed by a bucket or container")
    if parts.scheme == "file" and (parts.netloc or parts.path in ("", "/")):
        raise ValueError("file:// is followed by the whole path of a folder, from / on")
    return url


def is_redis(url: str) -> bool:
    return urlsplit(url).scheme in REDIS_SCHEMES


def folder_of(url: str) -> Path | None:
    """Where a file:// address leads; `None` for any other."""
    parts = urlsplit(url)
    return Path(parts.path) if parts.scheme == "file" else None
