from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import SettingsError
from appliance.keeper.remote.address import STORES
from appliance.settings import (
    KEYS,
    InvalidSettings,
    Loaded,
    ModelSettings,
    Settings,
    describe,
    load_settings,
    settings_json_schema,
    validate_file,
)
from appliance.settings_source import Default, FileLine, Option, Variable, variable_name

DEFAULT_FILE = Path(__file__).parents[2] / "config" / "default.toml"
NOWHERE = {"HOME": "/nonexistent"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def problems_of(
    config: Path | None = None,
    text: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> list[str]:
    """The problems of a load, with the folder of the file cut off."""
    if config is not None and text is not None:
        config.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSettings) as error:
        load_settings(config=config, environ=NOWHERE | dict(environ or {}), options=options)
    assert str(error.value) == "\n".join(error.value.problems)
    assert isinstance(error.value, SettingsError)
    assert all("\n" not in problem for problem in error.value.problems)
    return [problem.replace(f"{config and config.parent}/", "") for problem in error.value.problems]


def load(config: Path | None = None, text: str = "", **more: Any) -> Loaded:
    if config is not None:
        config.write_text(text, encoding="utf-8")
    return load_settings(config=config, environ=NOWHERE | more.pop("environ", {}), **more)


def property_of(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    for name in key.split("."):
        schema = schema["properties"][name]
    return schema


# The schema and the default file


def test_without_any_source_everything_is_default() -> None:
    loaded = load()
    assert loaded.settings == Settings()
    assert loaded.file is None
    assert set(loaded.sources) == set(KEYS)
    assert set(loaded.sources.values()) == {Default()}


def test_the_default_file_gives_exactly_the_defaults() -> None:
    loaded = load_settings(config=DEFAULT_FILE, environ=NOWHERE)
    assert loaded.settings == Settings()
    unset = {key for key, source in loaded.sources.items() if source == Default()}
    assert unset == {row.key for row in describe(load()) if row.value == "unset"}


def test_the_default_file_shows_every_key_with_its_sentence_in_the_order_of_the_schema() -> None:
    shown, table, comment = [], "", ""
    for line in DEFAULT_FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            comment = f"{comment} {line[2:]}".strip()
            continue
        if header := re.fullmatch(r"\[(.+)]", line):
            table = header[1]
        elif key := re.match(r"#?(\w+) = ", line):
            shown.append((f"{table}.{key[1]}", comment))
        comment = ""
    assert shown == [(key, field.description) for key, field in KEYS.items()]


def test_the_examples_in_the_default_file_are_valid(config: Path) -> None:
    text = re.sub(r"(?m)^#(?=\w)", "", DEFAULT_FILE.read_text(encoding="utf-8"))
    sources = load(config, text).sources
    assert all(isinstance(source, FileLine) for source in sources.values())


def test_the_json_schema_has_sentence_default_and_variable_of_every_key() -> None:
    schema = settings_json_schema()
    assert "$ref" not in json.dumps(schema)
    for key, field in KEYS.items():
        found = property_of(schema, key)
        assert found["description"] == field.description
        assert found["description"].endswith(".")
        assert found["x-env"] == variable_name(key)
        assert "default" in found
    assert property_of(schema, "server.max_body")["default"] == "64MiB"
    assert property_of(schema, "server.port")["maximum"] == 65535
    assert property_of(schema, "cache.host.bytes")["type"] == ["string", "integer"]
    assert property_of(schema, "server.api_keys")["writeOnly"] is True


def test_settings_take_nothing_from_the_environment_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER", '{"port": 1}')
    monkeypatch.setenv("DYNAMO_BOX_SERVER__PORT", "1")
    assert Settings().server.port == 8000


@pytest.mark.parametrize(
    ("name", "served", "public"),
    [
        ("demo", None, "smollm2-135m-instruct"),
        ("org/Model-7B", None, "Model-7B"),
        ("/models/mine/", None, "mine"),
        ("demo", "ours", "ours"),
    ],
)
def test_clients_ask_for_the_served_name_or_the_last_part_of_the_name(
    name: str, served: str | None, public: str
) -> None:
    assert ModelSettings(name=name, served_name=served).public_name == public


# Precedence and sources


def test_the_command_line_beats_the_environment_beats_the_file(config: Path) -> None:
    loaded = load(
        config,
        '[server]\nhost = "file"\nport = 1\nmax_requests = 1\n',
        environ={"DYNAMO_BOX_SERVER__HOST": "variable", "DYNAMO_BOX_SERVER__PORT": "2"},
        options={"server.host": "option", "log.level": "debug", "model.name": None},
    )
    assert (loaded.settings.server.host, loaded.settings.server.port) == ("option", 2)
    assert loaded.settings.server.max_requests == 1
    assert loaded.file == config
    assert loaded.sources["server.host"] == Option("--host")
    assert loaded.sources["log.level"] == Option("--set")
    assert loaded.sources["server.port"] == Variable("DYNAMO_BOX_SERVER__PORT")
    assert loaded.sources["server.max_requests"] == FileLine(config, 4)
    assert loaded.sources["model.name"] == Default()


WHO = st.sets(st.sampled_from(["option", "variable", "file"]))


@given(st.fixed_dictionaries({"server.port": WHO, "server.max_requests": WHO, "workers.restart_limit": WHO}))
def test_each_key_goes_to_its_strongest_source(
    tmp_path_factory: pytest.TempPathFactory, who: dict[str, set[str]]
) -> None:
    config = tmp_path_factory.mktemp("settings") / "config.toml"
    loaded = load(
        config,
        "\n".join(f"{key} = 3" for key in who if "file" in who[key]),
        environ={variable_name(key): "2" for key in who if "variable" in who[key]},
        options={key: 1 for key in who if "option" in who[key]},
    )
    values = loaded.settings.model_dump()
    for key, sources in who.items():
        table, name = key.split(".")
        strongest = next((source for source in ("option", "variable", "file") if source in sources), None)
        kind = {"option": Option, "variable": Variable, "file": FileLine, None: Default}[strongest]
        assert isinstance(loaded.sources[key], kind)
        if strongest is not None:
            assert values[table][name] == {"option": 1, "variable": 2, "file": 3}[strongest]


def test_tables_merge_key_by_key_across_sources(config: Path) -> None:
    loaded = load(config, "[cache.gpu]\nblock_size = 32\n", environ={"DYNAMO_BOX_CACHE__GPU__BYTES": "120MiB"})
    assert loaded.settings.cache.gpu.block_size == 32
    assert loaded.settings.cache.gpu.bytes == 120 * 2**20


def test_the_variable_names_the_file_and_the_option_beats_it(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("server.port = 2\n", encoding="utf-8")
    named = {"DYNAMO_BOX_CONFIG": str(other)}
    assert load_settings(environ=NOWHERE | named).settings.server.port == 2
    assert load(config, "server.port = 1", environ=named).settings.server.port == 1


def test_the_xdg_file_is_read_when_it_is_there(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert load_settings(environ=environ).file is None
    path = tmp_path / "dynamo-box" / "config.toml"
    path.parent.mkdir()
    path.write_text("server.port = 7\n", encoding="utf-8")
    loaded = load_settings(environ=environ)
    assert (loaded.file, loaded.settings.server.port) == (path, 7)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(environ={"DYNAMO_BOX_SERVER__PORT": "", "DYNAMO_BOX_CONFIG": ""}).settings == Settings()


@pytest.mark.parametrize("text", ["one,two", "one, two,", '["one", "two"]', ' ["one","two"]'])
def test_a_list_in_a_variable_is_json_or_parts_between_commas(text: str) -> None:
    keys = load(environ={"DYNAMO_BOX_SERVER__API_KEYS": text}).settings.server.api_keys
    assert [key.get_secret_value() for key in keys] == ["one", "two"]


def test_a_file_is_validated_without_the_variables(config: Path) -> None:
    config.write_text("server.port = 99999\n", encoding="utf-8")
    hiding = NOWHERE | {"DYNAMO_BOX_SERVER__PORT": "1"}
    assert load_settings(config=config, environ=hiding).settings.server.port == 1
    with pytest.raises(InvalidSettings, match=r"config\.toml:1: server\.port = 99999"):
        validate_file(config, hiding)


# Problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[cache.gpu]\n\nbyts = 1", "config.toml:3: cache.gpu.byts: unknown key; did you mean cache.gpu.bytes?"),
        ("[server]\nport = 99999", "config.toml:2: server.port = 99999: must be between 0 and 65535"),
        ("server.port = true", "config.toml:1: server.port = true: must be a whole number between 0 and 65535"),
        ("port = 1", "config.toml:1: port: unknown key; did you mean server.port?"),
        ("[servers]\nport = 1", "config.toml:2: servers.port: unknown key; did you mean server.port?"),
        ("[nothing_like_it]", "config.toml:1: nothing_like_it: unknown key"),
        ('"server.port" = 1', 'config.toml:1: "server.port": unknown key; did you mean server.port?'),
        ("router = 5", "config.toml:1: router is a table: write [router] and its keys below it"),
        ("cache = {gpu = 5}", "config.toml:1: cache.gpu is a table: write [cache.gpu] and its keys below it"),
        ("workers.count = 0", "config.toml:1: workers.count = 0: must be auto or a whole number of at least 1"),
        ("workers.max_num_seqs = 0", "config.toml:1: workers.max_num_seqs = 0: must be at least 1"),
        (
            'router.policy = "kvv"',
            'config.toml:1: router.policy = "kvv": must be one of kv, round_robin, random; did you mean kv?',
        ),
        (
            "cache.gpu.block_size = 24",
            (
                "config.toml:1: cache.gpu.block_size = 24:"
                " must be auto or a whole number of at least 16 and a multiple of 16"
            ),
        ),
        (
            "workers.gpu_memory_utilization = 1.5",
            "config.toml:1: workers.gpu_memory_utilization = 1.5: must be above 0 and at most 1",
        ),
        ("server.max_body = 0", "config.toml:1: server.max_body = 0: must be more than 0"),
        (
            'server.drain_timeout = "5 weeks"',
            (
                'config.toml:1: server.drain_timeout = "5 weeks": must be a duration such as 500ms, 30s, 10min or 1h'
                " (a plain number is seconds)"
            ),
        ),
        (
            "workers.restart_backoff_max = 0.5",
            "config.toml:1: workers.restart_backoff (1s) must not be longer than restart_backoff_max (500ms)",
        ),
        (
            'workers.watchdog_interval = "5min"',
            "config.toml:1: workers.watchdog_interval (5min) must not be longer than watchdog_timeout (1min)",
        ),
        ("a = 1\nb = ", "config.toml:2: not valid TOML: Invalid value"),
        ("a = [\n1,\n", "config.toml:2: not valid TOML: Invalid value"),
        ('model.name = ""', 'config.toml:1: model.name = "": must be a non-empty text'),
        ("model.trust_remote_code = 5", "config.toml:1: model.trust_remote_code = 5: must be true or false"),
        ("[model.name]", "config.toml:1: model.name = {}: must be a non-empty text"),
    ],
)
def test_a_problem_in_a_file_names_line_key_value_and_what_is_meant(config: Path, text: str, problem: str) -> None:
    assert problems_of(config, text) == [problem]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (
            "DYNAMO_BOX_ROUTER__POLICY",
            "kvv",
            "DYNAMO_BOX_ROUTER__POLICY=kvv: router.policy must be one of kv, round_robin, random; did you mean kv?",
        ),
        (
            "DYNAMO_BOX_SERVER_PORT",
            "1",
            "DYNAMO_BOX_SERVER_PORT: unknown variable; did you mean DYNAMO_BOX_SERVER__PORT?",
        ),
        ("DYNAMO_BOX_CONFG", "x", "DYNAMO_BOX_CONFG: unknown variable; did you mean DYNAMO_BOX_CONFIG?"),
        ("DYNAMO_BOX_XYZ", "1", "DYNAMO_BOX_XYZ: unknown variable"),
        ("DYNAMO_BOX_CONFIG", "nowhere.toml", "DYNAMO_BOX_CONFIG=nowhere.toml: no such file"),
    ],
)
def test_a_problem_in_the_environment_names_the_variable(name: str, value: str, problem: str) -> None:
    assert problems_of(environ={name: value}) == [problem]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("server.port", "many", "--port many: server.port must be a whole number between 0 and 65535"),
        (
            "log.level",
            "inf",
            "--set log.level=inf: log.level must be one of debug, info, warning, error; did you mean info?",
        ),
        ("log.levle", "info", "--set log.levle: unknown key; did you mean log.level?"),
        ("log", "info", "--set log: unknown key"),
    ],
)
def test_a_problem_on_the_command_line_names_the_option(key: str, value: str, problem: str) -> None:
    assert problems_of(options={key: value})[0].startswith(problem)


