from __future__ import annotations

import pytest

from appliance.conversation import Text, ToolResult
from appliance.stabiliser.moments import CLOCK, DATES
from tests.unit.stabiliser.clients import asked, conversation, next_step, pi, system_text, texts

DATE_LINES = [
    "Today's date is 2026-11-24.",
    "Today's date: Tue Nov 24 2026",
    "  Today’s date: 2026-11-24",
    "Current date: 2026-11-24",
    "The current date is: 2026-02-08",
    "The current date is Tuesday, November 24, 2026.",
    "Today is Tuesday, 24th of November 2026",
    "- **Current date:** 24 Nov 2026 (Europe/Berlin)",
    "Today's date is now 2026/11/24",
]
CLOCK_LINES = [
    "Current date and time: Monday, March 9, 2026 at 06:00:31 PM PDT",
    "Current date/time: 2026-11-24T10:23:45Z",
    "Current time: 10:23",
    "The current datetime is 2026-11-24 10:23:45 America/New_York",
    "Current date: Tue Nov 24 2026 10:23:45 GMT+0100 (Central European Standard Time)",
    "Current local time is 6 PM",
]
OTHER_LINES = [
    "Today's date is 2026-11-24. Always answer in French.",
    "Today's date is important in 2026",
    "Today isn't 2026-11-24",
    "The current date is not known",
    "Current date:",
    "Say the current date: 2026-11-24",
    "Current time limit: 10:30",
    "Release date: 2026-11-24",
    "Current date: " + "2026 " * 40,
]


@pytest.mark.parametrize("line", DATE_LINES)
def test_a_date_goes_to_the_first_user_message(line: str) -> None:
    given = conversation([Text(f"A\n{line}\nB")], [asked()])
    changed, (change,) = DATES.apply(given)
    assert system_text(changed) == "A\nB"
    assert texts(changed.messages[1]) == [f"<system-reminder>\n{line.strip()}\n</system-reminder>\n", "Fix the bug"]
    assert (change.rule, change.excerpt, change.characters) == ("dates", line.strip(), len(line) + 1)
    assert CLOCK.apply(given).conversation is given


@pytest.mark.parametrize("line", CLOCK_LINES)
def test_a_time_of_day_goes_behind_everything(line: str) -> None:
    given = conversation([Text(f"A\n{line}\nB")], [asked()])
    changed, _ = CLOCK.apply(given)
    assert system_text(changed) == "A\nB"
    assert texts(changed.messages[1]) == ["Fix the bug", f"\n<system-reminder>\n{line}\n</system-reminder>"]
    assert DATES.apply(given).conversation is given


@pytest.mark.parametrize("line", OTHER_LINES)
def test_a_line_that_says_anything_else_stays(line: str) -> None:
    given = conversation([Text(f"A\n{line}\nB")], [asked()])
    assert DATES.apply(given).conversation is given
    assert CLOCK.apply(given).conversation is given


def test_what_pi_says_is_the_same_for_all_dates() -> None:
    changed = DATES.apply(pi()).conversation
    assert changed.messages[0] == DATES.apply(pi("Current date: 2026-11-25")).conversation.messages[0]


def test_a_clock_spoils_only_what_came_after_the_last_request() -> None:
    before = pi("Current date and time: Monday, March 9, 2026 at 06:00:31 PM PDT")
    after = conversation([], next_step(pi("Current date and time: Monday, March 9, 2026 at 06:00:39 PM PDT")))
    first, second = CLOCK.apply(before).conversation.messages, CLOCK.apply(after).conversation.messages
    assert first[0] == second[0]
    assert first[1].blocks[:1] == second[1].blocks
    (result,) = second[-1].blocks
    assert isinstance(result, ToolResult)
    assert isinstance(result.content[-1], Text)
    assert "06:00:39" in result.content[-1].text


def test_without_a_user_a_date_stays() -> None:
    given = conversation([Text("Today's date: 2026-11-24")])
    assert DATES.apply(given).conversation is given
    assert CLOCK.apply(conversation([Text("Current time: 10:23")])).changes == ()
