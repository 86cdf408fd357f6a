"""Every internal of vLLM that `appliance.engine` and `appliance.router` rely on, so that an upgrade fails here first.

Each message says what moved and which of our modules needs it. Nothing is started.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from types import CodeType
from typing import Any, get_args

import msgspec
import pytest
import vllm.envs
import vllm.v1.engine.utils as engine_utils
from vllm.config import CacheConfig, KVEventsConfig, KVTransferConfig, ModelConfig, SchedulerConfig, VllmConfig
from vllm.distributed import kv_events
from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.scheduler import OffloadingConnectorScheduler
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.generate.base.protocol import DeltaFunctionCall, DeltaMessage, DeltaToolCall
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse
from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMError, VLLMValidationError
from vllm.inputs import tokens_input
from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.parser import Parser, ParserManager
from vllm.plugins import DEFAULT_PLUGINS_GROUP
from vllm.renderers import BaseRenderer, renderer_from_config
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.utils.hashing import sha256
from vllm.utils.system_utils import set_process_title
from vllm.v1.core import kv_cache_utils
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.engine import FINISH_REASON_STRINGS
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.core import EngineCore, EngineCoreProc
from vllm.v1.engine.core_client import AsyncMPClient, BackgroundResources, MPClient
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
from vllm.v1.engine.input_processor import InputProcessor
from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector, RequestState
from vllm.v1.engine.utils import launch_core_engines
from vllm.v1.kv_cache_interface import KVCacheSpecKind
from vllm.v1.kv_offload.base import OffloadingManager, OffloadingSpec, OffloadKey, ReqContext, make_offload_key
from vllm.v1.kv_offload.cpu import swap_blocks_triton
from vllm.v1.kv_offload.cpu.gpu_worker import CPUOffloadingWorker
from vllm.v1.kv_offload.factory import OffloadingSpecFactory
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerIterationDetails, SchedulerStats
from vllm.v1.request import Request
from vllm.v1.structured_output.backend_xgrammar import validate_xgrammar_grammar
from vllm.v1.worker.worker_base import WorkerWrapperBase
from xgrammar.structural_tag import JSONSchemaFormat

from appliance.engine.environment import prepare_process, worker_environment
from appliance.engine.hardware import ENGINE_PACKAGES, ENGINE_VERSION, installed_engine
from appliance.engine.launch import OwnEnvironmentProcManager
from appliance.engine.parsing import AnswerParser
from appliance.engine.plan import WorkerPlan
from appliance.errors import SetAside
from appliance.generation import FinishReason
from appliance.router.events import AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent
from appliance.router.index import PrefixIndex
from appliance.router.mirror import _FULL_ATTENTION_KINDS, _GPU_MEDIA, WorkerMirror
from appliance.router.subscription import END_OF_REPLAY, SEQUENCE_BYTES
from appliance.router.wire_events import decode_batch
from tests.unit.engine.retention.pools import Served, new_manager, new_request

BLOCK_TOKENS = 2


def names(function: Callable[..., Any]) -> list[str]:
    """Parameters in order, `self` and `cls` left out."""
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def globals_used(function: Callable[..., Any]) -> set[str]:
    """Names that the body looks up or sets, attributes and inner functions included."""
    used, codes = set[str](), [inspect.unwrap(function).__code__]
    while codes:
        code = codes.pop()
        used.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return used


def fields(kind: type) -> set[str]:
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    return set(getattr(kind, "model_fields", ())) or set(getattr(kind, "__struct_fields__", ()))


def missing(wanted: Iterable[str], present: Iterable[str]) -> set[str]:
    return set(wanted) - set(present)


# The distribution


def test_the_installed_engine_is_the_version_that_everything_here_was_written_for() -> None:
    engine = installed_engine()
    assert engine is not None, f"none of {ENGINE_PACKAGES} is installed: hardware.installed_engine"
    assert engine[1] == ENGINE_VERSION, (
        f"{engine[0]} is {engine[1]}: go through this file, then hardware.ENGINE_VERSION"
    )


# launch.py: processes under an environment of their own


def test_engines_are_launched_through_the_global_that_launch_replaces() -> None:
    assert "CoreEngineProcManager" in globals_used(launch_core_engines), (
        "vllm.v1.engine.utils.launch_core_engines no longer makes its processes by its module's CoreEngineProcManager: "
        "launch.py replaces that name"
    )
    assert "launch_core_engines" in globals_used(MPClient.__init__), (
        "MPClient no longer starts engines by launch_core_engines: launch.py would be passed by"
    )


def test_ours_is_the_process_manager_in_force() -> None:
    assert engine_utils.CoreEngineProcManager is OwnEnvironmentProcManager, "launch.py did not replace vLLM's manager"


def test_the_process_manager_starts_its_processes_while_it_is_made() -> None:
    base = OwnEnvironmentProcManager.__mro__[1]
    assert names(base.__init__) == [
        "local_engine_count",
        "start_index",
        "local_start_index",
        "vllm_config",
        "local_client",
        "handshake_address",
        "executor_class",
        "log_stats",
        "client_handshake_address",
        "tensor_queue",
    ], "CoreEngineProcManager takes other parameters: launch.OwnEnvironmentProcManager wraps its __init__"
    assert "start" in globals_used(base.__init__), (
        "CoreEngineProcManager.__init__ no longer starts the processes: launch.py sets their environment only there"
    )


def test_an_engine_is_made_from_a_config_with_our_stat_logger() -> None:
    wanted = {"vllm_config", "stat_loggers", "disable_log_stats"}
    gone = missing(wanted, names(AsyncLLM.from_vllm_config))
    assert not gone, f"AsyncLLM.from_vllm_config lost {gone}: launch.launch"


# worker.py: what is asked of a running engine


@pytest.mark.parametrize(
    ("owner", "method", "wanted"),
    [
        (AsyncLLM, "generate", ["prompt", "sampling_params", "request_id", "priority", "session_id"]),
        (AsyncLLM, "shutdown", ["timeout"]),
        (OutputProcessor, "propagate_error", ["e"]),
        (
            OutputProcessor,
            "_update_stats_from_output",
            ["req_state", "engine_core_output", "engine_core_timestamp", "iteration_stats"],
        ),
        (AsyncLLM, "abort", ["request_id"]),
        (AsyncMPClient, "call_utility_async", ["method"]),
        (BaseRenderer, "shutdown", []),
        (BaseRenderer, "get_tokenizer", []),
    ],
)
def test_a_method_we_call_takes_what_we_give(owner: type, method: str, wanted: list[str]) -> None:
    function = getattr(owner, method, None)
    assert function is not None, f"{owner.__name__}.{method} is gone: worker.py, rendering.py"
    present = names(function)
    assert not missing(wanted, present), f"{owner.__name__}.{method} takes {present}: worker.py, rendering.py"


def test_generate_takes_its_first_three_by_position() -> None:
    first = names(AsyncLLM.generate)[:3]
    assert first == ["prompt", "sampling_params", "request_id"], f"AsyncLLM.generate begins with {first}: worker.py"


@pytest.mark.parametrize(
    ("owner", "attribute"),
    [
        (AsyncLLM, "output_processor"),
        (AsyncLLM, "engine_core"),
        (MPClient, "resources"),
        (OwnEnvironmentProcManager.__mro__[1], "processes"),
    ],
)
def test_an_attribute_on_the_way_to_the_engine_processes_is_set(owner: type, attribute: str) -> None:
    assert attribute in globals_used(owner.__init__), (  # type: ignore[misc]  # only its code is read
        f"{owner.__name__}.{attribute} is gone: worker._core_processes and Worker._declare_dead go through it"
    )


def test_the_client_keeps_the_process_manager_among_its_resources() -> None:
    assert "engine_manager" in fields(BackgroundResources), "BackgroundResources.engine_manager: worker._core_processes"


def test_the_watchdogs_question_is_one_that_the_engine_answers() -> None:
    assert not names(EngineCore.is_scheduler_paused), "EngineCore.is_scheduler_paused takes parameters: Worker.ping"
    assert "getattr" in globals_used(EngineCoreProc._handle_client_request), (
        "EngineCoreProc no longer looks utility methods up by name: Worker.ping"
    )


def test_the_number_of_blocks_is_in_the_cache_config() -> None:
    assert "num_gpu_blocks" in fields(CacheConfig), "CacheConfig.num_gpu_blocks: Worker.kv_blocks, Worker.start"


def test_a_stat_logger_is_asked_as_ours_answers() -> None:
    assert names(StatLoggerBase.record) == ["scheduler_stats", "iteration_stats", "mm_cache_stats", "engine_idx"], (
        "StatLoggerBase.record takes other parameters: worker._LoadLogger.record"
    )
    assert StatLoggerBase.__abstractmethods__ == {"__init__", "record", "log_engine_initialized"}, (
        "StatLoggerBase demands other methods: worker._LoadLogger"
    )


def test_the_schedulers_stats_say_what_is_shown_as_load() -> None:
    told = {"num_running_reqs", "num_waiting_reqs", "num_skipped_waiting_reqs", "kv_cache_usage", "iteration_details"}
    gone = missing(told, fields(SchedulerStats))
    assert not gone, f"SchedulerStats lost {gone}: worker._LoadLogger.record"
    step = {"num_ctx_requests", "num_ctx_tokens", "num_generation_requests", "num_generation_tokens", "elapsed_ms"}
    gone = missing(step, fields(SchedulerIterationDetails))
    assert not gone, f"SchedulerIterationDetails lost {gone}: worker._LoadLogger.record"
    assert IterationStats().num_preempted_reqs == 0, "IterationStats counts preemptions otherwise: worker._LoadLogger"


def test_a_step_is_told_of_when_it_is_asked_for() -> None:
    assert "enable_logging_iteration_details" in fields(AsyncEngineArgs), (
        "AsyncEngineArgs.enable_logging_iteration_details: arguments.engine_config"
    )


def test_an_output_has_what_a_step_is_made_of() -> None:
    gone = missing({"index", "text", "token_ids", "logprobs", "finish_reason", "stop_reason"}, fields(CompletionOutput))
    assert not gone, f"CompletionOutput lost {gone}: worker._step"
    gone = missing({"outputs", "num_cached_tokens"}, names(RequestOutput.__init__))
    assert not gone, f"RequestOutput lost {gone}: worker._step"


def test_every_reason_to_finish_has_a_meaning_here() -> None:
    # "error" is raised by worker._step; "repetition" needs SamplingParams.repetition_detection, which is never set.
    known = {*FinishReason, "error", "repetition"}
    unknown = missing(FINISH_REASON_STRINGS, known)
    assert not unknown, f"vLLM ends requests for {unknown}: generation.FinishReason, parsing._Choice"


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (VLLMValidationError, VLLMClientError),
        (GracefulHTTPError, VLLMError),
        (EngineDeadError, VLLMError),
        (EngineGenerateError, VLLMError),
    ],
)
def test_an_exception_is_of_the_kind_that_is_caught(kind: type[Exception], base: type[Exception]) -> None:
    assert issubclass(kind, base), f"{kind.__name__} is no {base.__name__}: Worker.generate, Renderer.render"


def test_an_engines_death_is_not_taken_for_one_requests_failure() -> None:
    assert not issubclass(EngineDeadError, EngineGenerateError | VLLMClientError | GracefulHTTPError), (
        "EngineDeadError became one of the others: Worker.generate tells them apart"
    )


async def test_an_error_put_into_a_requests_stream_goes_before_what_it_holds_and_before_what_comes_after() -> None:
    collector = RequestOutputCollector(RequestOutputKind.DELTA, "r")
    output = RequestOutput("r", None, [1], None, [], finished=False)
    collector.put(output)
    collector.put(SetAside("made room"))
    collector.put(output)
    with pytest.raises(SetAside):
        await collector.get()
    lost = missing({"request_states", "external_req_ids"}, globals_used(OutputProcessor.__init__))
    assert not lost, f"OutputProcessor lost {lost}: Worker.set_aside"
    assert "queue" in names(RequestState.__init__), "RequestState has no queue: Worker.set_aside"


def test_a_validation_error_names_its_parameter_beside_the_plain_message() -> None:
    error = VLLMValidationError("too long", parameter="input_tokens", value=3)
    assert (error.args[0], error.parameter) == ("too long", "input_tokens"), (
        "VLLMValidationError keeps its message or parameter elsewhere: rendering._request_error, Worker.generate"
    )


def test_an_engines_death_can_be_announced_without_a_reason() -> None:
    assert str(EngineDeadError()), "EngineDeadError wants arguments: Worker._declare_dead"


# rendering.py and wire.py: a conversation as tokens


def test_a_renderer_is_made_from_a_config_alone() -> None:
    assert names(renderer_from_config)[0] == "config", "renderer_from_config takes no config first: loading.py"
    assert names(OnlineRenderer.__init__)[:2] == ["model_config", "renderer"], "OnlineRenderer(...): rendering.Renderer"


@pytest.mark.parametrize(
    "option",
    [
        "request_logger",
        "chat_template",
        "chat_template_content_format",
        "enable_auto_tools",
        "exclude_tools_when_tool_choice_none",
        "tool_parser",
        "reasoning_parser",
    ],
)
def test_the_chat_renderer_takes_an_option_of_ours(option: str) -> None:
    parameter = inspect.signature(OnlineRenderer.__init__).parameters.get(option)
    assert parameter is not None, f"OnlineRenderer lost its option {option}: rendering.Renderer"
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"OnlineRenderer takes {option} otherwise: rendering.py"


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("render_chat", ["request"]),
        ("effective_chat_template_kwargs", ["request"]),
        ("preprocess_chat", ["tool_dicts", "parser"]),
    ],
)
def test_the_chat_renderer_has_a_method_that_we_call_or_override(method: str, wanted: list[str]) -> None:
    function = getattr(OnlineRenderer, method, None)
    assert function is not None, f"OnlineRenderer.{method} is gone: rendering.py"
    present = names(function)
    assert not missing(wanted, present), f"OnlineRenderer.{method} takes {present}: rendering.py"


def test_rendering_passes_tools_to_the_step_that_we_override() -> None:
    assert {"preprocess_chat", "model_dump"} <= globals_used(OnlineRenderer.render_chat), (
        "OnlineRenderer.render_chat no longer hands dumped tools to preprocess_chat: rendering._PromptRenderer takes "
        "`strict` out of them there, and without it a forced call renders differently"
    )


def test_the_chat_renderer_keeps_its_parser_class() -> None:
    assert "parser" in globals_used(OnlineRenderer.__init__), "OnlineRenderer.parser: Renderer.parser"


def test_a_refusal_says_why_and_where() -> None:
    assert "error" in fields(ErrorResponse), "ErrorResponse.error: Renderer.render"
    assert not missing({"message", "param"}, fields(ErrorInfo)), "ErrorInfo.message, .param: Renderer.render"


def test_a_prompt_of_tokens_says_that_it_is_one() -> None:
    prompt = tokens_input([1, 2], cache_salt="s")
    assert (prompt["type"], prompt["prompt_token_ids"], prompt["cache_salt"]) == ("token", [1, 2], "s"), (
        "tokens_input builds something else: Prompt.resumable, Prompt.resumed"
    )


@pytest.mark.parametrize(
    "field",
    [
        "messages",
        "model",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "min_tokens",
        "seed",
        "stop",
        "stop_token_ids",
        "ignore_eos",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "n",
        "stream",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "chat_template_kwargs",
        "cache_salt",
        "tools",
        "tool_choice",
    ],
)
def test_a_chat_request_has_a_field_that_wire_sets(field: str) -> None:
    assert field in fields(ChatCompletionRequest), f"ChatCompletionRequest.{field} is gone: wire.chat_request"


def test_sampling_parameters_come_from_the_request_with_the_models_defaults() -> None:
    assert names(ChatCompletionRequest.to_sampling_params) == ["max_tokens", "default_sampling_params"], (
        "ChatCompletionRequest.to_sampling_params takes other parameters: Renderer._sampling"
    )
    assert not names(ModelConfig.get_diff_sampling_param), "ModelConfig.get_diff_sampling_param: Renderer"


@pytest.mark.parametrize(
    "field", ["n", "max_tokens", "min_tokens", "skip_special_tokens", "structured_outputs", "output_kind"]
)
def test_sampling_parameters_have_a_field_that_we_read_or_change(field: str) -> None:
    assert field in fields(SamplingParams), f"SamplingParams.{field} is gone: rendering.Prompt"


def test_a_copy_of_sampling_parameters_can_be_changed_alone() -> None:
    original = SamplingParams(max_tokens=5)
    original.clone().max_tokens = 1
    assert original.max_tokens == 5, "SamplingParams.clone no longer copies: Prompt.resumed"


def test_a_grammar_is_one_of_the_kinds_that_are_bounded() -> None:
    gone = missing({"json", "json_object", "structural_tag"}, fields(StructuredOutputsParams))
    assert not gone, f"StructuredOutputsParams lost {gone}: grammar.bounded_whitespace"
    assert not missing({"json_schema", "style", "max_whitespace_cnt"}, fields(JSONSchemaFormat)), (
        "xgrammar's JSON format has other fields: grammar.bounded_whitespace"
    )


def test_vllm_says_which_schemas_its_first_back_end_cannot_hold() -> None:
    unheld = {"type": "array", "uniqueItems": True}
    try:
        validate_xgrammar_grammar(SamplingParams(structured_outputs=StructuredOutputsParams(json=unheld)))
    except VLLMValidationError:
        return
    pytest.fail("validate_xgrammar_grammar takes uniqueItems: rendering._is_held_by_xgrammar asks it")


def test_grammars_are_checked_by_verify_and_not_by_a_processor_that_knows_no_back_end() -> None:
    wanted = ["model_config", "speculative_config", "structured_outputs_config", "tokenizer"]
    assert names(SamplingParams.verify) == wanted, "SamplingParams.verify takes other arguments: sampling.Sampler.of"
    assert "self.structured_outputs_config," in inspect.getsource(InputProcessor._validate_params), (
        "InputProcessor finds its back end elsewhere: worker.Worker.start"
    )
    unreadable = SamplingParams(structured_outputs=StructuredOutputsParams(regex="("))
    unreadable._validate_structured_outputs(None, None, None)


def test_strict_tools_are_held_to_their_schema_unless_the_environment_forbids_it() -> None:
    assert vllm.envs.VLLM_ENFORCE_STRICT_TOOL_CALLING is True, (
        "vLLM no longer holds strict tools to their schema by default: wire._tool relies on it"
    )


# parsing.py: deltas of an answer


def test_a_parser_is_made_for_one_answer_and_fed_deltas() -> None:
    signature = inspect.signature(Parser.parse_delta)
    assert [*signature.parameters] == [
        "self",
        "delta_text",
        "delta_token_ids",
        "request",
        "prompt_token_ids",
        "finished",
    ], "Parser.parse_delta takes other parameters: parsing._Choice"
    assert signature.parameters["finished"].kind is inspect.Parameter.KEYWORD_ONLY, "parse_delta(finished=): parsing.py"
    assert names(Parser.count_reasoning_tokens) == ["token_ids"], "Parser.count_reasoning_tokens: parsing._Choice"
    assert names(Parser.__init__)[:2] == ["tokenizer", "tools"], "Parser(...): Renderer.parser"


def test_a_parser_class_is_composed_by_the_names_of_its_halves() -> None:
    gone = missing({"tool_parser_name", "reasoning_parser_name"}, names(ParserManager.get_parser))
    assert not gone, f"ParserManager.get_parser lost {gone}: model_profile.py names parsers for it"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (DeltaMessage, {"content", "reasoning", "tool_calls"}),
        (DeltaToolCall, {"index", "id", "function"}),
        (DeltaFunctionCall, {"name", "arguments"}),
        (Logprob, {"logprob", "decoded_token"}),
    ],
)
def test_a_delta_has_the_parts_that_are_passed_on(kind: type, wanted: set[str]) -> None:
    gone = missing(wanted, fields(kind))
    assert not gone, f"{kind.__name__} lost {gone}: {AnswerParser.__module__}"


# arguments.py and loading.py: one worker's configuration


@pytest.mark.parametrize(
    "argument",
    [
        "model",
        "served_model_name",
        "dtype",
        "load_format",
        "trust_remote_code",
        "max_model_len",
        "tensor_parallel_size",
        "scheduling_policy",
        "enable_prefix_caching",
        "kv_events_config",
        "reasoning_parser",
        "max_num_seqs",
        "hf_overrides",
        "block_size",
        "kv_cache_memory_bytes",
        "enforce_eager",
        "max_num_batched_tokens",
        "gpu_memory_utilization",
        "device_ids",
        "kv_transfer_config",
    ],
)
def test_the_engine_takes_an_argument_of_ours(argument: str) -> None:
    assert argument in fields(AsyncEngineArgs), f"AsyncEngineArgs.{argument} is gone: arguments.engine_config"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (KVEventsConfig, {"enable_kv_cache_events", "publisher", "endpoint", "replay_endpoint"}),
        (KVTransferConfig, {"kv_connector", "kv_role", "kv_load_failure_policy", "kv_connector_extra_config"}),
        (VllmConfig, {"model_config", "cache_config", "kv_events_config", "structured_outputs_config"}),
        (ModelConfig, {"max_model_len", "model"}),
    ],
)
def test_a_part_of_the_configuration_has_the_fields_that_we_set_or_read(kind: type, wanted: set[str]) -> None:
    gone = missing(wanted, fields(kind))
    assert not gone, f"{kind.__name__} lost {gone}: arguments.py, loading.py, rendering.py"


def test_requests_can_be_scheduled_by_priority() -> None:
    policies = get_args(SchedulerConfig.__annotations__["policy"])
    assert "priority" in policies, f"scheduling policies are {policies}: arguments.engine_config"


def test_the_model_says_what_it_is() -> None:
    assert isinstance(inspect.getattr_static(ModelConfig, "architectures"), property), (
        "ModelConfig.architectures: loading.choose_parsers"
    )
    assert "hf_config" in globals_used(ModelConfig.__post_init__), "ModelConfig.hf_config: loading.choose_parsers"


def test_the_host_tier_is_a_connector_of_vllm_with_the_options_that_we_set() -> None:
    assert "OffloadingConnector" in KVConnectorFactory._registry, "OffloadingConnector is gone: arguments._host_tier"
    assert 'extra_config.get("offload_prompt_only"' in inspect.getsource(sys.modules[OffloadingSpec.__module__])
    factory = inspect.getsource(OffloadingSpecFactory)
    for option in ("spec_name", "spec_module_path"):
        assert f'extra_config.get("{option}"' in factory, f"{option} is no longer read: arguments._host_tier"


# host_tier: what vLLM's connector asks of a tier


def test_the_hosts_manager_answers_all_that_vllm_may_ask() -> None:
    asked = {name for name, member in vars(OffloadingManager).items() if inspect.isfunction(member)}
    ours = {"lookup", "get_load_source", "prepare_load", "complete_load", "prepare_store", "complete_store"}
    ours |= {"on_new_request", "on_schedule_end", "reset_cache", "shutdown"}
    left_to_vllm = {"touch", "on_request_finished", "take_events", "has_pending_work", "get_stats"}
    assert asked - {"__init__"} == ours | left_to_vllm, "OffloadingManager: host_tier/manager.py"


def test_a_requests_chunks_are_known_in_order_before_the_first_lookup() -> None:
    context = ReqContext("r")
    for end, key in enumerate((b"b", b"a", b"c"), start=1):
        context.set_offload_key_position(OffloadKey(key), end)
    assert list(context._offload_key_positions) == [b"b", b"a", b"c"], "host_tier/manager.py: _keys"
    names = {field.name for field in dataclasses.fields(ReqContext)}
    assert "kv_hints" in names, "ReqContext.kv_hints: host_tier/manager.py"


def test_keys_are_a_hash_of_32_bytes_and_a_group() -> None:
    assert make_offload_key(bytes(32), 7) == bytes(32) + (7).to_bytes(4, "big"), "host_tier/identity.py"
    assert CacheConfig.prefix_caching_hash_algo == "sha256", "hashes of another length: host_tier/identity.py"


def test_lookups_loads_and_the_end_of_a_step_come_in_one_call_of_the_scheduler() -> None:
    """The leases of a step rest on that."""
    source = inspect.getsource(OffloadingConnectorScheduler)
    assert source.index(".prepare_load(") < source.index(".on_schedule_end("), "host_tier/manager.py"
    assert source.index(".on_schedule_end(") < source.index(".complete_store("), "host_tier/manager.py"


def test_the_gpus_worker_takes_our_region() -> None:
    wanted = {"kv_caches", "blocks_per_chunk", "num_cpu_chunks", "mmap_region"}
    assert wanted <= inspect.signature(CPUOffloadingWorker.__init__).parameters.keys(), "host_tier/gpu_worker.py"
    source = inspect.getsource(sys.modules[CPUOffloadingWorker.__module__])
    used = set(re.findall(r"(?:mmap_region|region)\.(\w+)", source))
    have = {"create_next_worker_view", "cleanup", "is_pinned", "pinned_addresses", "total_size_bytes", "_row_stride"}
    have |= {"_base", "rank"}
    unmet = used - have - {"create_next_canonical_view"}
    assert not unmet, f"the region is asked for {unmet}: host_tier/region.py"


def test_loads_ask_for_their_copies_as_our_kernel_takes_them() -> None:
    source = inspect.getsource(sys.modules[CPUOffloadingWorker.__module__])
    call = r"self\._swap_blocks_batch\(\s*src,\s*dst,\s*sizes,\s*is_src_access_order_any="
    assert re.search(call, source), "host_tier/gpu_worker.py"
    assert "self._load_handler = SingleDirectionOffloadingHandler(" in source, "host_tier/gpu_worker.py"
    kernel = inspect.getsource(swap_blocks_triton)
    wanted = r"def _swap_blocks_kernel\(\s*src_addrs,\s*dst_addrs,\s*sizes,\s*n_jobs,.*\s*BYTES_PER_CHUNK: tl.constexpr"
    assert re.search(wanted, kernel), "host_tier/gpu_worker.py"


# environment.py and plugin.py: what the processes see


@pytest.mark.parametrize(
    "variable",
    [
        "VLLM_WORKER_MULTIPROC_METHOD",
        "VLLM_NO_USAGE_STATS",
        "VLLM_LOGGING_LEVEL",
        "VLLM_CONFIGURE_LOGGING",
        "VLLM_ENGINE_READY_TIMEOUT_S",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_CPU_KVCACHE_SPACE",
    ],
)
def test_vllm_reads_a_variable_of_ours(variable: str) -> None:
    assert variable in vllm.envs.environment_variables, f"vLLM no longer reads {variable}: environment.py"


def test_no_variable_of_vllm_is_set_that_is_not_named_above(monkeypatch: pytest.MonkeyPatch, plan: WorkerPlan) -> None:
    monkeypatch.setattr(os, "environ", {})
    prepare_process("info", 60)
    ours = {name for name in {**os.environ, **worker_environment(plan)} if name.startswith("VLLM_")}
    unread = missing(ours, vllm.envs.environment_variables)
    assert not unread, f"vLLM reads none of {unread}: environment.py"


def test_a_renamed_process_keeps_the_environment_that_it_is_known_by() -> None:
    assert "setproctitle" in globals_used(set_process_title), "vLLM renames its processes otherwise: environment.py"
    code = "import setproctitle as s; s.setproctitle('x' * 200); print('MARK=1' in open('/proc/self/environ').read())"
    environment = {"SPT_NOENV": "1", "MARK": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True", "setproctitle no longer heeds SPT_NOENV: environment.py"


@pytest.mark.parametrize("loader", [EngineCore.__init__, WorkerWrapperBase.init_worker])
def test_our_plugin_is_loaded_in_each_engine_process(loader: Callable[..., Any]) -> None:
    assert "load_general_plugins" in globals_used(loader), f"{loader.__qualname__} loads no plugins: plugin.register"


def test_our_plugin_is_registered_where_vllm_looks() -> None:
    assert DEFAULT_PLUGINS_GROUP == "vllm.general_plugins", "the entry point group moved: pyproject.toml"
    found = {point.value for point in entry_points(group=DEFAULT_PLUGINS_GROUP, name="dynamo_box")}
    assert found == {"appliance.engine.plugin:register"}, "our entry point is not installed: pyproject.toml"


# router/events.py and router/subscription.py: the wire


def sent_and_decoded(*events: Any) -> tuple[KVEvent, ...]:
    """As vLLM's publisher encodes them."""
    batch = kv_events.KVEventBatch(ts=1.5, events=list(events), data_parallel_rank=0)
    decoded = decode_batch(msgspec.msgpack.Encoder().encode(batch))
    assert (decoded.timestamp_seconds, decoded.unknown_events) == (1.5, 0), "KVEventBatch is laid out otherwise: events"
    return decoded.events


