from __future__ import annotations

from appliance.conversation import CacheMark, Message, Role, Text, ToolResult
from appliance.stabiliser.editing import (
    Place,
    count_leading_system,
    rewrite,
    with_reminder_at_end,
    with_reminder_at_start,
)
from tests.unit.stabiliser.clients import MARK, asked, texts

HOUR = CacheMark(3600.0)
SYSTEM = Message(Role.SYSTEM, (Text("a"), Text("b", MARK)))
ANSWER = Message(Role.ASSISTANT, (Text("yes"),))
RESULT = Message(Role.TOOL, (ToolResult("call_1", (Text("out"),), mark=MARK),))


def test_the_mark_of_a_dropped_block_goes_to_the_block_before() -> None:
    (message,) = rewrite((SYSTEM,), {Place(0, 1): " \n"})
    assert message.blocks == (Text("a", MARK),)


def test_the_mark_of_a_dropped_message_goes_to_the_message_before() -> None:
    messages = (asked(), Message(Role.SYSTEM, (Text("x", HOUR),)))
    assert rewrite(messages, {Place(1, 0): ""}) == (Message(Role.USER, (Text("Fix the bug", HOUR),)),)


def test_of_two_marks_the_longer_one_stays() -> None:
    messages = (Message(Role.SYSTEM, (Text("a", HOUR), Text("b", MARK))),)
    assert rewrite(messages, {Place(0, 1): ""})[0].blocks == (Text("a", HOUR),)


def test_a_mark_with_nothing_before_it_ends() -> None:
    assert rewrite((Message(Role.SYSTEM, (Text("x", MARK),)), asked()), {Place(0, 0): ""}) == (asked(),)
    empty = Message(Role.SYSTEM, ())
    assert rewrite((empty, Message(Role.SYSTEM, (Text("x", MARK),))), {Place(1, 0): ""}) == (empty,)


def test_system_and_developer_messages_lead() -> None:
    developer = Message(Role.DEVELOPER, ())
    assert count_leading_system((SYSTEM, developer, asked(), SYSTEM)) == 2
    assert count_leading_system((SYSTEM,)) == 1


def test_the_start_is_behind_the_reminders_of_the_first_user_message() -> None:
    known = Text("<system-reminder>\nold\n</system-reminder>\n")
    first = Message(Role.USER, (known, Text("Fix the bug")))
    placed = with_reminder_at_start((SYSTEM, first, ANSWER, asked("And?")), "new")
    assert placed is not None
    assert texts(placed[1]) == [known.text, "<system-reminder>\nnew\n</system-reminder>\n", "Fix the bug"]
    assert placed[2:] == (ANSWER, asked("And?"))


def test_the_start_is_the_same_when_a_reminder_at_the_end_of_the_message_is_gone() -> None:
    passing = Text("<system-reminder>plan only</system-reminder>")
    now = with_reminder_at_start((Message(Role.USER, (Text("Fix"), passing)),), "new")
    later = with_reminder_at_start((asked("Fix"),), "new")
    assert now is not None
    assert later is not None
    assert now[0].blocks[:2] == later[0].blocks


def test_the_start_is_never_ahead_of_a_tools_result() -> None:
    results = Message(Role.USER, (ToolResult("call_1", ()), Text("go on")))
    assert with_reminder_at_start((SYSTEM, results), "new") is None


def test_the_end_is_behind_the_last_mark() -> None:
    last = Message(Role.USER, (Text("Fix", MARK),))
    placed = with_reminder_at_end((SYSTEM, last), "now")
    assert placed is not None
    assert placed[1].blocks == (Text("Fix", MARK), Text("\n<system-reminder>\nnow\n</system-reminder>"))


def test_the_end_is_inside_a_tools_result_and_ahead_of_an_answer_that_was_begun() -> None:
    placed = with_reminder_at_end((SYSTEM, asked(), ANSWER, RESULT, ANSWER), "now")
    assert placed is not None
    (result,) = placed[3].blocks
    assert isinstance(result, ToolResult)
    assert result.content == (Text("out"), Text("\n<system-reminder>\nnow\n</system-reminder>"))
    assert len(placed) == 5


def test_there_is_no_end_in_system_text() -> None:
    assert with_reminder_at_end((SYSTEM, ANSWER), "now") is None