def test_a_named_file_must_be_a_readable_text_file(tmp_path: Path) -> None:
    assert problems_of(Path("nowhere.toml")) == ["--config nowhere.toml: no such file"]
    assert problems_of(tmp_path) == [f"--config {tmp_path.name}: cannot be read: Is a directory"]
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# one\n# caf\xe9\n")
    assert problems_of(latin) == ["latin.toml:2: not valid TOML: not UTF-8"]


def test_all_problems_come_at_once_the_file_from_top_to_bottom_first(config: Path) -> None:
    found = problems_of(
        config,
        "[server]\nport = -1\nprot = 1\nmax_requests = 0\n",
        environ={"DYNAMO_BOX_LOG__LEVEL": "loud", "DYNAMO_BOX_LOG__LEVLE": "x"},
        options={"workers.count": "0", "nothing": 1},
    )
    assert [problem.split(" ")[0] for problem in found] == [
        "config.toml:2:",
        "config.toml:3:",
        "config.toml:4:",
        "DYNAMO_BOX_LOG__LEVLE:",
        "DYNAMO_BOX_LOG__LEVEL=loud:",
        "--set",
        "--workers",
    ]


# Secrets


@pytest.mark.parametrize("wrong", ["server.api_keys = ['', 'hush']", "server.api_key = 'hush'"])
def test_a_secret_is_in_no_problem(config: Path, wrong: str) -> None:
    assert "hush" not in str(problems_of(config, wrong))
    assert "hush" not in str(
        problems_of(environ={"DYNAMO_BOX_SERVER__API_KEYS": "[hush", "DYNAMO_BOX_API_KEY": "hush"})
    )
    assert "hush" not in str(problems_of(options={"server.api_keys": '["hush", 1]', "server.api_key": "hush"}))


