from __future__ import annotations

from appliance.api.extension import REPORTABLE
from appliance.api.extension_reply import MAX_TOLD, PARTS, nvext_of
from appliance.cache.prompt_read import TierTokens
from appliance.conversation import Conversation, Hints, Ignored, Reporting, RetentionDirective
from appliance.generation import Finished, MarkedPrefix, Started, Timing, Usage

STARTED = Started(40, 32, worker=1, marked=(MarkedPrefix(16, 300.0),))
BELOW = TierTokens(16, 6, 2)
FINISHED = Finished(Usage(40, 32, 7), Timing(0.0254, 1.5))


def asking(*fields: str, hints: Hints | None = None, ignored: tuple[Ignored, ...] = ()) -> Conversation:
    return Conversation("m", (), hints=hints or Hints(), reporting=Reporting(frozenset(fields), ignored=ignored))


def test_every_field_that_can_be_asked_for_has_its_part() -> None:
    assert set(PARTS) == set(REPORTABLE)


def test_nothing_is_said_unasked() -> None:
    assert nvext_of(asking(), STARTED, FINISHED) is None


def test_all_that_can_be_said() -> None:
    hints = Hints(7, 2, 512, True, "agent-1", 10, 0.25, True, 1, (RetentionDirective(0, None, 100, 30.0),))
    assert nvext_of(asking(*REPORTABLE, hints=hints), STARTED, FINISHED) == {
        "worker_id": {"prefill_worker_id": 1, "decode_worker_id": 1},
        "timing": {"ttft_ms": 25.4, "total_ms": 1500.0, "kv_hit_rate": 0.8},
        "cache": {"tokens_by_tier": {"gpu": 32, "host": 0, "disk": 0, "remote": 0}, "recomputed_tokens": 8},
        "hit_rate": 0.8,
        "retention": {
            "marks": [{"tokens": 16, "ttl_seconds": 300.0}],
            "directives": [{"token_start": 0, "token_end": None, "priority": 100, "duration_ms": 30000.0}],
        },
        "agent_hints": {
            "priority": 7,
            "strict_priority": 2,
            "osl": 512,
            "speculative_prefill": True,
            "prefix_id": "agent-1",
            "total_requests": 10,
            "iat": 250.0,
            "session_final": True,
        },
        "ignored": [],
    }


def test_what_is_not_known_yet_is_left_out() -> None:
    assert nvext_of(asking("worker_id", "timing", "cache", "hit_rate"), None, None) is None
    assert nvext_of(asking("timing", "hit_rate"), STARTED, Finished(Usage(0, 0, 1))) is None
    assert nvext_of(asking("cache"), STARTED, None) == {
        "cache": {"tokens_by_tier": {"gpu": 32, "host": 0, "disk": 0, "remote": 0}, "recomputed_tokens": 8}
    }


def test_tokens_are_told_by_the_tier_that_they_were_in() -> None:
    started = Started(40, 32, worker=1, below=BELOW)
    finished = Finished(Usage(40, 32, 7, below=BELOW))
    by_tier = {"gpu": 8, "host": 16, "disk": 6, "remote": 2}
    told = {"cache": {"tokens_by_tier": by_tier, "recomputed_tokens": 8}}
    assert nvext_of(asking("cache"), started, None) == nvext_of(asking("cache"), started, finished) == told


def test_what_the_engines_ignored_is_told_beside_what_the_request_did() -> None:
    pin = Ignored("nvext.backend_instance_id", "there is no worker 7")
    started = Started(40, 32, worker=1, ignored=(pin,))
    told = {"field": pin.field, "reason": pin.reason}
    assert nvext_of(asking(), started, None) == {"ignored": [told]}
    other = {"field": "a", "reason": "b"}
    assert nvext_of(asking(ignored=(Ignored("a", "b"),)), started, None) == {"ignored": [other, told]}


def test_what_was_ignored_is_told_unasked() -> None:
    ignored = (Ignored("tools[0]", "a server tool"),)
    told = [{"field": "tools[0]", "reason": "a server tool"}]
    assert nvext_of(asking(ignored=ignored), None, None) == {"ignored": told}
    assert nvext_of(asking("ignored", ignored=ignored), None, None) == {"ignored": told}


def test_a_long_list_and_a_long_name_are_cut() -> None:
    answer = nvext_of(asking(ignored=(Ignored("x" * 1000, "y"),) * (MAX_TOLD + 3)), None, None)
    assert answer is not None
    assert len(answer["ignored"]) == MAX_TOLD + 1
    assert len(answer["ignored"][0]["field"]) < 300
    assert answer["ignored"][-1]["reason"] == "3 more"
