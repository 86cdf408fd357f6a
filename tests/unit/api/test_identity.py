from __future__ import annotations

import pytest

from appliance.api.identity import MAX_ID_CHARACTERS, PARENT_HEADERS, SESSION_HEADERS, identify
from appliance.conversation import Identity
from appliance.errors import InvalidRequest


def test_without_headers_the_body_tells() -> None:
    assert identify({}, session_id="s", user="u") == Identity("s", None, None, "u")


@pytest.mark.parametrize("position", range(len(SESSION_HEADERS)))
def test_the_first_session_header_that_is_present_wins(position: int) -> None:
    headers = {name: name.upper() for name in SESSION_HEADERS[position:]}
    assert identify(headers, session_id="s", user=None).session_id == SESSION_HEADERS[position].upper()


@pytest.mark.parametrize("position", range(len(PARENT_HEADERS)))
def test_the_first_parent_header_that_is_present_wins(position: int) -> None:
    headers = {name: name.upper() for name in PARENT_HEADERS[position:]}
    assert identify(headers, session_id=None, user=None).parent_session_id == PARENT_HEADERS[position].upper()


def test_a_blank_header_is_no_header() -> None:
    assert identify({"x-dynamo-session-id": " "}, session_id="s", user=None).session_id == "s"


def test_the_client_is_its_user_agent() -> None:
    assert identify({"user-agent": "agent/1"}, session_id=None, user=None).client == "agent/1"


def test_an_id_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        identify({"x-session-id": "x" * (MAX_ID_CHARACTERS + 1)}, session_id=None, user=None)
    assert caught.value.param == "x-session-id"
