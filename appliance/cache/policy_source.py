"""Policies from TOML files: the shipped ones by name, others by path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from appliance.cache.errors import InvalidPolicy
from appliance.cache.eviction_facts import Order
from appliance.cache.policy import Policy
from appliance.cache.policy_fields import PolicyFields
from appliance.cache.policy_schema import RULE_FIELDS
from appliance.cache.reachability import covering
from appliance.cache.rule import ANY_REGION, ANY_ROLE, ANY_STATE, Condition, Rule
from appliance.cache.tier import ALL_TIERS, tiers_named
from appliance.errors import nearest
from appliance.toml_document import TomlDocument, TomlError, parse_toml, read_toml

SHIPPED_FOLDER: Final = Path(__file__).with_name("policies")
TOP_KEYS: Final = ("description", "include", "order", "rule")


def shipped_policies() -> tuple[str, ...]:
    """The names of the policies that come with the box."""
    return tuple(sorted(path.stem for path in SHIPPED_FOLDER.glob("*.toml")))


def load_policy(name_or_path: str) -> Policy:
    """The policy with what it includes: its own rules first, then theirs, each file once; the order is the file's own,
    by forecast unless it says otherwise. A text with a `/` or that ends in `.toml` is a path.

    Raises `InvalidPolicy` with all problems at once.
    """
    path = _find(name_or_path, Path())
    if path is None:
        raise InvalidPolicy(f"{name_or_path}: {_unknown_name(name_or_path)}")
    problems: list[str] = []
    return _policy(path, _Loader(problems).load(path), problems)


def read_policy(text: str, name: str) -> Policy:
    """The policy that a text says, which may include shipped ones only: it has no folder. Errors call it by its name.
    Raises as `load_policy`."""
    problems: list[str] = []
    path = Path(f"{name.replace('/', '_')}.toml")
    try:
        document = parse_toml(path, text)
    except TomlError as error:
        raise InvalidPolicy(error.message) from error
    return _policy(path, _Loader(problems, reads_files=False).load_document(path, document), problems)


def _policy(path: Path, files: Sequence[_File], problems: list[str]) -> Policy:
    if not problems:
        problems += _unreachable(files)
    if problems:
        raise InvalidPolicy("\n".join(problems))
    rules = tuple(rule for file in files for rule in file.rules)
    return Policy(path.stem, rules, files[0].description, files[0].order)


def parse_policy(name: str, text: str) -> Policy:
    """What `policy_text` has written. Raises `InvalidPolicy` with all problems at once."""
    problems: list[str] = []
    path = Path(f"{name}.toml")
    try:
        top = PolicyFields(path, parse_toml(path, text), (), problems)
    except TomlError as error:
        raise InvalidPolicy(error.message) from error
    top.refuse_unknown([key for key in TOP_KEYS if key != "include"], "a policy that stands alone")
    file = _read_file(top, path)
    if problems:
        raise InvalidPolicy("\n".join(problems))
    return Policy(name, file.rules, file.description, file.order)


class _Included(NamedTuple):
    """`by` is the place of the `include` that asked for the file."""

    path: Path
    by: str


class _File(NamedTuple):
    path: Path
    rules: tuple[Rule, ...]
    description: str
    order: Order
    by: str = ""


class _Loader:
    """Reads a file and what it includes, depth first; other files than shipped ones only if it `reads_files`."""

    def __init__(self, problems: list[str], *, reads_files: bool = True) -> None:
        self._problems = problems
        self._reads_files = reads_files
        self._read: dict[Path, _File] = {}
        self._open: list[Path] = []

    def load(self, path: Path, by: str = "") -> list[_File]:
        resolved = path.resolve()
        if resolved in self._read:
            return []
        try:
            document = read_toml(path)
        except TomlError as error:
            self._problems.append(f"{by}{error.message}")
            return []
        return self.load_document(path, document, by)

    def load_document(self, path: Path, document: TomlDocument, by: str = "") -> list[_File]:
        resolved = path.resolve()
        self._open.append(resolved)
        top = PolicyFields(path, document, (), self._problems)
        top.refuse_unknown(TOP_KEYS, "a policy")
        file = self._read[resolved] = _read_file(top, path)._replace(by=by)
        files = [file, *(each for included in self._included(top, path) for each in self.load(*included))]
        self._open.pop()
        return files

    def _included(self, top: PolicyFields, path: Path) -> list[_Included]:
        """Checks that each exists and none is being read already."""
        found = []
        for place, name in enumerate(top.texts("include") or []):
            included = _find(name, path.parent)
            where = place if isinstance(top.raw("include"), list) else None
            if included is not None and not (self._reads_files or _is_shipped(included)):
                top.refuse(
                    "include", f"a text includes shipped policies only: {', '.join(shipped_policies())}", place=where
                )
            elif included is None:
                top.refuse("include", _unknown_name(name), place=where)
            elif included.resolve() in self._open:
                top.refuse("include", f"a cycle: {self._cycle(included)}; leave this one out", place=where)
            else:
                found.append(_Included(included, f"{top.place('include', place)}: include = {json.dumps(name)}: "))
        return found

    def _cycle(self, path: Path) -> str:
        chain = self._open[self._open.index(path.resolve()) :]
        return " includes ".join(each.name for each in [*chain, path])


def _read_file(top: PolicyFields, path: Path) -> _File:
    """Without what it includes."""
    rules = tuple(_read_rule(fields, path) for fields in top.tables("rule"))
    if not rules and top.raw("include") is None:
        top.tell("no rule; the least that a policy can say is [[rule]] with priority = 35")
    order = top.choice("order", Order) or Order.FORECAST
    return _File(path, rules, top.text("description") or "", order)


def _find(name_or_path: str, folder: Path) -> Path | None:
    """`None` for the name of no shipped policy; a path need not exist."""
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return folder / Path(name_or_path).expanduser()
    path = SHIPPED_FOLDER / f"{name_or_path}.toml"
    return path if path.is_file() else None


def _is_shipped(path: Path) -> bool:
    return path.resolve().is_relative_to(SHIPPED_FOLDER.resolve())


def _unknown_name(name: str) -> str:
    meant = nearest(name, shipped_policies())
    there_are = f"there are {', '.join(shipped_policies())}, and paths that end in .toml"
    return f"no policy of this name; {f'did you mean {meant}?' if meant else there_are}"


def _unreachable(files: Sequence[_File]) -> Iterator[str]:
    """Rules that others of the same file leave nothing to, and includes that earlier rules leave nothing to. A single
    included rule may be overridden: that is what including is for."""
    before: list[Condition] = []
    for file in files:
        own = [rule.condition for rule in file.rules]
        for place, rule in enumerate(file.rules):
            takers = covering(rule.condition, own[:place])
            if takers is not None:
                yield _never_reached(rule, [file.rules[taker] for taker in sorted(takers)])
        if file.by and own and all(covering(condition, before) is not None for condition in own):
            yield f"{file.by}adds nothing, the rules before it match all that it could; leave it out"
        before += own


def _never_reached(rule: Rule, takers: Sequence[Rule]) -> str:
    lines = ", ".join(str(taker.line) for taker in takers)
    where = f"the rule at line {lines} matches" if len(takers) == 1 else f"the rules at lines {lines} match"
    advice = f"move it above line {takers[0].line}, or leave it out"
    return f"{rule.file}:{rule.line}: a rule that is never reached: {where} all that it could; {advice}"


def _read_rule(fields: PolicyFields, path: Path) -> Rule:
    """What is wrong is noted and read as absent."""
    fields.refuse_unknown([field.key for field in RULE_FIELDS], "a rule")
    read = {field.key: field.read(fields) for field in RULE_FIELDS}
    condition = Condition(
        regions=frozenset(read["region"] or ANY_REGION),
        states=frozenset(read["state"] or ANY_STATE),
        roles=frozenset(read["role"] or ANY_ROLE),
        keeps_thinking=read["keeps_thinking"],
        shared=read["shared"],
        client=read["client"],
        model=read["model"],
        hints=read["hints"],
    )
    if fields.raw("priority") is None:
        fields.tell("a rule without priority; the default is priority = 35")
    return Rule(
        condition,
        priority=read["priority"] or 0,
        duration_seconds=read["duration"],
        tiers=ALL_TIERS if read["tiers"] is None else tiers_named(read["tiers"]),
        caps_rest=read["caps_rest"] or False,
        file=path,
        line=fields.line,
    )
