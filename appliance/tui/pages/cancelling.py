"""Requests under way ended from a page: first what that comes to, then a question, then what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from appliance.api.request_views import Cancelled
from appliance.tui.pages.steering import SteeringPage


async def cancel(page: SteeringPage, requests: Sequence[str], question: str) -> None:
    """In a worker: waits for the user. What has ended by then is told as the box says it."""
    known = [one for one in [await _asked(page, request, dry_run=True) for request in requests] if one is not None]
    if not known or not await page.confirmed(question, "\n".join(one.impact for one in known)):
        return
    for one in known:
        done = await _asked(page, one.request.id, dry_run=False)
        if done is not None:
            page.tell(f"{one.request.id} {done.effect}")


async def _asked(page: SteeringPage, request: str, *, dry_run: bool) -> Cancelled | None:
    told = "&dry_run=true" if dry_run else ""
    return await page.ask(
        "POST", f"/box/v1/requests/{quote(request, safe='')}/cancel?by=console{told}", None, Cancelled
    )
