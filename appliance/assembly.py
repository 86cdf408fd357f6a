"""Puts the parts of a box together: engine configurations, renderer, index, router, fleet, pipeline.

Imported late, because vLLM comes with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from appliance.api import json_scan
from appliance.box import RunningBox
from appliance.box_events import WorkerChanged
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.ledger import Emptied
from appliance.cache.prompt_read import Brought
from appliance.caretaker import Caretaker
from appliance.disk_tier import DiskTier
from appliance.divergence import Comparison, RecordText
from appliance.engine.hardware import detect_hardware
from appliance.engine.host_tier.prompt_hashes import PromptHashes
from appliance.engine.loading import load_model_side
from appliance.engine.model import Model
from appliance.engine.parsing import AnswerParser
from appliance.engine.plan import plan_workers
from appliance.engine.prompt import Prompt
from appliance.engine.rendering import Renderer
from appliance.engine.worker import Worker
from appliance.eviction_log import Evicted
from appliance.explainer import Explainer
from appliance.fleet import Fleet, Member, WorkerPhase
from appliance.forecast_file import ForecastFile
from appliance.generation import ModelCard
from appliance.host_arena import HostArena, arena_place
from appliance.keeper.wire import DiskPlace, KeeperSettings, RemotePlace
from appliance.keepsake import keepsake_of
from appliance.last_policy import start_policy
from appliance.last_prompts import LastPrompt
from appliance.lost_blocks import LostBlocks
from appliance.paths import Folders
from appliance.pipeline import Pipeline, Reading
from appliance.process_tree import SHARED_MEMORY
from appliance.prompt_text import PromptText
from appliance.recall_ahead import RecallAhead
from appliance.records import Recorder
from appliance.request_book import RequestBook
from appliance.retention import Retention
from appliance.router.hashing import root_of
from appliance.router.index import PrefixIndex, Tier
from appliance.router.pace import Paces
from appliance.router.router import Router, RoutingPolicy
from appliance.router.scorers import load_scorer
from appliance.router.shared_tier import SharedTier
from appliance.router.warming import warm_up
from appliance.session_forecast import SessionForecast
from appliance.settings import CacheSettings, RouterSettings, Settings
from appliance.stabiliser.rules import select_rules
from appliance.stabiliser.stabiliser import Stabiliser
from appliance.waiting_room import QueueLimits

log = logging.getLogger("dynamo_box")


class Workshop(NamedTuple):
    """What one call of `prepare` made, ready for `assemble`."""

    workers: list[Worker]
    renderer: Renderer
    block_tokens: int
    keeps_thinking: bool | None
    learned: ForecastFile
    arena: ArenaPlace | None
    hashes: PromptHashes
    """What engines will call a prompt's blocks."""
    slab: Path
    """Where the disk tier is, if there is one."""


class Parts(NamedTuple):
    """Without retention there is no caretaker, without a host tier no arena, without a disk tier or a remote store
    no disk."""

    fleet: Fleet
    pipeline: Pipeline
    caretaker: Caretaker | None
    arena: HostArena | None
    disk: DiskTier | None


def prepare(settings: Settings, folders: Folders, model: Model) -> Workshop:
    """Read the model's configuration and tokenizer and plan the workers; starts nothing. Blocks for seconds.

    Raises `StartError` for a model that vLLM refuses or a machine that is too small.
    """
    warm_up()
    json_scan.warm_up()
    host = settings.cache.host.bytes
    place = arena_place(SHARED_MEMORY, folders.runtime, host) if host else None
    plans = plan_workers(settings, detect_hardware(), folders.runtime, folders.data / "logs", place)
    renderer, configs = load_model_side(settings, model, plans)
    workers = [Worker(plan, config) for plan, config in zip(plans, configs, strict=True)]
    block_tokens = int(configs[0].cache_config.block_size)
    learned = ForecastFile(folders.data / "forecast.json")
    slab = folders.slab_file(settings.cache.disk.path)
    hashes = PromptHashes(configs[0])
    return Workshop(workers, renderer, block_tokens, renderer.keeps_thinking(), learned, place, hashes, slab)


def assemble(settings: Settings, model: Model, workshop: Workshop, box: RunningBox) -> Parts:
    """Wire the parts. Call in the loop that will serve. Raises `UnknownScorer` or `InvalidPolicy`."""
    index, root = PrefixIndex(), root_of(model.served_name)
    router = Router(
        index,
        workers=(),
        policy=RoutingPolicy(settings.router.policy),
        block_tokens=workshop.block_tokens,
        random=random.Random(),  # noqa: S311 – breaks ties, hides nothing
        root=root,
        scorer=load_scorer(settings.router.scorer),
    )
    fleet = Fleet(workshop.workers, index, router, settings.workers, block_tokens=workshop.block_tokens, root=root)
    stabiliser = Stabiliser(select_rules(settings.stabiliser.rules))
    reading = Reading(workshop.renderer, AnswerParser, stabiliser)
    retention = _retention(settings, workshop.keeps_thinking, router.paces, box)
    arena = _host_arena(workshop, fleet, index, retention)
    card = ModelCard(model.served_name, workshop.renderer.context_tokens, model.created)
    pipeline = Pipeline(card, reading, router, fleet, box.accounts, retention, _limits(settings.router))
    lost = LostBlocks(fleet.last_own_hash, partial(_claimed_seconds, retention))
    pipeline.book = _book(workshop, lost, retention, settings.state.record_text, box.recorder)
    if settings.state.record_text != "none":
        pipeline.prompt_text = PromptText(workshop.renderer.text_of)
    if box.chronicle is not None:
        pipeline.book.resume(reversed(box.chronicle.remembered.sessions))
    pipeline.events = box.events
    fleet.on_phase = partial(_note_phase, box, pipeline.book)
    disk = _disk_tier(settings.cache, workshop, fleet, index, arena)
    if disk is not None:
        pipeline.warm = _recall_ahead_from(disk, workshop.hashes)
        ahead = RecallAhead(pipeline.last_prompts, pipeline.warm)
        pipeline.on_ended.append(ahead.ended)
        pipeline.recall = _recall_from(disk, workshop.hashes, router.paces)
    if retention is None:
        return Parts(fleet, pipeline, None, arena, disk)
    caretaker = Caretaker(
        retention, workshop.workers, box.accounts.evictions, workshop.learned, on_room=router.told_room
    )
    caretaker.emit = box.events.emit
    caretaker.on_evictions = partial(_note_evictions, lost, pipeline.book)
    return Parts(fleet, pipeline, caretaker, arena, disk)


