from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cache.errors import InvalidForecast
from appliance.forecast_file import ForecastFile


def test_nothing_is_there_before_the_first_time(tmp_path: Path) -> None:
    assert ForecastFile(tmp_path / "data" / "forecast.json").load() is None


def test_what_was_saved_last_is_loaded_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = ForecastFile(tmp_path / "data" / "forecast.json")
    for number in range(2):
        file.save({"returns": [number]})
    assert file.load() == {"returns": [1]}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["forecast.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff"])
def test_a_file_that_is_broken_is_told_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "forecast.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidForecast, match=r"forecast\.json: "):
        ForecastFile(path).load()


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "forecast.json"
    path.mkdir()
    with pytest.raises(OSError, match="forecast"):
        ForecastFile(path).save({})
    assert [each.name for each in tmp_path.iterdir()] == ["forecast.json"]
