"""`dynamo-box policy`: which retention policies there are, what they say and give a request. Changing the
running box's is in `policy_change.py`."""

from __future__ import annotations

import argparse
import json

from appliance.cache.policy_source import load_policy, shipped_policies
from appliance.cache.rule_text import condition_text, rule_facts, tiers_text, worth_text
from appliance.commands import policy_change
from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.commands.policy_explain import explain_request
from appliance.commands.request_body import read_body


def run(options: argparse.Namespace) -> int:
    here = {"list": _list, "validate": _validate, "show": _show, "explain": _explain}
    there = {
        "apply": policy_change.apply,
        "diff": policy_change.diff,
        "history": policy_change.history,
        "rollback": policy_change.roll_back,
    }
    return (here | there)[options.action](options)


def _list(options: argparse.Namespace) -> int:
    active = _active(options)
    names = [*shipped_policies(), *([] if active in shipped_policies() else [active])]
    rows = [(name, load_policy(name).description, name == active) for name in names]
    if options.json:
        _print_json([{"name": name, "description": text, "active": is_active} for name, text, is_active in rows])
    else:
        _print(*columns((name, "active" if is_active else "", text) for name, text, is_active in rows))
    return 0


def _validate(options: argparse.Namespace) -> int:
    policy = load_policy(_chosen(options))
    if options.json:
        _print_json({"policy": _chosen(options), "valid": True, "rules": len(policy.rules)})
    else:
        _print(f"{_chosen(options)}: valid, {policy_change.rules(len(policy.rules))}")
    return 0


def _show(options: argparse.Namespace) -> int:
    policy = load_policy(_chosen(options))
    if options.json:
        rules = [rule_facts(rule) for rule in policy.rules]
        _print_json({"name": policy.name, "description": policy.description, "order": policy.order, "rules": rules})
        return 0
    _print(f"{policy.name}: {policy.description}" if policy.description else policy.name)
    _print(f"order: {policy.order}, among what is worth the same")
    rows = [
        (
            rule.label,
            condition_text(rule.condition),
            worth_text(rule.priority, rule.duration_seconds),
            tiers_text(rule.tiers),
            "caps what is behind" if rule.caps_rest else "",
        )
        for rule in policy.rules
    ]
    _print(*columns([("rule", "when", "worth", "tiers", ""), *rows]))
    return 0


def _explain(options: argparse.Namespace) -> int:
    policy = load_policy(_chosen(options))
    explained = explain_request(read_body(options.prompt), policy, options)
    if options.json:
        _print_json(explained.facts())
    else:
        _print(*explained.lines())
    return 0


def _chosen(options: argparse.Namespace) -> str:
    """The policy that the command names, else the one of the settings."""
    return str(options.policy or _active(options))


def _active(options: argparse.Namespace) -> str:
    return read_context(options).loaded.settings.cache.policy


def _print(*lines: str) -> None:
    print("\n".join(lines))


def _print_json(document: object) -> None:
    _print(json.dumps(document, indent=2))
