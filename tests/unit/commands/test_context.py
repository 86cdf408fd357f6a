"""What holds for every command that needs a running box."""

from __future__ import annotations

import argparse

import pytest

from appliance.cli import parse
from appliance.commands.context import read_context, settings_options
from appliance.errors import NotRunning, SettingsError
from appliance.runtime import Runtime
from appliance.settings import OPTION_NAMES
from tests.unit.commands.conftest import Place

NEED_A_BOX = ["status", "stop"]


@pytest.mark.parametrize("command", NEED_A_BOX)
def test_without_a_box_one_sentence_says_so_and_where_was_looked(place: Place, command: str) -> None:
    answer = place.command(command)
    sentence, hint = answer.err.splitlines()
    assert (answer.code, answer.out) == (3, "")
    assert sentence == f"dynamo-box: no box is running (looked in {place.runtime})"
    assert "dynamo-box up" in hint


@pytest.mark.parametrize("command", NEED_A_BOX)
def test_without_a_box_programs_get_the_error_as_json(place: Place, command: str) -> None:
    answer = place.command(command, "--json")
    assert (answer.code, answer.err) == (3, "")
    assert str(place.runtime) in answer.json["error"]["message"]


@pytest.mark.parametrize("command", NEED_A_BOX)
def test_wrong_settings_are_an_error_of_usage(place: Place, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMO_BOX_SERVER__PROT", "80")
    answer = place.command(command)
    assert answer.code == 2
    assert "DYNAMO_BOX_SERVER__PORT" in answer.err


def test_a_folder_that_a_dead_box_left_is_no_running_box(place: Place, box: Runtime) -> None:
    context = read_context(parse(["status"]))
    assert context.running().model == "org/small"
    description = (place.runtime / "box.json").read_text()
    box.release()
    (place.runtime / "box.json").write_text(description)
    with pytest.raises(NotRunning):
        context.running()


@pytest.mark.parametrize(("key", "option"), OPTION_NAMES.items())
def test_each_option_of_the_command_line_sets_its_key(key: str, option: str) -> None:
    assert settings_options(parse(["serve", option, "7"])) == {key: "7"}


def test_set_reaches_every_key_and_keeps_equals_signs_of_the_value() -> None:
    options = parse(["serve", "--set", "log.level=debug", "--set", " model.name = a=b "])
    assert settings_options(options) == {"log.level": "debug", "model.name": "a=b"}


def test_set_without_a_value_says_what_it_wants() -> None:
    with pytest.raises(SettingsError, match=r"--set cache: wants KEY=VALUE"):
        settings_options(argparse.Namespace(set=["cache"]))
