from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.conversation import Hints, RetentionDirective
from appliance.hint_book import (
    MOST_HINTS,
    MOST_OF_A_SESSION,
    HintBook,
    OperatorHint,
    Served,
    TooManyHints,
    Verb,
    hint_of,
)
from tests.clock import Clock


def hint(name: str, session: str = "s", verb: Verb = Verb.PIN, until: float = 1060.0, **said: int) -> OperatorHint:
    ttl_seconds = said.pop("ttl_seconds", None)
    return OperatorHint(name, verb, session, "me", 1000.0, until, ttl_seconds=ttl_seconds, **said)


def book_of(*hints: OperatorHint) -> tuple[HintBook, Clock]:
    clock = Clock(1000.0)
    book = HintBook(clock)
    for each in hints:
        book.add(each)
    return book, clock


def test_a_pin_is_a_directive_for_as_long_as_it_lasts_and_the_newest_comes_first() -> None:
    book, clock = book_of(hint("a", priority=100), hint("b", verb=Verb.RELEASE, token_start=64, priority=0))
    clock.seconds += 20
    assert book.pins("s") == (RetentionDirective(64, None, 0, 40.0), RetentionDirective(0, None, 100, 40.0))
    assert book.pins("other") == book.pins(None) == ()


def test_what_has_expired_counts_no_longer_and_is_told_once() -> None:
    book, clock = book_of(hint("a", priority=100), hint("b", until=1200.0, priority=90))
    clock.seconds = 1060.0
    assert [each.priority for each in book.pins("s")] == [90]
    assert [(each.id, served) for each, served in book.expire()] == [("a", Served())]
    assert book.expire() == []
    assert [each.id for each in book.active()] == ["b"]


def test_turns_count_for_the_hints_that_hold_while_they_end_and_are_told_once_they_expire() -> None:
    book, clock = book_of(hint("a", priority=100), hint("b", session="other", priority=90))
    book.turn("s", 100, 60)
    clock.seconds += 20
    book.add(hint("c", until=1030.0, priority=100))
    book.turn("s", 200, 190)
    book.turn(None, 50, 0)
    assert [book.served(each) for each in "abc"] == [Served(2, 300, 250), Served(), Served(1, 200, 190)]
    clock.seconds = 1030.0
    book.turn("s", 10, 10)
    assert [(each.id, served) for each, served in book.expire()] == [("c", Served(1, 200, 190))]
    book.remove("a")
    assert book.served("a") == book.served("c") == Served()


def test_a_ttl_marks_the_prompt_up_to_its_end() -> None:
    book, _ = book_of(hint("a", verb=Verb.TTL, ttl_seconds=300), hint("b", verb=Verb.TTL, ttl_seconds=60, token_end=64))
    assert book.marks("s", tokens=100) == ((64, 60), (100, 300))
    assert book.pins("s") == ()


def test_a_priority_takes_the_place_of_the_one_the_client_gives() -> None:
    book, clock = book_of(hint("a", verb=Verb.PRIORITY, priority=5))
    assert book.moved("s", Hints(priority=-3, output_tokens=7)) == Hints(priority=5, output_tokens=7)
    assert book.moved(None, Hints(priority=1)) == Hints(priority=1)
    clock.seconds += 60
    assert book.moved("s", Hints(priority=-3)) == Hints(priority=-3)


def test_there_is_room_for_so_many_of_a_session_and_so_many_in_all() -> None:
    book, _ = book_of(*(hint(f"h{number}") for number in range(MOST_OF_A_SESSION)))
    with pytest.raises(TooManyHints, match="session s has 16 hints"):
        book.add(hint("more"))
    for number in range(MOST_OF_A_SESSION, MOST_HINTS):
        book.add(hint(f"h{number}", f"s{number}"))
    with pytest.raises(TooManyHints, match="1024 hints are active"):
        book.add(hint("more", "another"))
    assert book.remove("h0") is not None
    book.add(hint("more", "another"))


def test_hints_come_back_with_their_remaining_time_and_no_others() -> None:
    book, clock = book_of(hint("a", priority=100), hint("b", until=2000.0, priority=90))
    saved = json.loads(json.dumps([each.facts() for each in book.active()]))
    clock.seconds = 1500.0
    later = HintBook(clock)
    later.restore(map(hint_of, saved))
    assert [(each.id, later.remaining_seconds(each)) for each in later.active()] == [("b", 500.0)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans()), max_size=20), st.integers(0, 10))
def test_the_book_is_a_list_that_is_looked_through(given_hints: list[tuple[str, int, bool]], later: int) -> None:
    book, clock = book_of()
    plain: list[OperatorHint] = []
    for number, (session, seconds, is_removed) in enumerate(given_hints):
        one = hint(f"h{number}", session, until=1000.0 + seconds, priority=number)
        book.add(one)
        plain.append(one)
        if is_removed:
            assert book.remove(one.id) == one
            plain.remove(one)
    clock.seconds += later
    still = [one for one in plain if one.expires_at > clock.seconds]
    assert book.active() == still
    for session in "abc":
        expected = [one.priority for one in reversed(still) if one.session == session]
        assert [pin.priority for pin in book.pins(session)] == expected
    assert [one for one, _ in book.expire()] == [one for one in plain if one not in still]
    assert len(book) == len(still)
