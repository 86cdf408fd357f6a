from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from appliance.cache.errors import IntegrityError
from appliance.cache.heads import Heads, head_of
from appliance.conversation import CacheMark, Conversation, Message, Role, Text, Tool

SYSTEM = Message(Role.SYSTEM, (Text("Help."),))
HI = Message(Role.USER, (Text("Hi"),))
LOOK = Tool("look", "Looks.", {"type": "object"})
OPENING = Conversation("m", (SYSTEM, HI), tools=(LOOK,))


@pytest.mark.parametrize(
    "other",
    [
        replace(OPENING, messages=(SYSTEM, HI, HI)),
        replace(OPENING, messages=(replace(SYSTEM, role=Role.DEVELOPER), Message(Role.USER, (Text("Ho"),)))),
        replace(OPENING, messages=(SYSTEM, HI, SYSTEM)),
        replace(OPENING, messages=(Message(Role.SYSTEM, (Text("Help.", CacheMark(300.0)),)), HI)),
        replace(OPENING, tools=(replace(LOOK, mark=CacheMark(300.0)),)),
    ],
)
def test_what_follows_and_marks_change_no_head(other: Conversation) -> None:
    assert head_of(other) == head_of(OPENING)


@pytest.mark.parametrize(
    "other",
    [
        replace(OPENING, messages=(HI,)),
        replace(OPENING, messages=(SYSTEM, SYSTEM, HI)),
        replace(OPENING, messages=(Message(Role.SYSTEM, (Text("Hel"), Text("p."))), HI)),
        replace(OPENING, tools=()),
        replace(OPENING, tools=(LOOK, LOOK)),
        replace(OPENING, tools=(replace(LOOK, description="Looks about."),)),
    ],
)
def test_other_text_and_other_tools_are_another_head(other: Conversation) -> None:
    assert head_of(other) not in (None, head_of(OPENING))


def test_a_conversation_that_opens_with_nothing_has_no_head() -> None:
    assert head_of(Conversation("m", (HI, SYSTEM))) is None
    heads = Heads()
    heads.add(None)
    heads.remove(None)
    assert not heads.has_others(None, own=0)


def test_a_head_has_others_while_more_sessions_have_it_than_ones_own() -> None:
    heads = Heads()
    assert not heads.has_others(1, own=0)
    heads.add(1)
    assert heads.has_others(1, own=0)
    assert not heads.has_others(1, own=1)
    heads.add(1)
    assert heads.has_others(1, own=1)
    heads.remove(1)
    heads.check_integrity(Counter([1]))
    heads.remove(1)
    heads.check_integrity(Counter())
    with pytest.raises(IntegrityError):
        heads.check_integrity(Counter([1]))
