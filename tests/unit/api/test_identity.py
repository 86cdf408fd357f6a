from __future__ import annotations

import pytest

from appliance.api.identity import MAX_ID_CHARACTERS, SessionIds, identify
from appliance.conversation import Identity
from appliance.errors import InvalidRequest

# In order of precedence; `nvext` stands after the first.
SESSION_HEADERS = ("x-dynamo-session-id", "x-claude-code-session-id", "thread-id", "session-id", "x-session-id")
LEAD = {"x-claude-code-session-id": "lead"}


def ids(headers: dict[str, str], stated: SessionIds | None = None, body: str | None = None) -> SessionIds:
    found = identify(headers, session_id=body, user=None, stated=stated or SessionIds())
    return SessionIds(found.session_id, found.parent_session_id)


def test_without_headers_the_body_tells() -> None:
    assert identify({}, session_id="s", user="u") == Identity("s", None, None, "u")


@pytest.mark.parametrize("position", range(len(SESSION_HEADERS)))
def test_the_first_session_header_that_is_present_wins(position: int) -> None:
    headers = {name: name.upper() for name in SESSION_HEADERS[position:]}
    assert ids(headers, body="s").own == SESSION_HEADERS[position].upper()


def test_an_extension_stands_between_dynamos_header_and_the_agents_own() -> None:
    headers = {name: name.upper() for name in SESSION_HEADERS[1:]}
    assert ids(headers, SessionIds("n", "p"), "s") == ("n", "p")
    assert ids(headers | {"x-dynamo-session-id": "d"}, SessionIds("n", "p"), "s") == ("d", "p")


@pytest.mark.parametrize(
    ("session", "parent"),
    [
        ("x-dynamo-session-id", "x-dynamo-parent-session-id"),
        ("thread-id", "x-codex-parent-thread-id"),
        ("session-id", "x-codex-parent-thread-id"),
        ("x-session-id", "x-parent-session-id"),
    ],
)
def test_a_parent_is_told_by_the_source_of_the_session(session: str, parent: str) -> None:
    assert ids({session: "s", parent: "p"}) == ("s", "p")
    assert ids({session: "s", parent: "p"}, SessionIds(None, "n")).parent == ("n" if "dynamo" not in parent else "p")


def test_dynamos_parent_goes_with_any_session() -> None:
    assert ids({"x-session-id": "s", "x-parent-session-id": "p", "x-dynamo-parent-session-id": "d"}) == ("s", "d")


def test_the_parent_of_another_agents_session_is_not_taken() -> None:
    assert ids({"x-dynamo-session-id": "d", "x-parent-session-id": "p"}) == ("d", None)
    assert ids(LEAD | {"x-claude-code-agent-id": "a", "x-dynamo-session-id": "d"}) == ("d", None)


def test_a_subagent_has_a_session_of_its_own_below_the_lead() -> None:
    assert ids(LEAD) == ("lead", None)
    assert ids(LEAD | {"x-claude-code-agent-id": "a"}) == ("lead/a", "lead")


def test_an_agent_started_by_an_agent_is_below_that_one() -> None:
    headers = LEAD | {"x-claude-code-agent-id": "b", "x-claude-code-parent-agent-id": "a"}
    assert ids(headers) == ("lead/b", "lead/a")


def test_a_blank_header_is_no_header() -> None:
    assert ids({"x-dynamo-session-id": " "}, body="s").own == "s"
    assert ids(LEAD | {"x-claude-code-agent-id": ""}) == ("lead", None)


def test_the_client_is_its_user_agent() -> None:
    assert identify({"user-agent": "agent/1"}, session_id=None, user=None).client == "agent/1"


@pytest.mark.parametrize("name", [*SESSION_HEADERS, "x-parent-session-id", "x-codex-parent-thread-id"])
def test_an_id_that_is_too_long_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ids({name: "x" * (MAX_ID_CHARACTERS + 1)})
    assert caught.value.param == name