def test_a_pool_and_its_groups_keep_their_blocks_as_ours_reads_them() -> None:
    manager, request = new_manager(8, stock=True), new_request(range(8))
    Served(manager).admit(request)
    pool, (group,) = manager.block_pool, manager.coordinator.single_type_managers
    by_key = {
        block_hash + bytes(4): block for block_hash, block in zip(request.block_hashes, pool.blocks[1:3], strict=True)
    }
    assert pool.cached_block_hash_to_block._cache == by_key, "what retention/pool.py looks blocks up in"
    assert [block._block_hash for block in by_key.values()] == list(by_key), "what retention/pool.py forgets"
    assert pool.cached_block_hashes_by_block == {}, "further hashes of a block: retention/pool.py"
    counted = group.num_cached_block[request.request_id], len(group.req_to_blocks[request.request_id])
    assert counted == (2, 2), "how retention/manager.py knows that a token needs nothing"


def test_the_publisher_encodes_as_is_assumed_here() -> None:
    thread = globals_used(kv_events.ZmqEventPublisher._publisher_thread)
    assert {"msgpack", "Encoder"} <= thread, "the publisher encodes otherwise: router/events.py"


def test_all_fields_of_a_stored_block_arrive() -> None:
    event = kv_events.BlockStored(
        block_hashes=[2**64 - 1, b"\x00\xff"],
        parent_block_hash=7,
        token_ids=[1, 2, 3, 4],
        block_size=2,
        lora_id=None,
        medium=kv_events.MEDIUM_GPU,
        lora_name=None,
        extra_keys=[("salt",), None],
        group_idx=0,
        kv_cache_spec_kind=KVCacheSpecKind.FULL_ATTENTION.value,
        session_id="s",
    )
    hashes, tokens = array("Q", [2**64 - 1, 255]), array("I", [1, 2, 3, 4])
    expected = BlockStored(hashes, 7, tokens, 2, "GPU", [["salt"], None], 0, "full_attention")
    assert sent_and_decoded(event) == (expected,), "BlockStored looks otherwise on the wire: router/events.py"


