from __future__ import annotations

from pathlib import Path

from appliance.paths import Folders, default_config_file, resolve_folders

HOME = {"HOME": "/home/ada"}
XDG = {
    "XDG_CONFIG_HOME": "/x/config",
    "XDG_DATA_HOME": "/x/data",
    "XDG_CACHE_HOME": "/x/cache",
    "XDG_RUNTIME_DIR": "/x/run",
}


def test_a_bare_environment_puts_everything_below_home() -> None:
    assert default_config_file(HOME) == Path("/home/ada/.config/dynamo-box/config.toml")
    cache = Path("/home/ada/.cache/dynamo-box")
    assert resolve_folders(HOME) == Folders(Path("/home/ada/.local/share/dynamo-box"), cache, cache / "run")


def test_xdg_variables_move_each_folder() -> None:
    assert default_config_file(HOME | XDG) == Path("/x/config/dynamo-box/config.toml")
    assert resolve_folders(HOME | XDG) == Folders(
        Path("/x/data/dynamo-box"), Path("/x/cache/dynamo-box"), Path("/x/run/dynamo-box")
    )


def test_a_folder_that_is_set_is_taken_as_it_is() -> None:
    data, cache, runtime = Path("/d"), Path("/c"), Path("/r")
    assert resolve_folders(HOME | XDG, data=data, cache=cache, runtime=runtime) == Folders(data, cache, runtime)


def test_without_a_session_runtime_follows_the_cache() -> None:
    assert resolve_folders(HOME, cache=Path("/c")).runtime == Path("/c/run")


def test_relative_and_empty_variables_count_as_not_set() -> None:
    broken = {"XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "", "XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "."}
    assert resolve_folders(HOME | broken) == resolve_folders(HOME)
    assert default_config_file(HOME | broken) == default_config_file(HOME)


def test_without_home_the_user_database_is_asked() -> None:
    assert resolve_folders({}).data == Path.home() / ".local/share/dynamo-box"
