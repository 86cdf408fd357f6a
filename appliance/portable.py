"""What an operator has decided, in one document that other boxes can take over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from appliance.cache.errors import InvalidPolicy
from appliance.cache.policy_source import parse_policy
from appliance.cache.policy_text import editable_text
from appliance.errors import BoxError
from appliance.records import PolicyRecord
from appliance.settings import KEYS, Loaded
from appliance.settings_source import Default

FORMAT: Final = "dynamo-box-export"
VERSION: Final = 1
OF_THIS_MACHINE: Final = ("paths.", "state.path", "cache.disk.path")


class PortablePolicy(Struct, frozen=True):
    """A version that was active. `text` is its TOML, with all that it includes."""

    name: str
    text: str
    author: str
    note: str | None
    activated_at: float


class Export(Struct, frozen=True):
    """`settings` by dotted key, as a settings file has them. `policies` has the newest version of each name, the active
    one last. `hints` are as `/box/v1/hints` shows them."""

    format: str
    version: int
    settings: dict[str, Any]
    policies: tuple[PortablePolicy, ...]
    hints: tuple[dict[str, Any], ...]


def portable_settings(loaded: Loaded) -> dict[str, Any]:
    """Those that somebody has set; nothing secret, and no folder of this machine."""
    dumped = loaded.settings.model_dump(mode="json")
    return {
        key: _at(dumped, key)
        for key, source in loaded.sources.items()
        if not isinstance(source, Default)
        and KEYS[key].json_schema_extra != {"writeOnly": True}
        and not key.startswith(OF_THIS_MACHINE)
    }


def portable_policies(history: Sequence[PolicyRecord]) -> tuple[PortablePolicy, ...]:
    """Of what was active, the newest first."""
    newest: dict[str, PolicyRecord] = {}
    for record in history:
        newest.setdefault(record.name, record)
    return tuple(map(_portable, reversed(newest.values())))


def _portable(record: PolicyRecord) -> PortablePolicy:
    try:
        text = editable_text(parse_policy(record.name, record.text))
    except InvalidPolicy:
        # As it was written; who takes it over is told what is wrong with it.
        text = record.text
    return PortablePolicy(record.name, text, record.author, record.note, record.activated_at)


def export_text(
    settings: Mapping[str, Any], policies: Sequence[PortablePolicy], hints: Sequence[Mapping[str, Any]]
) -> str:
    told = Export(FORMAT, VERSION, dict(settings), tuple(policies), tuple(map(dict, hints)))
    return json.dumps(msgspec.to_builtins(told), indent=2, ensure_ascii=False) + "\n"


def read_export(text: str, name: str) -> Export:
    """`name` is only said in errors. Raises `BoxError`."""
    try:
        told = msgspec.json.decode(text, type=Export)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BoxError(f"{name}: not what `dynamo-box export` writes: {error}") from error
    if (told.format, told.version) != (FORMAT, VERSION):
        raise BoxError(f"{name}: {told.format} version {told.version}; this program reads {FORMAT} version {VERSION}")
    return told


def settings_text(settings: Mapping[str, Any]) -> str:
    """As a settings file: JSON's texts, numbers and lists are TOML's too."""
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items())
    return "# Written by `dynamo-box import`.\n" + "".join(lines)


def _at(tree: Any, key: str) -> Any:
    for name in key.split("."):
        tree = tree[name]
    return tree