def test_all_fields_of_a_removed_block_arrive() -> None:
    event = kv_events.BlockRemoved(block_hashes=[7], medium=kv_events.MEDIUM_GPU, group_idx=0)
    expected = BlockRemoved(array("Q", [7]), "GPU", 0)
    assert sent_and_decoded(event) == (expected,), "BlockRemoved on the wire: router/events.py"


def test_a_cleared_cache_arrives() -> None:
    assert sent_and_decoded(kv_events.AllBlocksCleared()) == (AllBlocksCleared(),), "AllBlocksCleared: router/events.py"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BlockStored, kv_events.BlockStored),
        (BlockRemoved, kv_events.BlockRemoved),
        (AllBlocksCleared, kv_events.AllBlocksCleared),
    ],
)
def test_no_field_that_we_read_has_another_name(ours: type, theirs: type) -> None:
    gone = missing(fields(ours), fields(theirs))
    assert not gone, f"vLLM's {theirs.__name__} lost {gone}: router/events.py"


def test_vllm_has_no_events_that_we_skip() -> None:
    kinds = {kind.__name__ for kind in kv_events.KVCacheEvent.__subclasses__()}
    assert kinds == {"BlockStored", "BlockRemoved", "AllBlocksCleared"}, f"vLLM publishes {kinds}: router/events.py"


