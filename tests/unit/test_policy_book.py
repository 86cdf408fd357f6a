from __future__ import annotations

from appliance.cache.policy_source import load_policy
from appliance.policy_book import MOST_VERSIONS, PolicyBook, Predicted, Read
from tests.clock import Clock

CODING, CHAT, LRU = map(load_policy, ("coding-agent", "chat", "lru"))


class Reads:
    def __init__(self) -> None:
        self.so_far = Read(0, 0)

    def __call__(self) -> Read:
        return self.so_far


def test_versions_are_numbered_from_what_the_box_was_started_with() -> None:
    book = PolicyBook(CODING, clock=Clock(5.0))
    second = book.activate(CHAT, "me", "why not", predicted=Predicted(0.5, 0.4, 60.0))
    assert (second.number, second.author, second.note, second.activated_at) == (2, "me", "why not", 5.0)
    assert [(version.number, version.author) for version in book.newest(9)] == [(2, "me"), (1, "settings")]
    assert book.active is second
    assert book.newest(1) == [second]
    assert book.get(1) is not None
    assert book.get(3) is None


def test_before_the_active_one_is_the_newest_that_says_something_else() -> None:
    book = PolicyBook(CODING)
    assert book.before_active() is None
    book.activate(CHAT, "me", None)
    book.activate(CHAT, "me", None)
    before = book.before_active()
    assert before is not None
    assert before.number == 1


def test_what_a_version_realised_ends_with_the_next() -> None:
    reads = Reads()
    book = PolicyBook(CODING, reads)
    reads.so_far = Read(100, 40)
    first, second = book.active, book.activate(CHAT, "me", None)
    reads.so_far = Read(300, 200)
    assert book.realised(first) == Read(100, 40)
    assert book.realised(second) == Read(200, 160)


def test_so_many_are_remembered_and_numbers_go_on() -> None:
    book = PolicyBook(CODING)
    for _ in range(MOST_VERSIONS):
        book.activate(LRU, "me", None)
    assert len(book.newest(9999)) == MOST_VERSIONS
    assert (book.get(1), book.active.number) == (None, MOST_VERSIONS + 1)


def test_the_version_of_a_moment_is_the_last_that_had_become_active() -> None:
    clock = Clock(5.0)
    book = PolicyBook(CODING, clock=clock)
    clock.seconds = 10.0
    book.activate(CHAT, "me", None)
    assert book.active_at(4.9) is None
    assert [one.number for at in (5.0, 9.9, 10.0, 99.0) if (one := book.active_at(at)) is not None] == [1, 1, 2, 2]
    assert [one.number for one in book.newest(9, 10.0)] == [2, 1]
    assert [one.number for one in book.newest(9, 9.0)] == [1]
    assert book.newest(9, 1.0) == []
