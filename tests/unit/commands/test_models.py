from __future__ import annotations

from pathlib import Path

import pytest

from appliance.commands import models
from appliance.engine.demo_model import FILES
from appliance.runtime import Runtime
from tests.unit.commands.conftest import Place


@pytest.fixture(autouse=True)
def demo(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo model would be; finding the real place reads the whole model."""
    folder = place.home / "demo"
    monkeypatch.setattr(models, "demo_model_dir", lambda _models_dir: folder)
    return folder


def test_json_lists_what_is_served_and_what_is_at_hand(place: Place, box: Runtime) -> None:
    answer = place.command("models", "--json")
    assert answer.code == 0
    assert [model["id"] for model in answer.json["served"]] == ["org/small"]
    assert [model["name"] for model in answer.json["local"]] == ["demo"]


def test_without_a_box_nothing_is_served(place: Place) -> None:
    assert place.command("models", "--json").json["served"] == []
    answer = place.command("models")
    assert answer.code == 0
    assert "no box is running" in answer.out


def test_text_names_the_model_and_its_context(place: Place, box: Runtime) -> None:
    assert "org/small   context 8192 tokens" in place.command("models").out


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", None])
def test_models_in_the_hub_cache_are_at_hand(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    home = tmp_path / ".cache" / "huggingface"
    hub = tmp_path / "hub" if variable == "HF_HUB_CACHE" else home / "hub"
    if variable is not None:
        monkeypatch.setenv(variable, str(hub if variable == "HF_HUB_CACHE" else home))
    for name in ("models--org--big", "models--gpt2", "datasets--org--data"):
        (hub / name).mkdir(parents=True)
    assert [model["name"] for model in place.command("models", "--json").json["local"]] == ["demo", "gpt2", "org/big"]


def test_the_demo_model_says_whether_it_is_prepared(place: Place, demo: Path) -> None:
    assert "prepared at first use" in place.command("models").out
    demo.mkdir()
    for name in FILES:
        (demo / name).touch()
    (model,) = place.command("models", "--json").json["local"]
    assert model["note"].endswith(", prepared")