def test_batches_are_numbered_and_a_replay_ends_as_is_assumed() -> None:
    assert kv_events.ZmqEventPublisher.END_SEQ == END_OF_REPLAY, "the end of a replay is marked otherwise: subscription"
    assert len(kv_events.ZmqEventPublisher.END_SEQ) == SEQUENCE_BYTES, "sequence numbers have another size"


# router/mirror.py: how a block pool tells what it holds


@pytest.fixture
def pool() -> BlockPool:
    kv_cache_utils.init_none_hash(sha256)
    return BlockPool(num_gpu_blocks=9, enable_caching=True, hash_block_size=BLOCK_TOKENS, enable_kv_cache_events=True)


def told(pool: BlockPool) -> tuple[KVEvent, ...]:
    return sent_and_decoded(*pool.take_events())


def cache(pool: BlockPool, token_ids: list[int], *, salt: str | None = None, cached_blocks: int = 0) -> list[Any]:
    """Compute and cache a prompt of whole blocks, the first of which are cached already; returns its blocks."""
    request = Request(
        request_id="r",
        prompt_token_ids=token_ids,
        sampling_params=SamplingParams(max_tokens=1),
        pooling_params=None,
        cache_salt=salt,
        block_hasher=kv_cache_utils.get_request_block_hasher(BLOCK_TOKENS, sha256),
    )
    count = len(token_ids) // BLOCK_TOKENS
    blocks: list[Any] = pool.get_new_blocks(count)
    pool.cache_full_blocks(request, blocks, cached_blocks, count, BLOCK_TOKENS, kv_cache_group_id=0)
    return blocks