def test_a_secret_is_shown_as_stars_everywhere() -> None:
    loaded = load(environ={"DYNAMO_BOX_SERVER__API_KEYS": "hush"})
    assert ("server.api_keys", "***", "DYNAMO_BOX_SERVER__API_KEYS") in describe(loaded)
    assert loaded.settings.model_dump(mode="json")["server"]["api_keys"] == ["***"]
    assert "hush" not in f"{loaded} {loaded.settings.model_dump()} {loaded.settings.model_dump_json()}"


def test_rows_show_units_and_where_a_value_comes_from(config: Path) -> None:
    rows = {row.key: row for row in describe(load(config, '\n[cache.host]\nbytes = "1.5GiB"\n'))}
    assert list(rows) == list(KEYS)
    assert rows["cache.host.bytes"] == ("cache.host.bytes", "1536MiB", f"{config}:3")
    assert rows["workers.start_timeout"] == ("workers.start_timeout", "15min", "default")
    assert rows["model.chat_template"].value == "unset"
    assert rows["model.trust_remote_code"].value == "false"
    assert rows["server.api_keys"].value == "[]"


def test_what_is_shown_can_be_loaded_again(config: Path) -> None:
    loaded = load(environ={"DYNAMO_BOX_WORKERS__RESTART_BACKOFF": "0.25", "DYNAMO_BOX_CACHE__GPU__BYTES": "123456789"})
    again = {row.key: row.value for row in describe(loaded) if row.value != "unset"}
    assert load(options=again).settings == loaded.settings


