"""Whichever protocol carries a conversation, the same one arrives."""

from __future__ import annotations

from hypothesis import given

from appliance.api.diagnostics import fingerprint_of
from appliance.conversation import Conversation
from tests.unit.api.common_conversations import common_part, conversations, told_by_each


@given(conversations())
async def test_a_conversation_arrives_the_same_through_each_protocol(conversation: Conversation) -> None:
    expected = common_part(conversation)
    for name, arrived in (await told_by_each(conversation)).items():
        assert common_part(arrived) == expected, name
        assert [entry.field for entry in arrived.reporting.ignored] == []


@given(conversations())
async def test_its_parts_have_the_same_fingerprints(conversation: Conversation) -> None:
    prints = [fingerprint_of(common_part(arrived)) for arrived in (await told_by_each(conversation)).values()]
    assert prints[0] == prints[1] == prints[2]
