"""Every setting of the box: one typed schema for the file, the environment, the command line and the JSON Schema.

Stronger first: command line, environment (`DYNAMO_BOX_…`), file, default. Each field's docstring is its
documentation: it stands in the JSON Schema, in `config/default.toml` and in the console.
"""

from __future__ import annotations

import json
import os
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from appliance.errors import SettingsError, nearest
from appliance.keeper.remote.address import STORES, checked_url
from appliance.paths import default_config_file
from appliance.settings_source import (
    CONFIG_OPTION,
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    SET_OPTION,
    Default,
    Entry,
    FileLine,
    Option,
    Problem,
    Reading,
    Source,
    Variable,
    read_file,
    read_options,
    read_variables,
    variable_name,
)
from appliance.units import Bytes, Seconds, format_duration

OPTION_NAMES: Mapping[str, str] = {
    "server.host": "--host",
    "server.port": "--port",
    "model.name": "--model",
    "model.max_model_len": "--max-model-len",
    "workers.count": "--workers",
}
"""The keys with an option of their own; every other key is set with `--set key=value`."""

DEMO_MODEL = "demo"
HIDDEN = "***"


def _refuse_boolean(value: object) -> object:
    """pydantic would read `true` as 1."""
    if isinstance(value, bool):
        raise ValueError("a boolean is no number")  # noqa: TRY004 - pydantic collects only ValueError
    return value


def _split_list(value: object) -> object:
    """A list from text: JSON when it starts with `[`, else its parts between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


Count = Annotated[int, Field(ge=1), BeforeValidator(_refuse_boolean)]
Text = Annotated[str, Field(min_length=1)]
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
StoreUrl = Annotated[
    str,
    AfterValidator(checked_url),
    Field(json_schema_extra={"x-accepts": f"empty or the address of a store, such as {STORES}, without a password"}),
]
Secret = Annotated[SecretStr, Field(min_length=1), PlainSerializer(lambda _: HIDDEN, return_type=str, when_used="json")]


def _check_not_longer(table: BaseModel, shorter: str, longer: str) -> None:
    """Refuses a table in which the duration `shorter` is above the duration `longer`; the error carries both names."""
    low, high = getattr(table, shorter), getattr(table, longer)
    if low > high:
        values = {"low": format_duration(low), "high": format_duration(high), "first": shorter, "second": longer}
        raise PydanticCustomError("order", "{first} ({low}) must not be longer than {second} ({high})", values)


class Table(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelSettings(Table):
    """The model to serve."""

    name: Text = DEMO_MODEL
    """The model: "demo" for the small one that comes with the box, a local path, or a name on the hub."""

    served_name: Text | None = None
    """The name clients ask for; unset: the last part of `name`, for the demo "smollm2-135m-instruct"."""

    max_model_len: Count | None = None
    """The longest context in tokens, prompt and answer together; unset: the model's own."""

    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = "auto"
    """The number type of weights and activations; "auto" takes what the model was saved in."""

    load_format: Text = "auto"
    """How vLLM reads the weights; "dummy" fills them at random, for tests."""

    tool_parser: Text = "auto"
    """The vLLM parser that finds tool calls in the model's text; "auto" picks it by model, "none" switches it off."""

    reasoning_parser: Text = "auto"
    """The vLLM parser that separates thinking from the answer; "auto" picks it by model, "none" switches it off."""

    chat_template: UserPath | None = None
    """A file with a Jinja chat template; unset: the model's own."""

    trust_remote_code: bool = False
    """Whether Python code that comes with the model may run."""

    @property
    def public_name(self) -> str:
        """The name clients ask for."""
        if self.served_name is not None:
            return self.served_name
        return "smollm2-135m-instruct" if self.name == DEMO_MODEL else self.name.rstrip("/").rpartition("/")[2]


