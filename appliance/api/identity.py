"""Who is asking: session, parent and client, from the headers that coding agents send."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.conversation import Identity
from appliance.errors import InvalidRequest

MAX_ID_CHARACTERS = 256

# In order of precedence. `thread-id` stands before `session-id` because a client that sends both names the root of a
# tree of agents with the second, and parents (`x-codex-parent-thread-id`) by thread.
SESSION_HEADERS = ("x-dynamo-session-id", "x-claude-code-session-id", "thread-id", "session-id", "x-session-id")
PARENT_HEADERS = (
    "x-dynamo-parent-session-id",
    "x-claude-code-parent-agent-id",
    "x-codex-parent-thread-id",
    "x-parent-session-id",
)


def identify(headers: Mapping[str, str], *, session_id: str | None, user: str | None) -> Identity:
    """Headers win over `session_id`, which the body may carry. Raises `InvalidRequest` for an id that is too long."""
    return Identity(
        session_id=_first(headers, SESSION_HEADERS) or session_id,
        parent_session_id=_first(headers, PARENT_HEADERS),
        client=headers.get("user-agent"),
        user=user,
    )


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = headers.get(name, "").strip()
        if len(value) > MAX_ID_CHARACTERS:
            raise InvalidRequest(f"the header {name} is longer than {MAX_ID_CHARACTERS} characters", param=name)
        if value:
            return value
    return None
