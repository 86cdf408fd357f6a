"""The lines a user pastes must be complete and right for this box."""

from __future__ import annotations

import json
import shlex

import pytest

from appliance.commands.banner import banner, connections
from tests.unit.commands.answering_box import ENDPOINT, status


def test_every_client_gets_one_line_with_this_address_and_model() -> None:
    lines = connections(ENDPOINT, "org/small")
    for line in lines.values():
        assert ENDPOINT in line
        assert "org/small" in line
        assert "\n" not in line
    shown = banner(status())
    assert all(line in shown for line in lines.values())


def test_the_curl_line_is_one_request_that_a_shell_takes_apart_rightly() -> None:
    command, url, *_, body = shlex.split(connections(ENDPOINT, "org/small")["curl"])
    assert (command, url) == ("curl", f"{ENDPOINT}/v1/chat/completions")
    assert json.loads(body)["model"] == "org/small"


def test_the_opencode_line_sets_a_provider_with_this_box_as_its_base() -> None:
    setting, program = shlex.split(connections(ENDPOINT, "org/small")["opencode"])
    name, _, value = setting.partition("=")
    config = json.loads(value)
    assert (name, program) == ("OPENCODE_CONFIG_CONTENT", "opencode")
    assert config["model"] == "box/org/small"
    assert config["provider"]["box"]["options"]["baseURL"] == f"{ENDPOINT}/v1"


@pytest.mark.parametrize(("tokens", "shown"), [(8192, "context 8192 tokens"), (None, "context unknown")])
def test_an_unknown_context_is_called_unknown(tokens: int | None, shown: str) -> None:
    model = status().model.model_copy(update={"context_tokens": tokens})
    assert shown in banner(status().model_copy(update={"model": model}))
