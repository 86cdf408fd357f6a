"""Putting away what a response was asked with and what it said."""

from __future__ import annotations

from typing import Final

from appliance.api.responses import ResponsesCall
from appliance.api.responses_bodies import COMPLETED, IN_PROGRESS, INCOMPLETE, QUEUED
from appliance.api.responses_reply import ResponseReply
from appliance.api.responses_store import ResponseStore, StoredResponse

UNFINISHED: Final = (QUEUED, IN_PROGRESS)
ANSWERED: Final = (COMPLETED, INCOMPLETE)


class Keeper:
    """Keeps responses as far as their requests want it, and adds the answered ones to their conversations."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def keep(self, call: ResponsesCall, reply: ResponseReply) -> None:
        """Call at any time; what was kept of the response before is replaced."""
        kept, output = call.kept, reply.output()
        if call.delivery.stores:
            response = StoredResponse(
                reply.id,
                reply.body,
                (*kept.earlier, *kept.own),
                output,
                is_finished=reply.status not in UNFINISHED,
                is_background=call.delivery.background,
            )
            await self._store.put_response(response)
        if kept.conversation_id is not None and reply.status in ANSWERED:
            await self._store.add_items(kept.conversation_id, (*kept.own, *output))