def test_the_settings_import_nothing_heavy() -> None:
    heavy = "{'vllm', 'torch', 'fastapi', 'uvicorn', 'zmq', 'httpx', 'rich'}"
    script = f"import sys, appliance.settings; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_default_file_is_plain_toml() -> None:
    assert set(tomllib.loads(DEFAULT_FILE.read_text(encoding="utf-8"))) == set(Settings.model_fields)


def test_a_disk_tier_needs_a_host_tier() -> None:
    needed = "cache.disk.bytes needs host.bytes: the disk is read through main memory"
    assert problems_of(options={"cache.disk.bytes": "1GiB"}) == [f"--set: {needed}"]
    both = load(options={"cache.disk.bytes": "1GiB", "cache.host.bytes": "1GiB"}).settings.cache
    assert (both.disk.bytes, both.disk.path, both.disk.write_budget) == (2**30, None, 0)


def test_a_remote_store_needs_a_host_tier_and_an_address_without_a_password() -> None:
    store = {"cache.remote.url": "redis://host:6379/0"}
    assert problems_of(options=store) == [
        "--set: cache.remote.url needs host.bytes: the store is read through main memory"
    ]
    both = load(options=store | {"cache.host.bytes": "1GiB"}).settings.cache.remote
    assert (both.url, both.timeout, both.connections, both.write_budget) == ("redis://host:6379/0", 1.0, 8, 0)
    (problem,) = problems_of(options={"cache.remote.url": "redis://me:hush@host/0", "cache.host.bytes": "1GiB"})
    assert problem.endswith(f"must be empty or the address of a store, such as {STORES}, without a password")
