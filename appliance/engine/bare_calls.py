"""Tool calls that a model writes as plain JSON, bare or in a code fence, where its parser looks for markers.

Small models do so often. Only JSON that begins a line, names one of the request's tools and has nothing but a name and
arguments is taken for a call; anything else stays text.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from appliance.generation import ToolCallDelta

CANDIDATE = re.compile(r"^[ \t]*(?=[{\[]|```)", re.MULTILINE)
UNFINISHED_CANDIDATE = re.compile(r"(?:^|(?<=\n))[ \t]*`{0,2}\Z")
LANGUAGES = ("json", "tool_call", "tool_code", "tool", "")
FENCE = re.compile(rf"[ \t]*```(?:{'|'.join(LANGUAGES)})[ \t]*\n?\s*")
UNFINISHED_FENCE = re.compile(r"[ \t]*(?:`{0,2}|```([a-z_]*))\Z")
FENCE_END = re.compile(r"\s*```[ \t]*\n?")
FIRST_KEY = re.compile(r"[ \t]*(?:\[\s*)?\{\s*\"(?:name|tool|tool_name|function|arguments|parameters|type)\"\s*:")
NAME_KEYS = ("name", "tool", "tool_name", "function")
ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")


class Found(NamedTuple):
    """What the text so far holds: `text` to show, `calls` to report."""

    text: str
    calls: tuple[ToolCallDelta, ...] = ()


class BareCalls:
    """Reads one choice's text as it comes. Holds back what may become a call; `feed` with `finished` lets all go."""

    def __init__(
        self, tool_names: Collection[str], new_id: Callable[[], str] = lambda: f"call_{uuid.uuid4().hex}"
    ) -> None:
        self._tool_names = frozenset(tool_names)
        self._new_id = new_id
        self._held = ""
        self._line_begins = True
        self._num_calls = 0

    def feed(self, text: str, *, finished: bool) -> Found:
        """The texts of all answers, joined, are the text that was fed, without the calls."""
        self._held += text
        shown: list[str] = []
        calls: list[ToolCallDelta] = []
        while self._held:
            start = self._candidate()
            shown.append(self._take(start))
            if not self._held:
                break
            found = _read(self._held, finished=finished)
            if found is None:
                if not finished:
                    break
                shown.append(self._take(len(self._held)))
            elif (new := self._calls(found.values)) is None:
                shown.append(self._take(max(found.end, 1)))
            else:
                calls += new
                self._take(found.end)
        return Found("".join(shown), tuple(calls))

    def _candidate(self) -> int:
        """Where a call may begin; the end of what is held when it holds none."""
        for match in CANDIDATE.finditer(self._held):
            if match.start() > 0 or self._line_begins:
                return match.start()
        unfinished = UNFINISHED_CANDIDATE.search(self._held)
        if unfinished is not None and unfinished[0] and (unfinished.start() > 0 or self._line_begins):
            return unfinished.start()
        return len(self._held)

    def _take(self, end: int) -> str:
        taken, self._held = self._held[:end], self._held[end:]
        if taken:
            self._line_begins = taken.endswith("\n")
        return taken

    def _calls(self, values: list[Any]) -> list[ToolCallDelta] | None:
        read = [_call(value, self._tool_names) for value in values]
        calls = [call for call in read if call is not None]
        if not calls or len(calls) < len(read):
            return None
        begin, self._num_calls = self._num_calls, self._num_calls + len(calls)
        return [
            ToolCallDelta(begin + position, self._new_id(), name, arguments)
            for position, (name, arguments) in enumerate(calls)
        ]


class _Json(NamedTuple):
    """JSON values that were found, none when it is certain that there is no call up to `end`."""

    values: list[Any]
    end: int


def _read(text: str, *, finished: bool) -> _Json | None:
    """What begins `text`; `None` while more is needed to tell."""
    fence = FENCE.match(text)
    if (not finished and _may_be_fence(text)) or (fence is not None and fence.end() == len(text)):
        return None
    begin = fence.end() if fence is not None else len(text) - len(text.lstrip(" \t"))
    if FIRST_KEY.match(text, begin):
        return _decoded(text, begin, fenced=fence is not None, finished=finished)
    return None if not finished and _may_be_first_key(text[begin:]) else _Json([], _end_of_line(text))


def _decoded(text: str, begin: int, *, fenced: bool, finished: bool) -> _Json | None:
    """The JSON at `begin`; `None` while it, or the end of its fence, is not there."""
    if not finished and text.rstrip()[-1:] not in "}]`":
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text, begin)
    except ValueError:
        return None
    closing = FENCE_END.match(text, end) if fenced else None
    if fenced and closing is None and not finished:
        return None
    return _Json(value if isinstance(value, list) else [value], end if closing is None else closing.end())


def _may_be_fence(text: str) -> bool:
    """Whether more text could still make `FENCE` match another language, or match at all."""
    unfinished = UNFINISHED_FENCE.match(text)
    return unfinished is not None and any(name.startswith(unfinished[1] or "") for name in LANGUAGES)


def _may_be_first_key(text: str) -> bool:
    """Whether more text could still make `FIRST_KEY` match: too short to tell, and nothing but its first characters."""
    return len(text) < 24 and re.fullmatch(r"(?:\[\s*)?(?:\{\s*(?:\"[a-z_]*\"?\s*)?)?", text) is not None


def _end_of_line(text: str) -> int:
    end = text.find("\n")
    return len(text) if end < 0 else end + 1


def _call(value: Any, tool_names: Collection[str]) -> tuple[str, str] | None:
    """Name and arguments as JSON text; `None` for JSON that is no call of a known tool."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = _first(value, NAME_KEYS)
    arguments = _first(value, ARGUMENT_KEYS)
    known = {*NAME_KEYS, *ARGUMENT_KEYS, "id", "type"}
    if not isinstance(name, str) or name not in tool_names or not value.keys() <= known:
        return None
    if isinstance(arguments, str):
        return name, arguments
    return (name, json.dumps(arguments or {}, ensure_ascii=False)) if isinstance(arguments, dict | None) else None


def _first(value: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((value[key] for key in keys if key in value), None)
