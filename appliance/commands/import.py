"""`dynamo-box import`: what `dynamo-box export` has written is taken over, and nothing that is here is lost."""  # noqa: N999 – the name of a command

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from appliance.cache.policy_source import read_policy, shipped_policies
from appliance.commands.context import Context, read_context
from appliance.control import Control
from appliance.errors import BoxError
from appliance.paths import default_config_file
from appliance.portable import Export, PortablePolicy, portable_settings, read_export, settings_text
from appliance.settings import validate_file

HINT_FIELDS: Final = ("verb", "session", "token_start", "token_end", "priority", "ttl_seconds", "by")


class Done(NamedTuple):
    """What became of one thing."""

    what: str
    outcome: str


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    told = read_export(_read(options.file), options.file)
    _check_policies(told)
    control = context.control if context.runtime.held() else None
    done = list(_take_over(told, _config_file(options), context, control, is_dry=options.dry_run))
    if options.json:
        print(json.dumps([one._asdict() for one in done], indent=2))
    else:
        lines = [f"{one.what}: {one.outcome}" for one in done] or ["there is nothing to take over"]
        print("\n".join(["nothing is done; without --dry-run it would be:"] * options.dry_run + lines))
    return 0


def _check_policies(told: Export) -> None:
    """Before anything is done. Raises `BoxError`."""
    for policy in told.policies:
        if not policy.name or policy.name.startswith(".") or Path(policy.name).name != policy.name:
            raise BoxError(f"policy {policy.name!r} cannot be the name of a file")
        read_policy(policy.text, policy.name)


def _take_over(
    told: Export, config: Path, context: Context, control: Control | None, *, is_dry: bool
) -> Iterator[Done]:
    yield from _settings(told, config, context, is_dry=is_dry)
    for policy in told.policies:
        yield from _policy(policy, config.parent / "policies", is_dry=is_dry)
    if control is None:
        if told.policies or told.hints:
            yield Done("running box", "there is none: no policy becomes active, and hints are left out")
        return
    if told.policies:
        yield _activate(told.policies[-1], control, is_dry=is_dry)
    for hint in told.hints:
        yield _hint(hint, control, is_dry=is_dry)


def _settings(told: Export, config: Path, context: Context, *, is_dry: bool) -> Iterator[Done]:
    if not told.settings:
        return
    if not config.exists():
        if not is_dry:
            _write(config, settings_text(told.settings))
            try:
                validate_file(config)
            except BoxError:
                config.unlink()
                raise
        yield Done(str(config), f"written, {len(told.settings)} settings")
        return
    here = portable_settings(context.loaded)
    for key, value in told.settings.items():
        if here.get(key) != value:
            own = f"is {json.dumps(here[key])} here" if key in here else "is not set here"
            yield Done(key, f"{own}, {json.dumps(value)} there; {config} is left as it is")


def _policy(policy: PortablePolicy, folder: Path, *, is_dry: bool) -> Iterator[Done]:
    """Shipped ones need no file."""
    if policy.name in shipped_policies():
        return
    path = folder / f"{policy.name}.toml"
    if path.exists():
        is_same = path.read_text() == policy.text
        yield Done(str(path), "is there already" if is_same else "is there with another text and left as it is")
        return
    if not is_dry:
        _write(path, policy.text)
    yield Done(str(path), "written")


def _activate(policy: PortablePolicy, control: Control, *, is_dry: bool) -> Done:
    if not is_dry:
        chosen = {"policy": policy.name} if policy.name in shipped_policies() else {"text": policy.text}
        named = {} if "policy" in chosen else {"name": policy.name}
        control.put("/box/v1/policy", {**chosen, **named, "author": policy.author, "note": "imported"})
    return Done(f"policy {policy.name}", "is active now")


def _hint(hint: dict[str, Any], control: Control, *, is_dry: bool) -> Done:
    """One whose session is not known here is said, and the others go on."""
    what = f"hint {hint.get('verb')} {hint.get('session')}"
    seconds = float(hint.get("expires_at", 0.0)) - time.time()
    if seconds <= 0:
        return Done(what, "has expired")
    if not is_dry:
        asked = {name: hint[name] for name in HINT_FIELDS if hint.get(name) is not None}
        try:
            control.post("/box/v1/hints", asked | {"expires_in": seconds}, 60.0)
        except BoxError as error:
            return Done(what, f"left out: {error.message}")
    return Done(what, f"holds for {seconds / 60:.0f} min")


def _config_file(options: argparse.Namespace) -> Path:
    chosen = options.config or os.environ.get("DYNAMO_BOX_CONFIG")
    return Path(chosen).expanduser() if chosen else default_config_file(os.environ)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).expanduser().read_text()
    except (OSError, UnicodeError) as error:
        raise BoxError(f"{file}: cannot be read: {error}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise BoxError(f"{path} cannot be written: {error.strerror}") from error
