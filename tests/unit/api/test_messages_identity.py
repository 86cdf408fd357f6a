from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.messages import decode_conversation
from appliance.api.messages_identity import UserId, join_user_id, split_user_id
from appliance.conversation import Identity
from appliance.errors import InvalidRequest
from tests.unit.api.messages_requests import SEAL, decode, messages_body

DEVICE = "f" * 64
SESSION = "0c5f6f6e-3f0c-4d3b-9a3f-1f2e3d4c5b6a"


def test_claude_code_tells_its_session_in_a_json_string() -> None:
    told = {"device_id": DEVICE, "account_uuid": "", "session_id": SESSION}
    assert split_user_id(json.dumps(told)) == UserId(DEVICE, SESSION)
    assert split_user_id(json.dumps(told | {"account_uuid": "acc"})) == UserId("acc", SESSION)


def test_claude_code_told_its_session_at_the_end_of_a_string() -> None:
    user = f"user_{DEVICE}_account_6b1c-22"
    assert split_user_id(f"{user}_session_{SESSION}") == UserId(user, SESSION)
    assert split_user_id(f"user_{DEVICE}_account__session_{SESSION}") == UserId(f"user_{DEVICE}_account_", SESSION)


@pytest.mark.parametrize("value", ["ada", "{", "{}", '{"session_id": 5}', '{"session_id": ""}', "[1]", '{"a":' * 500])
def test_any_other_id_is_the_user(value: str) -> None:
    assert split_user_id(value) == UserId(value)


words = st.text(min_size=1, max_size=8)


@given(st.one_of(st.none(), words), st.one_of(st.none(), words))
def test_an_identity_survives_the_one_field_it_has(user: str | None, session_id: str | None) -> None:
    joined = join_user_id(Identity(session_id=session_id, user=user))
    assert (UserId() if joined is None else split_user_id(joined)) == UserId(user, session_id)


def test_the_header_wins_over_the_body() -> None:
    body = messages_body(metadata={"user_id": json.dumps({"device_id": DEVICE, "session_id": "body"})})
    headers = {"x-claude-code-session-id": "header", "user-agent": "claude-cli/2"}
    assert decode_conversation(body, {}, SEAL).identity == Identity("body", None, None, DEVICE)
    assert decode_conversation(body, headers, SEAL).identity == Identity("header", None, "claude-cli/2", DEVICE)


@pytest.mark.parametrize(
    ("metadata", "param"),
    [(5, "metadata"), ({"user_id": 5}, "metadata.user_id"), ({"user_id": "x" * 1025}, "metadata.user_id")],
)
def test_wrong_metadata_is_named(metadata: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(metadata=metadata)
    assert caught.value.param == param