class WorkerSettings(Table):
    """The vLLM workers, and when the supervisor steps in."""

    count: Literal["auto"] | Count = "auto"
    """Workers to start; "auto" starts one per GPU or group of GPUs, and two on a machine without a GPU."""

    tensor_parallel: Count = 1
    """GPUs that share one worker's model."""

    max_num_seqs: Count | None = None
    """The most requests one worker computes at the same time; unset: the engine's own."""

    enforce_eager: bool | None = None
    """Whether to run without compilation and CUDA graphs; unset: true on a CPU, false on a GPU."""

    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1), BeforeValidator(_refuse_boolean)] = 0.9
    """The share of a GPU's memory that a worker may take."""

    start_timeout: Annotated[Seconds, Field(gt=0)] = 15 * 60.0
    """How long a worker may take until it is ready, with download and compilation."""

    watchdog_interval: Annotated[Seconds, Field(gt=0)] = 5.0
    """How often the supervisor asks each worker whether it is alive."""

    watchdog_timeout: Annotated[Seconds, Field(gt=0)] = 60.0
    """How long a worker may stay silent before it is killed and restarted."""

    restart_limit: Annotated[int, Field(ge=0), BeforeValidator(_refuse_boolean)] = 5
    """Restarts of one worker within `restart_window` after which it is given up."""

    restart_window: Annotated[Seconds, Field(gt=0)] = 10 * 60.0
    """The time over which restarts are counted."""

    restart_backoff: Seconds = 1.0
    """The wait before the first restart; it doubles with each further one."""

    restart_backoff_max: Seconds = 30.0
    """The longest wait before a restart."""

    @model_validator(mode="after")
    def _check_order(self) -> WorkerSettings:
        _check_not_longer(self, "restart_backoff", "restart_backoff_max")
        _check_not_longer(self, "watchdog_interval", "watchdog_timeout")
        return self


class GpuCacheSettings(Table):
    """The key-value cache in each worker's own memory."""

    bytes: Literal["auto"] | Bytes = "auto"
    """Cache per worker; "auto" takes what fits on a GPU and 1GiB without one, 0 switches prefix caching off."""

    block_size: Literal["auto"] | Annotated[int, Field(ge=16, multiple_of=16), BeforeValidator(_refuse_boolean)] = (
        "auto"
    )
    """Tokens per block, a multiple of 16; "auto" takes 16 on a GPU and 32 on a CPU."""


class HostCacheSettings(Table):
    """The key-value cache in main memory, below the GPUs."""

    bytes: Bytes = 0
    """One cache for all workers, in shared memory: what one has computed another reads; 0 switches it off."""


class DiskCacheSettings(Table):
    """The key-value cache on a disk, below main memory: it outlives the box. Needs cache.host.bytes."""

    bytes: Bytes = 0
    """Size of the file, allocated at once; 0 switches it off."""

    path: UserPath | None = None
    """The file, one box at a time; unset: kv.slab in the cache folder."""

    write_budget: Bytes = 0
    """The most that is written in a day, counted in universal time; 0 is no limit."""


class RemoteCacheSettings(Table):
    """The key-value cache in a store that outlives the machine and that boxes may share. Needs cache.host.bytes."""

    url: StoreUrl = ""
    """A store: redis://host:6379/0, valkey://…, s3://bucket/folder, gs://…, az://…, file:///folder; empty for none."""

    timeout: Seconds = 1.0
    """The longest that one operation may take; after three that failed or took longer the store rests for a while."""

    connections: Count = 8
    """Operations at a time."""

    write_budget: Bytes = 0
    """The most that is written in a day, counted in universal time; 0 is no limit."""


class CacheSettings(Table):
    """The cache, tier by tier."""

    policy: Text = "coding-agent"
    """What is kept longest: "coding-agent", "chat", "lru", or the path of a policy file that ends in .toml."""

    gpu: GpuCacheSettings = GpuCacheSettings()
    host: HostCacheSettings = HostCacheSettings()
    disk: DiskCacheSettings = DiskCacheSettings()
    remote: RemoteCacheSettings = RemoteCacheSettings()

    @model_validator(mode="after")
    def _check_tiers(self) -> CacheSettings:
        if self.disk.bytes and not self.host.bytes:
            keys = {"first": "disk.bytes", "second": "host.bytes"}
            raise PydanticCustomError("tiers", "{first} needs {second}: the disk is read through main memory", keys)
        if self.remote.url and not self.host.bytes:
            keys = {"first": "remote.url", "second": "host.bytes"}
            raise PydanticCustomError("tiers", "{first} needs {second}: the store is read through main memory", keys)
        return self


class RouterSettings(Table):
    """How a worker is chosen for a request, and who waits while all are busy."""

    policy: Literal["kv", "round_robin", "random"] = "kv"
    """Who gets a request: "kv" prices every worker, "round_robin" takes turns, "random" draws one."""

    scorer: Text = "expected_cost"
    """What prices a worker under "kv": "expected_cost" in seconds, "least_loaded" by load alone, or a plugin's name."""

    queue_depth: Count = 256
    """Requests that may wait for room on a worker, the most important first; further ones are answered with 429."""

    queue_wait: Annotated[Seconds, Field(gt=0)] = 10 * 60.0
    """How long a request may wait for room on a worker; then it is answered with 429."""

    make_room_after: Seconds = 1.0
    """How long a request waits before a less important one is set aside for it, to go on later; 0: never."""


