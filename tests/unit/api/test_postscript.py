from __future__ import annotations

import pytest
from msgspec import UNSET

from appliance.api.diagnostics import CacheMiss, Diagnostics, MissReason
from appliance.api.postscript import Postscript, openai_diagnostics
from appliance.conversation import Conversation, Reporting
from appliance.generation import Started


@pytest.mark.parametrize("reason", list(MissReason))
def test_every_reason_has_its_word_in_openais_protocol(reason: MissReason) -> None:
    told = openai_diagnostics(CacheMiss(reason, 9, "system"))
    assert told["type"] in ("cache_miss", "comparison_response_not_found", "unavailable")
    assert (told["type"] == "cache_miss") == ({"reason", "cache_missed_tokens", "at"} <= set(told))


def test_a_request_is_known_once_an_engine_has_read_it() -> None:
    diagnostics = Diagnostics(4)
    postscript = Postscript(Conversation("m", ()), "a", diagnostics)
    assert len(diagnostics) == 0
    postscript.add(Started(1, 0, worker=0))
    assert len(diagnostics) == 1
    assert (postscript.nvext(), postscript.cache_diagnostics()) == (UNSET, UNSET)


def test_without_a_memory_nothing_is_compared() -> None:
    postscript = Postscript(Conversation("m", (), reporting=Reporting(diagnose=True, compare_with="a")), "b")
    postscript.add(Started(1, 0, worker=0))
    assert postscript.cache_diagnostics() is UNSET
