"""What a remote store must be able to do, and which one an address means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from appliance.cache.errors import CacheError
from appliance.keeper.remote.address import checked_url, is_redis


class StoreError(OSError):
    """The store did not do what was asked of it."""


class Limits(NamedTuple):
    """The longest that one operation may take, and how many there are at a time."""

    timeout_seconds: float
    connections: int


class Store(Protocol):
    """Values by name. Every call blocks, may come from many threads at once, and raises `StoreError`."""

    def get(self, names: Sequence[str]) -> list[Any]:
        """The bytes under each name, `None` for what is not there."""
        ...

    def has(self, names: Sequence[str]) -> list[bool]: ...

    def put(self, name: str, value: bytes) -> None: ...

    def close(self) -> None: ...


def open_store(url: str, limits: Limits) -> Store:
    """Nothing is asked of it yet: it need not be there. Raises `CacheError` for an address that means none."""
    try:
        if is_redis(checked_url(url)):
            from appliance.keeper.remote.redis_store import RedisStore

            return RedisStore(url, limits)
        from appliance.keeper.remote.object_store import ObjectStore

        return ObjectStore(url, limits)
    except (ValueError, OSError) as error:
        raise CacheError(f"cache.remote.url {url!r}: {error}") from error