class StabiliserSettings(Table):
    """Rules that keep text which changes from standing ahead of text which stays in the cache."""

    enabled: bool = True
    """Whether requests are changed at all so that more of them is found in the cache."""

    attribution: bool = True
    """Removes the line `x-anthropic-billing-header: …` from the system prompt."""

    token_countdown: bool = True
    """Removes system messages that only say how many tokens of a hosted service's budget are left."""

    tool_order: bool = True
    """Sorts tools by name, those of MCP servers last."""

    environment: bool = True
    """Moves what the system prompt says about folder and machine to the first user message."""

    git_status: bool = True
    """Moves a snapshot of git's status from the system prompt to the first user message."""

    session_ids: bool = True
    """Moves lines with a session's id from the system prompt to the first user message."""

    dates: bool = True
    """Moves lines with the date from the system prompt to the first user message."""

    clock: bool = True
    """Moves lines with the time of day from the system prompt to the end of the conversation."""

    @property
    def rules(self) -> frozenset[str]:
        """The names of the rules that are on."""
        flags = self.model_dump(exclude={"enabled"})
        return frozenset(name for name, is_on in flags.items() if is_on) if self.enabled else frozenset()


class ServerSettings(Table):
    """The HTTP API."""

    host: Text = "127.0.0.1"
    """The address to listen on; 0.0.0.0 listens on all."""

    port: Annotated[int, Field(ge=0, le=65535), BeforeValidator(_refuse_boolean)] = 8000
    """The port to listen on; 0 takes any free one."""

    api_keys: Annotated[tuple[Secret, ...], BeforeValidator(_split_list)] = Field(
        (), json_schema_extra={"writeOnly": True}
    )
    """Keys of which a client must present one; an empty list lets everybody in."""

    operator_keys: Annotated[tuple[Secret, ...], BeforeValidator(_split_list)] = Field(
        (), json_schema_extra={"writeOnly": True}
    )
    """Keys that open /box/v1 from other machines, to look at the box and to steer it."""

    read_only_keys: Annotated[tuple[Secret, ...], BeforeValidator(_split_list)] = Field(
        (), json_schema_extra={"writeOnly": True}
    )
    """Keys that open /box/v1 from other machines, to look at the box and nothing else."""

    drain_timeout: Seconds = 30.0
    """How long running requests may go on after the box was told to stop."""

    max_body: Annotated[Bytes, Field(gt=0)] = 64 * 2**20
    """The largest request body taken."""

    max_requests: Count = 512
    """The most requests in flight; further ones are answered with 503."""


class StateSettings(Table):
    """What is remembered over restarts: sessions, requests, evictions, policies, snapshots, stored responses."""

    path: UserPath | None = None
    """The file, one box at a time; unset: state.db in the data folder."""

    keep_days: Count = 14
    """Days after which a request, an eviction, a decision, an operator's action or a view of the box is forgotten."""

    max_bytes: Bytes = 2 * 2**30
    """The most that the file holds; when it is full the oldest is forgotten sooner. 0 is no limit."""

    record_text: Literal["none", "divergence", "full"] = "divergence"
    """Text of prompts kept where they differ: "none" (nor is any shown), "divergence" a few words, "full" a page."""


class PathSettings(Table):
    """Folders; unset ones follow the XDG rules."""

    data: UserPath | None = None
    """What is worth keeping; unset: $XDG_DATA_HOME/dynamo-box."""

    cache: UserPath | None = None
    """What can be made again; unset: $XDG_CACHE_HOME/dynamo-box."""

    runtime: UserPath | None = None
    """The lock and the socket of a running box; unset: $XDG_RUNTIME_DIR/dynamo-box, else run in the cache folder."""


class LogSettings(Table):
    """What the box says about itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are still written."""


class Settings(BaseSettings):
    """The settings of dynamo-box."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: ModelSettings = ModelSettings()
    workers: WorkerSettings = WorkerSettings()
    cache: CacheSettings = CacheSettings()
    router: RouterSettings = RouterSettings()
    stabiliser: StabiliserSettings = StabiliserSettings()
    server: ServerSettings = ServerSettings()
    state: StateSettings = StateSettings()
    paths: PathSettings = PathSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`Settings(…)` takes its arguments only; files and environment come in through `load_settings`."""
        return (init_settings,)