def _book(
    workshop: Workshop, lost: LostBlocks, retention: Retention | None, record_text: str, recorder: Recorder
) -> RequestBook:
    is_cacheable = bool(workshop.workers[0].config.cache_config.enable_prefix_caching)
    comparison = Comparison(workshop.renderer.text_of, RecordText(record_text))
    explainer = Explainer(workshop.block_tokens, comparison, lost, is_cacheable=is_cacheable)
    explainer.seen.warm_up()
    book = RequestBook(explainer, recorder, hears_evictions=retention is not None)
    if retention is not None:
        book.sessions.plan_of = partial(_plan_of, retention)
    return book


def _plan_of(retention: Retention, session_id: str) -> Mapping[str, Any] | None:
    subject = retention.subject(session_id)
    return None if subject is None else keepsake_of(subject)


def _note_evictions(
    lost: LostBlocks, book: RequestBook, worker: int, told: Sequence[Evicted], up_to: float | None
) -> None:
    lost.add(told)
    if up_to is not None:
        book.heard(worker, up_to)


def _claimed_seconds(retention: Retention | None, evicted: Evicted) -> float | None:
    one = evicted.eviction
    return None if retention is None else retention.duration_seconds(one.rule, one.owner, one.first_token)


def _note_phase(box: RunningBox, book: RequestBook, member: Member) -> None:
    box.events.emit(_worker_changed(member))
    if member.phase in (WorkerPhase.RESTARTING, WorkerPhase.FAILED):
        book.emptied(member.id, Emptied.WORKER_ENDED)


def _worker_changed(member: Member) -> WorkerChanged:
    return WorkerChanged(member.id, member.phase.value, member.budget.total, member.last_error)


def _host_arena(workshop: Workshop, fleet: Fleet, index: PrefixIndex, retention: Retention | None) -> HostArena | None:
    if workshop.arena is None:
        return None
    tier = SharedTier(index, Tier.HOST, [member.mirror for member in fleet.members.values()])
    forecast = retention.forecast if retention is not None else None
    return HostArena(workshop.arena, tier, forecast, is_pinned=any(worker.plan.gpus for worker in workshop.workers))


def _disk_tier(
    settings: CacheSettings, workshop: Workshop, fleet: Fleet, index: PrefixIndex, arena: HostArena | None
) -> DiskTier | None:
    disk, remote = settings.disk, settings.remote
    if arena is None or not (disk.bytes or remote.url):
        return None
    slab = DiskPlace(str(workshop.slab), disk.bytes, disk.write_budget) if disk.bytes else None
    store = RemotePlace(remote.url, remote.timeout, remote.connections, remote.write_budget) if remote.url else None
    tier = SharedTier(index, Tier.DISK, [member.mirror for member in fleet.members.values()])
    return DiskTier(KeeperSettings(str(arena.place.memory), str(arena.place.locks), slab, store), arena, tier=tier)


def _recall_from(disk: DiskTier, hashes: PromptHashes, paces: Paces) -> Callable[[Prompt], Awaitable[Brought]]:
    async def recall(prompt: Prompt) -> Brought:
        if disk.is_empty:
            return Brought()
        # 200,000 tokens take 14 ms: too long for one turn of the loop.
        found = await asyncio.to_thread(hashes.of, prompt)
        return await disk.recall(found, paces.prefill_seconds(len(prompt.token_ids)))

    return recall


def _recall_ahead_from(disk: DiskTier, hashes: PromptHashes) -> Callable[[LastPrompt], Awaitable[Brought]]:
    async def recall(prompt: LastPrompt) -> Brought:
        if disk.is_empty:
            return Brought()
        return await disk.recall(await asyncio.to_thread(hashes.of_tokens, prompt.tokens.tolist(), prompt.cache_salt))

    return recall


def _limits(router: RouterSettings) -> QueueLimits:
    return QueueLimits(router.queue_depth, router.queue_wait, router.make_room_after or None)


def _retention(settings: Settings, keeps_thinking: bool | None, paces: Paces, box: RunningBox) -> Retention | None:
    """With what the box knew before it was started again. Raises `InvalidPolicy`."""
    if settings.cache.policy == "off":
        return None
    history = [] if box.chronicle is None else box.chronicle.remembered.policies
    policy, record, word = start_policy(settings.cache.policy, history, time.time())
    if record is not None:
        box.recorder.record(record)
    if word is not None:
        log.warning("%s", word)
    retention = Retention(
        policy, keeps_thinking=keeps_thinking, forecast=SessionForecast(), prefill_seconds=paces.prefill_seconds
    )
    if box.chronicle is not None and (known := box.chronicle.resume(retention)):
        log.info("%d session(s) are known from before", known)
    return retention
