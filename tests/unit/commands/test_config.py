from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.settings import KEYS, settings_json_schema
from tests.unit.commands.conftest import Place


def test_show_lists_every_key_with_what_set_it(place: Place) -> None:
    answer = place.command("config", "show", "--port", "9000", "--json")
    rows = {row["key"]: (row["value"], row["source"]) for row in answer.json}
    assert answer.code == 0
    assert list(rows) == list(KEYS)
    assert "9000" in str(rows["server.port"][0])
    assert "--port" in rows["server.port"][1]


def test_shown_text_has_a_line_for_every_key(place: Place) -> None:
    lines = place.command("config", "show").out.splitlines()
    assert [line.split()[0] for line in lines] == list(KEYS)


def test_schema_is_the_json_schema_of_the_settings(place: Place) -> None:
    answer = place.command("config", "schema", "--json")
    assert (answer.code, answer.json) == (0, json.loads(json.dumps(settings_json_schema())))


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_valid_file_is_called_valid(place: Place, tmp_path: Path, option: list[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nport = 9000\n")
    answer = place.command("config", "validate", str(file), *option)
    assert answer.code == 0
    if option:
        assert answer.json == {"file": str(file), "valid": True}
    else:
        assert answer.out == f"{file}: valid\n"


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_wrong_file_is_refused_with_file_line_and_key(place: Place, tmp_path: Path, option: list[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nprot = 9000\n")
    answer = place.command("config", "validate", str(file), *option)
    message = answer.json["error"]["message"] if option else answer.err
    assert answer.code == 2
    assert f"{file}:2" in message
    assert "server.prot" in message
    assert "port" in message


def test_the_file_to_validate_is_the_argument_then_the_option_then_the_variable(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(tmp_path / name) for name in ("argument.toml", "option.toml", "variable.toml")]
    for file in files:
        Path(file).touch()
    argument, option, variable = files
    monkeypatch.setenv("DYNAMO_BOX_CONFIG", variable)
    assert place.command("config", "validate", argument, "--config", option, "--json").json["file"] == argument
    assert place.command("config", "validate", "--config", option, "--json").json["file"] == option
    assert place.command("config", "validate", "--json").json["file"] == variable
