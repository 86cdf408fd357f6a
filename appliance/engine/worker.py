"""One vLLM engine: started, asked, watched, ended. Token ids in, token deltas out."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
from vllm.config import VllmConfig
from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.logprobs import SampleLogprobs
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
from vllm.v1.metrics.loggers import StatLoggerBase

from appliance.engine.engine_log import advice, last_error, rotate
from appliance.engine.environment import worker_environment
from appliance.engine.launch import launch
from appliance.engine.load import Batch, EngineLoad
from appliance.engine.plan import WorkerPlan
from appliance.engine.prompt import Prompt
from appliance.engine.retention.client import RetentionClient, retention_hints
from appliance.engine.tier_reads import TierReads
from appliance.errors import EngineStartError, GenerationFailed, InvalidRequest, NotReady, SetAside, WorkerDied
from appliance.process_tree import remove_unused, shared_memory_of

SHUTDOWN_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Step:
    """What one engine step added to one choice of a request.

    `cached_tokens` counts the prompt tokens read from cache, known from the first step on; of these the last
    `loaded_tokens` were not on the GPU.
    """

    choice: int
    token_ids: Sequence[int]
    text: str
    cached_tokens: int
    logprobs: SampleLogprobs | None
    finish: str | None
    matched_stop: str | int | None
    loaded_tokens: int = 0


class Worker(RetentionClient):
    """One engine of the box. Not started until `start`; may be started again after `stop`."""

    def __init__(self, plan: WorkerPlan, config: VllmConfig) -> None:
        self.plan = plan
        self.config = config
        self.load = EngineLoad()
        self._llm: AsyncLLM | None = None
        self._reads = TierReads()
        self._family: list[psutil.Process] = []
        self._memory: set[Path] = set()
        self._died = asyncio.Event()

    @property
    def alive(self) -> bool:
        return self._llm is not None and not self._died.is_set()

    @property
    def pid(self) -> int | None:
        """The engine core's process id; `None` when not started."""
        return self._family[0].pid if self.alive and self._family else None

    @property
    def kv_blocks(self) -> int | None:
        """KV blocks this engine holds; `None` until it has loaded."""
        return self.config.cache_config.num_gpu_blocks if self._llm is not None else None

    @property
    def seats(self) -> int:
        """The most requests that it computes at the same time."""
        return int(self.config.scheduler_config.max_num_seqs)

    @property
    def step_tokens(self) -> int:
        """The most tokens that it computes in one step."""
        return int(self.config.scheduler_config.max_num_batched_tokens)

    async def start(self) -> None:
        """Load the engine. Raises `EngineStartError` with the engine's own last word when it does not come up."""
        rotate(self.plan.log)
        self._died = asyncio.Event()
        # A config must not be used twice: the engine adds what it measured, and a second start would add to that.
        self.config.cache_config.num_gpu_blocks = None
        if self.config.kv_transfer_config is not None:
            # To the arena each start is somebody new: processes of the last one may still be writing.
            self.config.kv_transfer_config.kv_connector_extra_config["incarnation"] = uuid.uuid4().hex
        try:
            llm = await asyncio.to_thread(launch, self.config, worker_environment(self.plan), self._stat_logger)
        except Exception as error:
            raise EngineStartError(
                f"worker {self.plan.id} did not start: {last_error(self.plan.log) or error}",
                hint=advice(self.plan.log),
            ) from error
        # What a grammar is has been checked where the prompt was made; here it would be done once more, in the loop
        # (measured: 15 ms for a schema of 60 KB, 150 ms for 600 KB).
        llm.input_processor.structured_outputs_config = None
        self._llm = llm
        self.load.started()
        if self.config.kv_transfer_config is not None:
            self._reads.listen(llm.output_processor)
        self._family = _family(llm)
        self._memory = shared_memory_of(process.pid for process in self._family)
        self._watch_processes(llm)

    async def died(self) -> None:
        """Return when the engine's process has ended or was declared dead."""
        await self._died.wait()

    async def ping(self, timeout_seconds: float) -> bool:
        """Whether the engine's loop answers in time. A hung engine does not."""
        if self._llm is None:
            return False
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._llm.engine_core.call_utility_async("is_scheduler_paused")
        except (TimeoutError, EngineDeadError):
            return False
        return True

    async def generate(
        self, prompt: Prompt, request_id: str, *, priority: int, session_id: str | None
    ) -> AsyncGenerator[Step]:
        """Yield steps until every choice has finished. Closing the iterator aborts the request in the engine.

        A lower `priority` is served first. Raises `WorkerDied` when the engine ends meanwhile, `InvalidRequest` for
        parameters the engine refuses, `GenerationFailed` for anything else that ends the request.
        """
        if self._llm is None or self._died.is_set():
            raise WorkerDied(f"worker {self.plan.id} is not running")
        stream = self._llm.generate(
            prompt.engine_input,
            prompt.params,
            request_id,
            priority=priority,
            session_id=session_id,
            kv_hints=retention_hints(prompt.retention, request_id) if self._has_retention else None,
            reasoning_ended=prompt.reasoning_ended,
            reasoning_parser_kwargs=_parser_arguments(prompt),
        )
        loaded_tokens = 0
        try:
            with self.load.request():
                async with contextlib.aclosing(stream):
                    async for output in stream:
                        loaded_tokens = loaded_tokens or self._reads.take(request_id)
                        for step in _steps(output, loaded_tokens):
                            yield step
        except EngineDeadError as error:
            self._died.set()
            raise WorkerDied(f"worker {self.plan.id} ended") from error
        except VLLMClientError as error:
            raise InvalidRequest(str(error), param=getattr(error, "parameter", None)) from error
        except GracefulHTTPError as error:
            raise NotReady(str(error)) from error
        except EngineGenerateError as error:
            if isinstance(error.__cause__, SetAside):
                raise error.__cause__ from None
            if self._died.is_set():
                raise WorkerDied(f"worker {self.plan.id} ended") from error
            raise GenerationFailed(f"the engine failed on this request: {error.__cause__ or error}") from error
        finally:
            self._reads.take(request_id)

    async def set_aside(self, request_id: str) -> None:
        """Take a request off the engine: its `generate` raises `SetAside`. What it has computed stays cached. A no-op
        for a request that is not there, or not any more."""
        if self._llm is None:
            return
        processor = self._llm.output_processor
        for internal_id in processor.external_req_ids.get(request_id, ()):
            state = processor.request_states.get(internal_id)
            if state is not None and state.queue is not None:
                # Goes before what the engine has made and nobody has read, and before the news that it was aborted.
                state.queue.put(SetAside(f"{request_id} made room"))
        with contextlib.suppress(EngineDeadError):
            await self._llm.abort(request_id)

    async def flush(self) -> bool:
        """Drop all that is cached on the GPU. False, and nothing is dropped, while requests hold blocks."""
        return bool(await self._ask("reset_prefix_cache"))

    @property
    def _has_retention(self) -> bool:
        return self.plan.retention

    async def _ask(self, call: str, *arguments: Any) -> Any:
        if self._llm is None or self._died.is_set():
            raise WorkerDied(f"worker {self.plan.id} is not running")
        try:
            return await self._llm.engine_core.call_utility_async(call, *arguments)
        except EngineDeadError as error:
            self._died.set()
            raise WorkerDied(f"worker {self.plan.id} ended") from error

    async def stop(self) -> None:
        """End the engine, its processes and the shared memory that a killed one leaves. Idempotent; requests in flight
        end with `WorkerDied`."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        self._unwatch_processes(llm)
        self._declare_dead(llm)
        await asyncio.to_thread(llm.shutdown, SHUTDOWN_SECONDS)
        await asyncio.to_thread(_end_all, self._family)
        await asyncio.to_thread(remove_unused, self._memory)

    def kill(self) -> None:
        """End the engine's processes at once, so that nobody waits for a hung one. `stop` must follow."""
        _kill_all(self._family)
        if self._llm is not None:
            self._declare_dead(self._llm)

    def _watch_processes(self, llm: AsyncLLM) -> None:
        loop = asyncio.get_running_loop()
        for process in _core_processes(llm):
            loop.add_reader(process.sentinel, self._on_exit, llm, process.sentinel)

    def _on_exit(self, llm: AsyncLLM, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        self._declare_dead(llm)

    def _declare_dead(self, llm: AsyncLLM) -> None:
        """End every request in flight. A shutdown of `llm` alone would leave them waiting for ever: it cancels the task
        that would have told them."""
        self._died.set()
        llm.output_processor.propagate_error(EngineDeadError())

    def _unwatch_processes(self, llm: AsyncLLM) -> None:
        loop = asyncio.get_running_loop()
        for process in _core_processes(llm):
            loop.remove_reader(process.sentinel)

    def _stat_logger(self, _config: VllmConfig, _engine_index: int = 0) -> StatLoggerBase:
        return _LoadLogger(self.load)


class _LoadLogger(StatLoggerBase):  # type: ignore[misc]  # vllm is not typed
    """Keeps the scheduler's last word. vLLM's own loggers clash when several engines share a process."""

    def __init__(self, load: EngineLoad) -> None:
        self._load = load

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        del mm_cache_stats, engine_idx
        load = self._load
        if iteration_stats is not None:
            load.preemptions += iteration_stats.num_preempted_reqs
        if scheduler_stats is None:
            return
        load.running = scheduler_stats.num_running_reqs
        load.waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
        load.kv_usage = scheduler_stats.kv_cache_usage
        if (step := scheduler_stats.iteration_details) is not None:
            num_requests = step.num_ctx_requests + step.num_generation_requests
            batch = Batch(num_requests, step.num_ctx_tokens, step.num_generation_tokens)
            load.stepped(batch, step.elapsed_ms / 1000)

    def log_engine_initialized(self) -> None:
        pass


def _parser_arguments(prompt: Prompt) -> dict[str, Any] | None:
    """For the engine's own parser of thoughts, which a grammar asks whether it holds already."""
    if prompt.params.structured_outputs is None or prompt.raw:
        return None
    return {"chat_template_kwargs": prompt.template_arguments}


def _steps(output: RequestOutput, loaded_tokens: int) -> list[Step]:
    return [_step(output, completion, loaded_tokens) for completion in output.outputs]


def _step(output: RequestOutput, completion: CompletionOutput, loaded_tokens: int) -> Step:
    if completion.finish_reason == "error":
        raise GenerationFailed("the engine failed on this request")
    return Step(
        choice=completion.index,
        token_ids=completion.token_ids,
        text=completion.text,
        cached_tokens=output.num_cached_tokens or 0,
        loaded_tokens=loaded_tokens,
        logprobs=completion.logprobs,
        finish=completion.finish_reason,
        matched_stop=completion.stop_reason,
    )


def _core_processes(llm: AsyncLLM) -> list[BaseProcess]:
    return list(llm.engine_core.resources.engine_manager.processes)


def _family(llm: AsyncLLM) -> list[psutil.Process]:
    """The engine's processes and all they started, parents first."""
    family: list[psutil.Process] = []
    for process in _core_processes(llm):
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(process.pid)
            family += [root, *root.children(recursive=True)]
    return family


def _kill_all(family: Sequence[psutil.Process]) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _end_all(family: Sequence[psutil.Process]) -> None:
    _, left = psutil.wait_procs(family, timeout=SHUTDOWN_SECONDS)
    _kill_all(left)
    psutil.wait_procs(left, timeout=SHUTDOWN_SECONDS)