def test_a_prompts_blocks_are_stored_in_one_event_with_the_salt_in_the_first(pool: BlockPool) -> None:
    cache(pool, [1, 2, 3, 4], salt="pepper")
    (stored,) = told(pool)
    assert isinstance(stored, BlockStored)
    assert (list(stored.token_ids), stored.parent_block_hash, stored.block_size) == (
        [1, 2, 3, 4],
        None,
        BLOCK_TOKENS,
    ), "BlockPool tells of stored blocks otherwise: router/mirror.py"
    assert stored.extra_keys == [["pepper"], None], "a salt is mixed in elsewhere: Prompt.extra_keys, router/hashing.py"
    assert (stored.medium, stored.group_idx) == ("GPU", 0), "medium or group of GPU blocks: router/mirror.py"


def test_later_blocks_name_their_parent(pool: BlockPool) -> None:
    cache(pool, [1, 2])
    cache(pool, [1, 2, 3, 4], cached_blocks=1)
    first, second = told(pool)
    assert isinstance(first, BlockStored)
    assert isinstance(second, BlockStored)
    assert (second.parent_block_hash, list(second.token_ids)) == (first.block_hashes[0], [3, 4]), (
        "BlockStored no longer continues its parent: router/mirror.py"
    )


def test_every_copy_of_a_block_is_stored_and_removed_by_itself(pool: BlockPool) -> None:
    copies = [block for _ in range(2) for block in cache(pool, [1, 2])]
    pool.evict_blocks({block.block_id for block in copies})
    first, second, *removed = told(pool)
    assert isinstance(first, BlockStored)
    assert first == second, "BlockPool de-duplicates now: router/mirror.py counts copies"
    assert removed == [BlockRemoved(first.block_hashes * 2, "GPU", 0)], "a copy's removal is not told: router/mirror.py"


