"""Puts our block pool in the place of vLLM's, in this process."""

from __future__ import annotations

from vllm.v1.core import kv_cache_coordinator as coordinator
from vllm.v1.core.sched import scheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

from appliance.engine.retention.calls import add_calls
from appliance.engine.retention.manager import RetentionKVCacheManager
from appliance.engine.retention.pool import RetentionBlockPool

_stock_add_request = Scheduler.add_request
_stock_preempt_request = Scheduler._preempt_request  # noqa: SLF001  # vLLM has no other place to follow a preemption


def install() -> None:
    """For all schedulers made from now on. Idempotent."""
    coordinator.BlockPool = RetentionBlockPool
    scheduler.KVCacheManager = RetentionKVCacheManager
    Scheduler.add_request = _add_request
    Scheduler._preempt_request = _preempt_request  # noqa: SLF001  # as above
    add_calls()


def _add_request(self: Scheduler, request: Request) -> None:
    """As vLLM's; a request that others are before has its prefix kept until it is its turn."""
    must_wait = bool(self.waiting) or len(self.running) >= self.max_num_running_reqs
    _stock_add_request(self, request)
    if must_wait and self.requests.get(request.request_id) is request:
        self.kv_cache_manager.await_prefix(request)


def _preempt_request(self: Scheduler, request: Request, *args: object, **kwargs: object) -> None:
    """As vLLM's; what the request has computed is kept until it is its turn again."""
    _stock_preempt_request(self, request, *args, **kwargs)
    self.kv_cache_manager.await_prefix(request)
