from __future__ import annotations

from pathlib import Path

import pytest

from appliance.engine.weights import EDGE_BYTES, weights_digest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"layers": 2}')
    (tmp_path / "model.safetensors").write_bytes(b"a" * (3 * EDGE_BYTES))
    (tmp_path / "README.md").write_text("about it")
    return tmp_path


def digest(model: Path, load_format: str = "auto") -> str:
    return weights_digest(str(model), load_format)


def test_the_same_files_have_the_same_name(model: Path) -> None:
    assert digest(model) == digest(model)


def test_what_is_no_weight_changes_nothing(model: Path) -> None:
    before = digest(model)
    (model / "README.md").write_text("more about it")
    assert digest(model) == before


@pytest.mark.parametrize("place", [0, 3 * EDGE_BYTES - 1])
def test_another_byte_at_either_end_is_another_model(model: Path, place: int) -> None:
    before, weights = digest(model), model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[place] ^= 1
    weights.write_bytes(content)
    assert digest(model) != before


def test_another_configuration_file_or_way_of_loading_is_another_model(model: Path) -> None:
    names = {digest(model), digest(model, "dummy")}
    (model / "config.json").write_text('{"layers": 3}')
    names.add(digest(model))
    (model / "more.safetensors").write_bytes(b"")
    names.add(digest(model))
    assert len(names) == 4


def test_a_hub_name_stands_for_itself() -> None:
    assert weights_digest("org/one", "auto") != weights_digest("org/two", "auto")
