"""What clients change from turn to turn, what it costs, and which rule is for it: the box's answer over the screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar, Final

from textual import work

from appliance.api.lint_views import MAX_SECONDS, BusterView, Lint
from appliance.tui import figures, ink
from appliance.tui.line import Line, beside, clean, heading, words, wrapped
from appliance.tui.widgets.told import Told

WINDOWS: Final = (("h", "last hour", 3600), ("d", "last day", 86_400), ("a", "all that is remembered", MAX_SECONDS))
"""Key, words, seconds."""


class LintDialog(Told):
    """`ask` is for another time; its `None`: the user was told why there is no answer."""

    BINDINGS: ClassVar[list[Any]] = [(key, f"look({seconds})", said) for key, said, seconds in WINDOWS]

    def __init__(self, lint: Lint, ask: Callable[[int], Awaitable[Lint | None]]) -> None:
        super().__init__("what clients change from turn to turn")
        self._lint = lint
        self._ask = ask

    @work(exclusive=True)
    async def action_look(self, seconds: int) -> None:
        lint = await self._ask(seconds)
        if lint is not None:
            self._lint = lint
            self._draw()

    def lines(self, width: int) -> Iterator[Line]:
        yield words(*(part for key, said, _ in WINDOWS for part in ((key, ink.NAME), (f" {said}   ", ink.QUIET))))
        yield from lint_lines(self._lint, width)


def lint_lines(lint: Lint, width: int) -> Iterator[Line]:
    """What cost most first."""
    yield words(f"{figures.plural(lint.requests, 'request')} in the last {figures.seconds(lint.seconds)}")
    if not lint.busters:
        yield words("none of them had changed anything that could have been read from cache")
    for one in lint.busters:
        yield []
        yield from _buster(one, width)


def _buster(one: BusterView, width: int) -> Iterator[Line]:
    place = f" in {one.place}" if one.place else ""
    label = f", behind {one.label!r}" if one.label else ""
    yield heading(clean(one.client or "a client without a name"), width, f"{one.tokens:,} tokens")
    what = f"something changed{place}{label} in {one.requests:,} of {one.of:,} requests; "
    cost = f"computing that anew took about {figures.seconds(one.seconds)}"
    yield from (words(part) for part in wrapped(clean(what + cost), width))
    if one.before is not None and one.now is not None:
        half = (width - 3) // 2
        yield from beside(_side("before", one.before, half), _side("now", one.now, half), width)
    if one.last is not None:
        yield words((f"as in {clean(one.last)}", ink.QUIET))
    if one.rule is not None:
        yield words("rule ", (clean(one.rule), ink.NAME), ", which is ", "on" if one.is_on else "off")
    yield from (words(("→ " + part, ink.NAME)) for part in wrapped(clean(one.advice), width - 2))


def _side(name: str, text: str, width: int) -> list[Line]:
    return [words((name, ink.QUIET)), *(words(part) for part in wrapped(clean(text), width))]