def test_a_mirror_of_the_events_has_as_many_blocks_as_the_pool_counts(pool: BlockPool) -> None:
    mirror = WorkerMirror(0, PrefixIndex(), BLOCK_TOKENS)
    for token_ids in ([1, 2], [1, 2], [1, 2, 3, 4], [5, 6]):
        pool.free_blocks(cache(pool, token_ids))
    pool.get_new_blocks(6)
    mirror.apply(Batch(0.0, told(pool)))
    assert len(pool.cached_block_hash_to_block) == mirror.num_blocks > 0, "BlockPool counts otherwise: router/mirror.py"
    mirror.check_integrity(engine_blocks=len(pool.cached_block_hash_to_block))


def test_a_cache_is_cleared_only_when_no_block_is_in_use(pool: BlockPool) -> None:
    blocks = cache(pool, [1, 2])
    assert not pool.reset_prefix_cache(), "a cache in use is cleared: router/mirror.py takes the engine for empty then"
    pool.free_blocks(blocks)
    assert pool.reset_prefix_cache(), "a cache that nobody uses is not cleared"
    assert told(pool)[1:] == (AllBlocksCleared(),), "AllBlocksCleared is not told: router/mirror.py"


def test_reused_blocks_are_reported_only_on_request() -> None:
    request = Request("r", [1, 2], SamplingParams(max_tokens=1), None)
    assert request.kv_cache_report_mode == "incremental", "hits are reported by default: router/mirror.py counts them"


def test_kinds_of_attention_and_medium_are_named_as_the_mirror_knows_them() -> None:
    unknown = missing((kind for kind in _FULL_ATTENTION_KINDS if kind), {kind.value for kind in KVCacheSpecKind})
    assert not unknown, f"KVCacheSpecKind lost {unknown}: router/mirror.py"
    assert kv_events.MEDIUM_GPU in _GPU_MEDIA, "the GPU's medium has another name: router/mirror.py"
    assert "kv_cache_spec_kind" in globals_used(KVCacheManager.take_events), "events carry no kind: router/mirror.py"
