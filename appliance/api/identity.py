"""Who is asking: session, parent and client, from what coding agents send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from appliance.conversation import Identity
from appliance.errors import InvalidRequest

MAX_ID_CHARACTERS = 256


class SessionIds(NamedTuple):
    """A session and the one that started it, as one source tells them. `None`: not told."""

    own: str | None = None
    parent: str | None = None


NOT_TOLD = SessionIds()


def identify(
    headers: Mapping[str, str], *, session_id: str | None, user: str | None, stated: SessionIds = NOT_TOLD
) -> Identity:
    """The session is the first that is told: in Dynamo's header, in `nvext` (`stated`), in the agent's own headers, in
    the protocol's body (`session_id`). Its parent is told by the same source, or by Dynamo's header or `nvext`.

    Header names are in lower case. Raises `InvalidRequest` for an id that is too long.
    """
    explicit = SessionIds(_header(headers, "x-dynamo-session-id"), _header(headers, "x-dynamo-parent-session-id"))
    sources = (explicit, stated, *_agents(headers), SessionIds(session_id))
    told = next((source for source in sources if source.own is not None), NOT_TOLD)
    return Identity(
        session_id=told.own,
        parent_session_id=explicit.parent or stated.parent or told.parent,
        client=headers.get("user-agent"),
        user=user,
    )


def _agents(headers: Mapping[str, str]) -> tuple[SessionIds, ...]:
    """What each agent calls its session and the parent of it.

    `thread-id` stands before `session-id` because a client that sends both names the root of a tree of agents with the
    second, and parents by thread.
    """
    parent_thread = _header(headers, "x-codex-parent-thread-id")
    return (
        _claude_code(headers),
        SessionIds(_header(headers, "thread-id"), parent_thread),
        SessionIds(_header(headers, "session-id"), parent_thread),
        SessionIds(_header(headers, "x-session-id"), _header(headers, "x-parent-session-id")),
    )


def _claude_code(headers: Mapping[str, str]) -> SessionIds:
    """Its subagents send the session of their lead and an id of their own: `lead/agent` is a session, whose parent is
    the lead or the agent that started it."""
    lead = _header(headers, "x-claude-code-session-id")
    agent = _header(headers, "x-claude-code-agent-id")
    if lead is None or agent is None:
        return SessionIds(lead)
    parent_agent = _header(headers, "x-claude-code-parent-agent-id")
    return SessionIds(f"{lead}/{agent}", lead if parent_agent is None else f"{lead}/{parent_agent}")


def _header(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name, "").strip()
    if len(value) > MAX_ID_CHARACTERS:
        raise InvalidRequest(f"the header {name} is longer than {MAX_ID_CHARACTERS} characters", param=name)
    return value or None
