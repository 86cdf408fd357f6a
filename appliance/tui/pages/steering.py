"""A change of the box, as every page makes one: what it comes to, a question, the change, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from appliance.errors import BoxError
from appliance.tui.errands import answered
from appliance.tui.pages.page import Page
from appliance.tui.widgets.dialogs import Confirm

if TYPE_CHECKING:
    from appliance.tui.console import Console

T = TypeVar("T")


class SteeringPage(Page):
    """Errors of the box are shown as it says them; nothing is changed in a console that may only look."""

    @property
    def console_app(self) -> Console:
        return cast("Console", self.app)

    def may_change(self) -> bool:
        """Tells the user why, where they may not."""
        if self.console_app.stance.is_read_only:
            self.notify("this console only looks", severity="warning")
            return False
        return self.is_now()

    def is_now(self) -> bool:
        """Tells the user where it is not: the box can be asked, and changed, only as it is now."""
        if self.console_app.past_at is not None:
            self.notify("this is the past: L goes back to now, where this can be done", severity="warning")
        return self.console_app.past_at is None

    async def ask(self, method: str, route: str, body: Any, type_: type[T]) -> T | None:
        """The box's answer; `None` after its refusal was shown."""
        try:
            return await answered(self.console_app.errands, method, route, body, type_)
        except BoxError as error:
            self.notify(error.message, severity="error", timeout=10, markup=False)
            return None

    async def confirmed(self, question: str, impact: str) -> bool:
        """In a worker: waits for the user."""
        agreed: bool = await self.console_app.push_screen_wait(Confirm(question, impact))
        return agreed

    def tell(self, words: str) -> None:
        self.notify(words, timeout=8, markup=False)
        self.console_app.poller.hurry()
