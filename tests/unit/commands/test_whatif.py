from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from appliance.cache.access_record import write_accesses
from appliance.cli import EXIT_ERROR, EXIT_USAGE, main
from tests.unit.cache.small_traces import BLOCK_TOKENS, access
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

SMALL = ["--kv-bytes-per-token", "1", "--capacity", "16,32"]


@pytest.fixture
def trace(tmp_path: Path) -> str:
    accesses = [access(f"s{number % 3}", 10.0 * number, [number % 3, 10 + number % 3]) for number in range(12)]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(write_accesses(accesses, BLOCK_TOKENS)))
    return str(path)


def test_a_table_for_each_capacity(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", trace, "--policy", "forecast", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line] == [
        *("16B", "lru", "forecast", "fifo", "optimum", "unbounded"),
        *("32B", "lru", "forecast", "fifo", "optimum", "unbounded"),
    ]


def test_the_default_policies_are_those_of_the_box_and_the_bare_forecast(
    trace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whatif", trace, "--json", *SMALL]) == 0
    outcomes = json.loads(capsys.readouterr().out)
    assert [outcome["contender"] for outcome in outcomes[:3]] == ["lru", "coding-agent", "forecast"]
    assert outcomes[0]["hit_rate"] == outcomes[0]["hit_tokens"] / outcomes[0]["prompt_tokens"]


def test_with_a_queue_users_wait_for_their_answers(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["whatif", trace, "--policy", "forecast", "--queue", "in-turn", *SMALL]
    assert main([*command, "--json"]) == 0
    outcomes = json.loads(capsys.readouterr().out)
    assert [(one["capacity_bytes"], one["contender"], one["queue"]) for one in outcomes[:2]] == [
        (16, "lru", "in-turn"),
        (16, "forecast", "in-turn"),
    ]
    assert main(command) == 0
    assert "mean delay" in capsys.readouterr().out


def test_slots_make_users_of_recorded_sessions(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    rates = []
    for slots in ("1", "3"):
        assert main(["whatif", trace, "--policy", "lru", "--slots", slots, "--json", *SMALL]) == 0
        rates.append(json.loads(capsys.readouterr().out)[0]["hit_rate"])
    assert rates[0] > rates[1]


def test_progress_goes_to_a_terminal_only(
    trace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["whatif", trace, "--json", *SMALL]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["whatif", trace, "--json", *SMALL]) == 0
    assert "100 %" in capsys.readouterr().err


def test_a_plot_names_every_contender(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", trace, "--policy", "forecast", "--plot", *SMALL]) == 0
    drawn = capsys.readouterr().out.partition("16B")[0]
    assert all(name in drawn for name in ("lru", "forecast", "fifo", "optimum", "unbounded"))
    assert "\x1b" not in drawn


def test_a_document_is_not_mixed_with_a_plot(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", trace, "--plot", "--json", *SMALL]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nothing.jsonl"], EXIT_ERROR, "nothing.jsonl: cannot be read"),
        (["TRACE", "--capacity", "16GiBs"], EXIT_USAGE, "--capacity: '16GiBs' is not a size"),
        (["TRACE", "--kv-bytes-per-token", "x"], EXIT_USAGE, "--kv-bytes-per-token: 'x' is not a size"),
        (["TRACE", "--kv-bytes-per-token", "0"], EXIT_USAGE, "--kv-bytes-per-token: a token takes at least one byte"),
        (["TRACE", "--prefill-rate", "0"], EXIT_USAGE, "--prefill-rate: 0 tokens/s is not a positive number"),
        (["TRACE", "--prefill-rate", "nan"], EXIT_USAGE, "--prefill-rate: nan tokens/s is not a positive number"),
        (["TRACE", "--slots", "0"], EXIT_USAGE, "--slots: 0 users cannot play anything; at least 1"),
        (["TRACE", "--capacity", "1"], EXIT_ERROR, "a capacity of 1B is too small: a block of 4 tokens takes 512KiB"),
        (["TRACE", "--policy", "coding-agnt"], EXIT_ERROR, "coding-agnt"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    trace: str, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, says: str
) -> None:
    assert main(["whatif", *(trace if word == "TRACE" else word for word in arguments)]) == status
    assert says in capsys.readouterr().err


def outcome(role: str, seconds: float) -> dict[str, Any]:
    session = {"session": "s1", "requests": 4, "prompt_tokens": 9, "hit_tokens": 3, "prefill_seconds": seconds}
    return {
        "role": role,
        "name": "chat",
        "requests": 6,
        "prompt_tokens": 100,
        "hit_tokens": 50,
        "hit_rate": 0.5,
        "prefill_seconds": seconds,
        "evicted_blocks": None if role == "optimum" else 1200,
        "evictions_by_region": None,
        "sessions": [session],
        "hit_rates": [0.4, None, 0.6],
    }


RUNNING = {"id": "w1", "state": "running", "policy": "chat", "active": "coding-agent", "by": "me", "asked_at": 1.0}
RUNNING |= {"last": 1800.0, "progress": 0.5, "seconds": 1.0, "measured": None, "outcomes": None, "error": None}
DONE = RUNNING | {
    "state": "done",
    "measured": {
        "requests": 6,
        "warm_up_requests": 2,
        "seconds": 90.0,
        "prompt_tokens": 100,
        "cached_tokens": 25,
        "hit_rate": 0.25,
    },
    "outcomes": [outcome("proposed", 3.0), outcome("active", 5.0), outcome("lru", 6.0), outcome("optimum", 2.0)],
}


def answering_with(place: Place, end: dict[str, Any], asked: list[Any]) -> AbstractContextManager[Any]:
    def start(body: Any) -> Any:
        asked.append(body)
        return RUNNING

    answers = {"POST /box/v1/whatif": start, "/box/v1/whatif/w1": end}
    return running_box(place.runtime, documents() | answers)


def test_the_live_record_is_replayed_by_the_box(place: Place) -> None:
    asked: list[Any] = []
    with answering_with(place, DONE, asked):
        lines = place.command("whatif", "--last", "30min", "--policy", "chat").out.splitlines()
        assert place.command("whatif", "--last", "1h", "--policy", "chat", "--json").json == DONE
    assert [(body["policy"], body["last"]) for body in asked] == [("chat", 1800.0), ("chat", 3600.0)]
    assert lines[0].startswith(
        "6 requests of the last 90 s, after 2 that filled the caches; the box itself read 25.0 %"
    )
    assert lines[3].split() == ["proposed", "chat", "50.0", "%", "3.0", "s", "1,200"]
    assert lines[6].split()[-1] == "—"
    assert lines[-1].split() == ["s1", "4", "5.0", "s", "3.0", "s", "-2.0", "s"]


def test_the_replay_of_the_live_record_is_drawn_over_time(place: Place) -> None:
    with answering_with(place, DONE, []):
        drawn = place.command("whatif", "--last", "30min", "--policy", "chat", "--plot").out
        told = place.command("whatif", "--last", "30min", "--policy", "chat", "--plot", "--json")
    assert "a this text   b active now   c LRU   d the optimum" in drawn
    assert all(word in drawn for word in ("% of prompt tokens", "minutes", "0.75", "prefill of session"))
    assert told.json == DONE


def test_a_replay_that_fails_says_why(place: Place) -> None:
    with answering_with(place, RUNNING | {"state": "failed", "error": "no request of that time"}, []):
        answer = place.command("whatif", "--last", "30min", "--policy", "chat")
    assert (answer.code, answer.err) == (1, "dynamo-box: the replay failed: no request of that time\n")


@pytest.mark.parametrize(
    "words", [(), ("trace.jsonl", "--last", "5min"), ("--last", "5min"), ("--last", "soon", "--policy", "chat")]
)
def test_a_trace_or_a_time_with_one_policy_is_wanted(place: Place, words: tuple[str, ...]) -> None:
    with answering_with(place, DONE, []):
        assert place.command("whatif", *words).code == 2
