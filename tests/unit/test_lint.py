from __future__ import annotations

from itertools import pairwise

from appliance.cache.ledger import Divergence, Reason
from appliance.lint import Buster, kind_of, lint
from appliance.records import RequestRecord
from tests.unit.records import changed, computed, read, record


def diverged(divergence: Divergence, tokens: int = 100, **fields: object) -> RequestRecord:
    return record(read(0, 16), computed(16, 16 + tokens, Reason.DIVERGED, divergence=divergence), **fields)


def linted(*records: RequestRecord, rules: frozenset[str] = frozenset()) -> list[Buster]:
    return lint(records, rules, lambda _worker, tokens: tokens / 100)


DATED = changed("Be good.\nToday's date: 2026-01-01\n", "Be good.\nToday's date: 2026-01-02\n", rule="dates")


def test_what_a_client_changes_is_counted_among_its_requests_with_its_cost() -> None:
    (found,) = linted(diverged(DATED, 300, id="r3"), diverged(DATED, id="r2"), record(read(0, 9)))
    assert (found.requests, found.of, found.tokens, found.seconds) == (2, 3, 400, 4.0)
    assert (found.before, found.now, found.last) == ("2026-01-01", "2026-01-02", "r3")
    assert "stabiliser.dates = true" in found.advice


def test_clients_and_kinds_are_told_apart_and_the_dearest_comes_first() -> None:
    other = changed("Mood: good.", "Mood: bad.")
    found = linted(diverged(DATED), diverged(other, 500), diverged(DATED, 200, client=None), record(read(0, 9)))
    assert [(one.kind.client, one.kind.rule, one.kind.label, one.of) for one in found] == [
        ("claude-cli/2", None, "Mood:", 3),
        (None, "dates", None, 1),
        ("claude-cli/2", "dates", None, 3),
    ]


def test_the_same_change_behind_the_same_words_is_one_whatever_it_changes_to() -> None:
    texts = ["Hi.\nMood: good.", "Hi.\nMood: bad.", "Hi.\nMood: so so."]
    found = linted(*(diverged(changed(one, other)) for one, other in pairwise(texts)))
    assert [(one.kind.label, one.requests) for one in found] == [("Mood:", 2)]


def test_a_rewritten_history_is_one_kind_wherever_it_begins() -> None:
    kinds = {kind_of("c", changed(place=f"messages[{number}]", before=f"a {number}", now="b")) for number in range(3)}
    assert [(kind.place, kind.label) for kind in kinds] == [("messages", None)]


def test_without_text_a_change_is_told_by_its_place() -> None:
    (found,) = linted(diverged(changed(None, None)))
    assert (found.kind.place, found.kind.label, found.before) == ("system", None, None)


def test_a_rule_that_is_on_is_said_to_be() -> None:
    (found,) = linted(diverged(DATED), rules=frozenset({"dates"}))
    assert "is on and did not catch this" in found.advice


def test_who_changes_nothing_is_not_told_of() -> None:
    assert linted(record(read(0, 9)), record()) == []