def _leaves(table: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in table.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            yield from _leaves(field.annotation, f"{above}{name}.")
        else:
            yield above + name, field


KEYS: Mapping[str, FieldInfo] = dict(_leaves(Settings))
"""Every dotted key that can be set, in the order of the schema."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings, the file they came from (`None`: no file), and who set each dotted key."""

    settings: Settings
    file: Path | None
    sources: Mapping[str, Source]


class Row(NamedTuple):
    """One line of `config show`, as text; secrets are hidden."""

    key: str
    value: str
    source: str


class InvalidSettings(SettingsError):
    """Everything that is wrong with the settings, one line of the message each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems), hint="`dynamo-box config schema` lists every key with its values")
        self.problems = tuple(problems)


def load_settings(
    *,
    options: Mapping[str, object] | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """Reads all sources and checks the result. `options` holds dotted keys from the command line; `None` is skipped.

    The file is `config`, else the one `DYNAMO_BOX_CONFIG` names, else the XDG one, which alone may be missing.
    Raises `InvalidSettings` with all problems at once.
    """
    file, file_reading = _find_file(config, environ)
    readings = (read_options(options or {}, KEYS, OPTION_NAMES), read_variables(environ, KEYS), file_reading)
    entries = ChainMap(*(reading.entries for reading in readings))
    problems = [problem for reading in reversed(readings) for problem in reading.problems]
    settings = None
    try:
        settings = Settings(_build_sources=(tuple(_Layer(reading) for reading in readings), {}))
    except ValidationError as error:
        problems += _explain(error, entries)
    if problems or settings is None:
        raise InvalidSettings([problem.text for problem in sorted(problems, key=_reading_order)])
    return Loaded(settings, file, {key: entries[key].source if key in entries else Default() for key in KEYS})


def validate_file(path: Path, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Checks a file by itself: `DYNAMO_BOX_…` variables cannot hide what is wrong in it. Raises `InvalidSettings`."""
    others = {name: value for name, value in environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    return load_settings(config=path, environ=others)


def describe(loaded: Loaded) -> list[Row]:
    """Every key in the order of the schema, with its value and who set it."""
    dumped = loaded.settings.model_dump(mode="json")
    return [Row(key, _shown(key, _at(dumped, key)), str(loaded.sources[key])) for key in KEYS]


def settings_json_schema() -> dict[str, Any]:
    """The JSON Schema of the settings file, in one piece; `x-env` is the variable that sets a key."""
    schema = Settings.model_json_schema()
    definitions = schema.pop("$defs")
    _inline(schema, definitions)
    defaults = Settings().model_dump(mode="json")
    for key in KEYS:
        _property(schema, key).update({"default": _at(defaults, key), "x-env": variable_name(key)})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _inline(table: dict[str, Any], definitions: Mapping[str, Any]) -> None:
    """Puts each table where its `$ref` stands; none is used twice."""
    for name, schema in table["properties"].items():
        if "$ref" in schema:
            table["properties"][name] = definitions[schema["$ref"].rpartition("/")[2]]
            _inline(table["properties"][name], definitions)


class _Layer(PydanticBaseSettingsSource):
    """One reading in the nested form that pydantic-settings merges."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(Settings)
        self._nested: dict[str, Any] = {}
        for key, entry in reading.entries.items():
            *tables, name = key.split(".")
            table = self._nested
            for part in tables:
                table = table.setdefault(part, {})
            table[name] = entry.value

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the signature is pydantic's
        return self._nested.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._nested


def _find_file(config: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, Reading]:
    if config is not None:
        return config, read_file(config, KEYS, f"{CONFIG_OPTION} ")
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named), read_file(Path(named), KEYS, f"{CONFIG_VARIABLE}=")
    default = default_config_file(environ)
    return (default, read_file(default, KEYS, "")) if os.access(default, os.F_OK) else (None, Reading())


def _reading_order(problem: Problem) -> tuple[int, int]:
    """The file from top to bottom, then variables, then options."""
    line = problem.source.line or 0 if isinstance(problem.source, FileLine) else 0
    return (Default, FileLine, Variable, Option).index(type(problem.source)), line


_BOUNDS = {"greater_than", "greater_than_equal", "less_than_equal", "multiple_of"}


def _explain(error: ValidationError, entries: Mapping[str, Entry]) -> Iterator[Problem]:
    """One problem a key, however many alternatives of its type have failed."""
    failures: dict[str, list[ErrorDetails]] = {}
    for failure in error.errors(include_url=False):
        names = [str(part) for part in failure["loc"]]
        table_or_key = next((key for end in (2, 3) if (key := ".".join(names[:end])) in KEYS), ".".join(names))
        failures.setdefault(table_or_key, []).append(failure)
    schema = settings_json_schema()
    for name, of_name in failures.items():
        if name in KEYS:
            yield _value_problem(name, entries[name], _property(schema, name), of_name)
        else:
            yield _order_problem(name, of_name[0], entries)


def _value_problem(key: str, entry: Entry, schema: Mapping[str, Any], failures: Sequence[ErrorDetails]) -> Problem:
    accepted = accepted_values(schema)
    types = {failure["type"] for failure in failures}
    if types == {"greater_than"} and "x-accepts" in schema:
        accepted = "more than 0"
    elif types <= _BOUNDS:
        accepted = re.sub(r"^a (whole )?number (of )?", "", accepted)
    close = nearest(entry.value, _choices(schema)) if isinstance(entry.value, str) else None
    meant = f"; did you mean {close}?" if close else ""
    return Problem(entry.source, f"{_place(key, entry)} must be {accepted}{meant}")


def _order_problem(table: str, failure: ErrorDetails, entries: Mapping[str, Entry]) -> Problem:
    """Two keys contradict each other: the blame goes to the first of them that somebody has set."""
    keys = [f"{table}.{name}" for name in (failure["ctx"]["first"], failure["ctx"]["second"])]
    source = next(entries[key].source for key in keys if key in entries)
    return Problem(source, f"{source}: {table}.{failure['msg']}")


def _place(key: str, entry: Entry) -> str:
    """Source, key and value, as the operator wrote them."""
    shown = HIDDEN if _is_secret(key) else json.dumps(entry.value, default=str, ensure_ascii=False)
    if isinstance(entry.source, FileLine):
        return f"{entry.source}: {key} = {shown}:"
    shown = shown.removeprefix('"').removesuffix('"')
    if isinstance(entry.source, Variable):
        return f"{entry.source}={shown}: {key}"
    assigned = f"{key}={shown}" if str(entry.source) == SET_OPTION else shown
    return f"{entry.source} {assigned}: {key}"


def accepted_values(schema: Mapping[str, Any]) -> str:
    """What a property of the JSON Schema takes, in words that go after "must be"."""
    if alternatives := schema.get("anyOf"):
        return " or ".join(accepted_values(each) for each in alternatives if each.get("type") != "null")
    if values := _choices(schema):
        return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
    if accepted := schema.get("x-accepts"):
        return str(accepted)
    if schema["type"] in ("integer", "number"):
        return _accepted_numbers(schema)
    return _ACCEPTED_TYPES[schema["type"]]


_ACCEPTED_TYPES = {"boolean": "true or false", "array": "a list of non-empty texts", "string": "a non-empty text"}


def _accepted_numbers(schema: Mapping[str, Any]) -> str:
    words = "a whole number" if schema["type"] == "integer" else "a number"
    match schema:
        case {"minimum": low, "maximum": high}:
            words += f" between {low} and {high}"
        case {"exclusiveMinimum": low, "maximum": high}:
            words += f" above {low:g} and at most {high:g}"
        case {"minimum": low}:
            words += f" of at least {low}"
    if factor := schema.get("multipleOf"):
        words += f" and a multiple of {factor}"
    return words


def _choices(schema: Mapping[str, Any]) -> list[str]:
    alternatives = schema.get("anyOf", [schema])
    return [value for each in alternatives for value in each.get("enum", [each["const"]] if "const" in each else [])]


def _property(schema: dict[str, Any], key: str) -> dict[str, Any]:
    for name in key.split("."):
        schema = schema["properties"][name]
    return schema


def _at(tree: Any, key: str) -> Any:
    for name in key.split("."):
        tree = tree[name]
    return tree


def _is_secret(key: str) -> bool:
    return KEYS[key].json_schema_extra == {"writeOnly": True}


def _shown(key: str, value: object) -> str:
    if value is None:
        return "unset"
    if _is_secret(key) and value:
        return HIDDEN
    return value if isinstance(value, str) else json.dumps(value)
