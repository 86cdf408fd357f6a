"""An object store, or a folder that several machines see, as a remote store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from appliance.keeper.remote.address import folder_of
from appliance.keeper.remote.stores import Limits, StoreError


class ObjectStore:
    """`stores.Store`. Credentials, region and endpoint come from the environment, by the names that the clouds' own
    tools have for them."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._folder = folder_of(url)
        seconds = timedelta(seconds=limits.timeout_seconds)
        self._store: Any
        if self._folder is not None:
            self._store = LocalStore(str(self._folder), mkdir=False) if self._folder.is_dir() else None
        else:
            self._store = from_url(
                url,
                client_options={
                    "timeout": seconds,
                    "connect_timeout": seconds,
                    "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
                },
                retry_config={"max_retries": 0, "retry_timeout": seconds},
            )

    def get(self, names: Sequence[str]) -> list[Any]:
        return [self._one(name) for name in names]

    def has(self, names: Sequence[str]) -> list[bool]:
        return [self._is_there(name) for name in names]

    def put(self, name: str, value: bytes) -> None:
        try:
            obstore.put(self._opened(), name, value, use_multipart=False)
        except (BaseError, OSError) as error:
            raise _told(error) from error

    def close(self) -> None:
        self._store = None

    def _one(self, name: str) -> Any:
        try:
            return obstore.get(self._opened(), name).bytes()
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _told(error) from error

    def _is_there(self, name: str) -> bool:
        try:
            obstore.head(self._opened(), name)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise _told(error) from error
        return True

    def _opened(self) -> Any:
        """A folder that is not there, as one of another machine may be, is looked for again each time: made by us it
        would be on the wrong disk."""
        if self._folder is not None and not self._folder.is_dir():
            self._store = None
            raise StoreError(f"there is no folder {self._folder}")
        if self._store is None:
            self._store = LocalStore(str(self._folder), mkdir=False)
        return self._store


def _told(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreError(str(error).partition("\n")[0])
