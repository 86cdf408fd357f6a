"""Valkey or Redis as a remote store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from appliance.keeper.remote.address import PASSWORD_VARIABLE
from appliance.keeper.remote.stores import Limits, StoreError

PREFIX: Final = "dynamo-box:"
_OTHER_NAMES: Final = {"valkey": "redis", "valkeys": "rediss"}


class RedisStore:
    """`stores.Store`. What has to go when the server is full is its own affair (`maxmemory-policy`)."""

    def __init__(self, url: str, limits: Limits) -> None:
        scheme = urlsplit(url).scheme
        seconds = limits.timeout_seconds
        self._pool = redis.ConnectionPool.from_url(
            _OTHER_NAMES.get(scheme, scheme) + url[len(scheme) :],
            max_connections=limits.connections,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            password=os.environ.get(PASSWORD_VARIABLE),
        )
        self._client = redis.Redis(connection_pool=self._pool)

    def get(self, names: Sequence[str]) -> list[Any]:
        found: list[Any] = self._do("MGET", *map(_key, names))
        return found

    def has(self, names: Sequence[str]) -> list[bool]:
        try:
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.exists(_key(name))
            return [bool(found) for found in pipe.execute()]
        except redis.RedisError as error:
            raise StoreError(str(error)) from error

    def put(self, name: str, value: bytes) -> None:
        self._do("SET", _key(name), value)

    def close(self) -> None:
        self._pool.disconnect()

    def _do(self, *command: Any) -> Any:
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis's
        except redis.RedisError as error:
            raise StoreError(str(error)) from error


def _key(name: str) -> str:
    return PREFIX + name
