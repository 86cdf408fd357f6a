from __future__ import annotations

from typing import Any

import pytest

from appliance.cache.ledger import Blame, Emptied, Reason, Source
from appliance.records import Outcome, RequestRecord
from appliance.why import Circumstances, Said, asked, difference, findings
from tests.unit.records import blame, changed, computed, read, record

ON = frozenset({"attribution"})


def said(of: RequestRecord, *, has_host_tier: bool = False, routed: str | None = None) -> list[Said]:
    return findings(of, Circumstances(ON, has_host_tier, lambda _: routed))


def one(reason: Reason, *, has_host_tier: bool = False, routed: str | None = None, **fields: Any) -> Said:
    (found,) = said(record(computed(0, 10, reason, **fields)), has_host_tier=has_host_tier, routed=routed)
    return found


def test_what_was_asked_is_one_sentence() -> None:
    told = asked(record(read(0, 30), computed(30, 40, Reason.FIRST_REQUEST)), now=103.0)
    assert told == (
        "session s, turn 2, 3.0 s ago: 40 prompt tokens, of which 30 (75%) were read from cache and 10 computed"
    )


def test_a_request_that_no_engine_read_says_what_became_of_it() -> None:
    told = asked(record(session=None, turn=None, outcome=Outcome.FAILED, error="No worker is alive."), now=100.0)
    assert told == "no session: 10 prompt tokens, failed before an engine had read them: No worker is alive."


@pytest.mark.parametrize(
    ("source", "where"),
    [
        (Source.GPU, "the GPU of worker 0"),
        (Source.HOST, "main memory, the host tier"),
        (Source.DISK, "disk"),
        (Source.REMOTE, "a remote store"),
    ],
)
def test_what_was_read_says_from_where(source: Source, where: str) -> None:
    (found,) = said(record(read(0, 10, source)))
    assert (found.text, found.advice) == (f"read from {where}", None)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.DIVERGED])
def test_every_reason_has_words_of_its_own(reason: Reason) -> None:
    others = {one(other).text for other in Reason if other is not reason and other is not Reason.DIVERGED}
    text = one(reason, blame=blame()).text
    assert text.startswith("computed: ")
    assert text not in others


def test_the_word_that_changed_is_quoted() -> None:
    found = one(Reason.DIVERGED, divergence=changed("You are a careful one.", "You are a careless one."))
    assert found.text == (
        "computed: token 1,200 in system is the first that differs from the prompt of r0: "
        "then 'careful', now 'careless'"
    )
    assert "No rule is for this" in (found.advice or "")


def test_without_text_the_place_is_told_and_without_a_place_the_token() -> None:
    found = one(Reason.DIVERGED, divergence=changed(None, None, place=None, against=None))
    assert found.text == "computed: token 1,200 is the first that differs from an earlier prompt"


@pytest.mark.parametrize(
    ("place", "rule", "advice"),
    [
        ("system", "dates", "stabiliser.dates = true"),
        ("system", "attribution", "is on and did not catch this"),
        ("messages[3]", None, "rewritten its history"),
        ("tools[0] Read", None, "the same tools"),
    ],
)
def test_advice_on_text_goes_by_the_rule_and_the_place(place: str, rule: str | None, advice: str) -> None:
    assert advice in (one(Reason.DIVERGED, divergence=changed(place=place, rule=rule)).advice or "")


def test_the_one_who_needed_the_room_is_named_with_when_and_by_which_rule() -> None:
    found = one(Reason.EVICTED, blame=blame())
    assert found.text == (
        "computed: they were evicted for r9 of session sub, 42 s before; "
        "not used for 61 s by then, and worth 35 (rule p:1)"
    )
    assert "cache.gpu.bytes, or a host tier (cache.host.bytes)" in (found.advice or "")
    assert "`dynamo-box hints pin s`" in (found.advice or "")
    assert "or a host tier" not in (one(Reason.EVICTED, blame=blame(), has_host_tier=True).advice or "")


@pytest.mark.parametrize(
    ("session", "request_id", "who"),
    [
        ("s", "r9", "r9 of this session itself"),
        (None, "r9", "r9 of no session"),
        ("sub", None, "a request of session sub"),
    ],
)
def test_a_culprit_is_named_as_far_as_it_has_a_name(session: str | None, request_id: str | None, who: str) -> None:
    assert f"evicted for {who}, " in one(Reason.EVICTED, blame=blame(session, request_id)).text


def test_nobody_is_blamed_where_nobody_has_told() -> None:
    found = one(Reason.EVICTED)
    assert found.text == "computed: they were cached once and are gone, and no engine has told why"
    assert "/box/v1/evictions" in (found.advice or "")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Emptied.WORKER_ENDED, "lost with the engine of worker 1, which ended 42 s before"),
        (Emptied.FLUSHED, "the cache of worker 1 was flushed 42 s before"),
        (Emptied.BOX_ENDED, "lost with the engines when the box ended; it was started again 42 s before"),
    ],
)
def test_what_took_all_at_once_is_told(rule: Emptied, text: str) -> None:
    found = one(Reason.EVICTED, blame=Blame(None, None, rule, 0, 58.0, 0.0), worker=1)
    assert found.text == f"computed: {text}"
    assert found.advice is not None


def test_a_choice_of_worker_is_explained_with_the_words_of_the_router() -> None:
    found = one(Reason.ROUTED_ELSEWHERE, worker=1, routed="0.2 s less than worker 1, most of it queue")
    assert found.text == (
        "computed: worker 1 had them, and the request went to worker 0 (0.2 s less than worker 1, most of it queue)"
    )
    assert "/box/v1/routing/r1" in (found.advice or "")


def test_neighbours_of_which_the_same_is_to_be_said_are_one() -> None:
    found = said(
        record(
            computed(0, 8, Reason.EVICTED, blame=blame()),
            computed(8, 16, Reason.EVICTED, blame=blame()),
            computed(16, 20, Reason.BELOW_BLOCK_BOUNDARY),
        )
    )
    assert [(each.start, each.tokens) for each in found] == [(0, 16), (16, 4)]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("a careful man", "a careless man", ("careful", "careless")),
        ("date: 2026-01-01\nDo", "date: 2026-01-02\nDo", ("2026-01-01", "2026-01-02")),
        ("same", "same and more", ("same", "same and more")),
        ("one two", "one new two", ("two", "new two")),
        ("x" * 80, "y" * 80, ("x" * 59 + "…", "y" * 59 + "…")),
    ],
)
def test_a_difference_is_cut_to_whole_words(before: str, now: str, expected: tuple[str, str]) -> None:
    assert difference(before, now) == expected
