"""Parts of the box as `BoxStatus` shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.accounting import WAIT_BOUNDS_SECONDS, Accounts, QueueAccount, Rate
from appliance.api.eviction_page import EvictedBlock
from appliance.api.views import (
    DiskTierView,
    EvictionsView,
    EvictionView,
    HostTierView,
    LatencyView,
    LeadsView,
    MissesView,
    QueueView,
    RateView,
    RegretView,
    RemoteTierView,
    StateView,
    StepsView,
    WatchdogView,
    WorkerView,
)
from appliance.cache.ledger import Reason
from appliance.dispatcher import Dispatcher
from appliance.eviction_log import Evicted, EvictionLog, cause_of
from appliance.loop_lag import LoopLag
from appliance.request_book import RequestBook
from appliance.router.history import Totals

if TYPE_CHECKING:
    from appliance.caretaker import Caretaker, LeadCounts
    from appliance.chronicle import Chronicle
    from appliance.disk_tier import DiskTier
    from appliance.engine.load import EngineLoad
    from appliance.fleet import Fleet, Member
    from appliance.host_arena import HostArena


def worker_view(member: Member, fleet: Fleet | None, caretaker: Caretaker | None) -> WorkerView:
    worker, stats = member.worker, member.subscription.stats if member.subscription is not None else None
    load = next((status for status in fleet.router.snapshot() if status.worker == member.id), None) if fleet else None
    return WorkerView(
        id=member.id,
        phase=member.phase.value,
        pid=worker.pid,
        devices=worker.plan.devices,
        restarts=member.budget.total,
        running_requests=load.running if load is not None else 0,
        prefill_blocks_queued=load.prefill_blocks if load is not None else 0,
        kv_blocks_total=worker.kv_blocks,
        kv_blocks_indexed=member.mirror.num_blocks,
        kv_usage=worker.load.kv_usage if worker.alive else None,
        index_in_step=member.mirror.in_step,
        event_batches=stats.applied_batches if stats is not None else 0,
        event_gaps=stats.gaps if stats is not None else 0,
        event_resets=stats.resets if stats is not None else 0,
        last_error=member.last_error,
        leads=leads_view(caretaker.leads(member.id)) if caretaker is not None and worker.alive else None,
        steps=steps_view(worker.load) if worker.alive else None,
        watchdog=watchdog_view(member) if worker.alive else None,
    )


def steps_view(load: EngineLoad) -> StepsView:
    batch, rates = load.batch, load.rates()
    return StepsView(
        waiting=load.waiting,
        batch_requests=batch.requests if batch is not None else 0,
        batch_prefill_tokens=batch.prefill_tokens if batch is not None else 0,
        batch_decode_tokens=batch.decode_tokens if batch is not None else 0,
        steps=load.num_steps,
        prefill_tokens=load.prefill_tokens,
        decode_tokens=load.decode_tokens,
        preemptions=load.preemptions,
        prefill_tokens_per_second=rates.prefill,
        decode_tokens_per_second=rates.decode,
        step_p50_ms=milliseconds(load.steps.quantile(0.5)),
        step_max_ms=milliseconds(load.steps.max_seconds),
        scheduler_p50_ms=milliseconds(load.scheduling.quantile(0.5)),
        scheduler_max_ms=milliseconds(load.scheduling.max_seconds),
    )


def watchdog_view(member: Member) -> WatchdogView:
    watchdog = member.watchdog
    return WatchdogView(
        limit_seconds=watchdog.limit_seconds,
        silent_seconds=watchdog.silent_seconds,
        answer_ms=milliseconds(watchdog.answer_seconds),
        stalled_seconds=member.worker.load.stalled_seconds,
    )


def leads_view(leads: LeadCounts | None) -> LeadsView | None:
    return None if leads is None else LeadsView(**leads._asdict())


def regret_views(totals: Totals) -> list[RegretView]:
    return [
        RegretView(
            reason=reason.value,
            settled=settled.decisions,
            regretted=settled.regretted,
            regret_seconds=settled.regret_seconds,
            missed_tokens=settled.missed_tokens,
        )
        for reason, settled in sorted(totals.by_reason.items())
    ]


def misses_view(book: RequestBook) -> MissesView:
    return MissesView(
        tokens={reason.value: book.misses.tokens[reason] for reason in Reason if book.misses.tokens[reason]},
        unexplained=book.misses.unexplained,
        thrashed=book.misses.thrashed,
        pending=book.num_pending,
        failed=book.num_failed,
        forgotten=book.forgotten(),
        unnamed=book.explainer.lost.unknown,
    )


def evictions_view(evictions: EvictionLog) -> EvictionsView:
    by_kind = [
        EvictionView(cause=kind.cause.value, rule=kind.rule, region=kind.region, blocks=count)
        for kind, count in evictions.counts.most_common()
    ]
    return EvictionsView(by_kind=by_kind, awaited=evictions.num_awaited, dropped=evictions.num_dropped)


def host_view(arena: HostArena | None) -> HostTierView | None:
    stats = arena.stats if arena is not None else None
    if arena is None or stats is None:
        return None
    num_bytes = stats.rows * arena.row_bytes
    return HostTierView(bytes=num_bytes, indexed=len(arena.tier), **stats._asdict())


def disk_view(disk: DiskTier | None) -> DiskTierView | None:
    stats = disk.on_disk if disk is not None else None
    if disk is None or stats is None:
        return None
    told = stats.counts._asdict() | stats.slab._asdict() | stats.writing._asdict()
    told |= {"bytes": stats.slab.rows * stats.counts.row_bytes, "pid": disk.pid}
    recalls = {"asked": disk.asked, "late": disk.late, "skipped": disk.pace.skipped}
    return DiskTierView.model_validate(told | recalls | {"restarts": disk.restarts.total})


def state_view(chronicle: Chronicle | None) -> StateView | None:
    if chronicle is None:
        return None
    facts = chronicle.database.facts()
    return StateView(
        bytes=facts.bytes,
        queued=facts.queued,
        written=dict(facts.written),
        dropped=dict(facts.dropped),
        refused=dict(facts.refused),
        trouble=facts.trouble,
    )


def remote_view(disk: DiskTier | None) -> RemoteTierView | None:
    stats = disk.stats.remote if disk is not None and disk.stats is not None else None
    if disk is None or stats is None:
        return None
    return RemoteTierView.model_validate({"url": disk.remote_url} | stats.counts._asdict() | stats.writing._asdict())


def evicted_block(number: int, evicted: Evicted) -> EvictedBlock:
    one = evicted.eviction
    return EvictedBlock(
        number=number,
        at=evicted.at_seconds,
        worker=evicted.worker,
        block_hash=one.block_hash.hex() if isinstance(one.block_hash, bytes) else one.block_hash,
        first_token=one.first_token,
        region=evicted.region,
        owner=one.owner,
        age_seconds=one.age_seconds,
        priority=one.priority,
        rule=one.rule,
        awaited=one.awaited,
        cause=cause_of(one).value,
        cause_session=one.cause,
        cause_request=one.cause_request,
    )


def rate_view(rate: Rate) -> RateView:
    return RateView(
        prompt_tokens=rate.prompt_tokens,
        cached_tokens=rate.cached_tokens,
        host_tokens=rate.below.host,
        disk_tokens=rate.below.disk,
        remote_tokens=rate.below.remote,
        hit_rate=rate.hit_rate,
    )


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def latency_view(accounts: Accounts, loop_lag: LoopLag) -> LatencyView:
    lag = loop_lag.last_minute()
    return LatencyView(
        ttft_p50_ms=milliseconds(accounts.ttft_quantile(0.5)),
        ttft_p99_ms=milliseconds(accounts.ttft_quantile(0.99)),
        loop_lag_p99_ms=milliseconds(lag and lag.p99_seconds),
        loop_lag_max_ms=milliseconds(lag and lag.max_seconds),
        itl_p50_ms=milliseconds(accounts.token_gaps.quantile(0.5)),
        itl_p99_ms=milliseconds(accounts.token_gaps.quantile(0.99)),
    )


def queue_view(account: QueueAccount, dispatcher: Dispatcher | None) -> QueueView:
    """Without a dispatcher nobody waits."""
    counted = QueueView(
        wait_bounds_seconds=list(WAIT_BOUNDS_SECONDS),
        waits=account.waits,
        waited_seconds=account.waited_seconds,
        refused=dict(account.refused),
        set_aside=account.set_aside,
    )
    if dispatcher is None:
        return counted
    queue, use = dispatcher.queue, dispatcher.prefill_use
    now = {
        "waiting": len(queue),
        "waiting_tokens": sum(queue.tokens(lane) for lane in queue.lanes),
        "oldest_seconds": dispatcher.room.oldest_seconds(),
        "order": use.order.value,
        "prefill_use": use.share,
    }
    return counted.model_copy(update=now)
