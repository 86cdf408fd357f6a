"""The router's decisions for those who ask about them, and places for those who want to decide themselves."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from appliance.api.routing_views import DecisionView, PlacementView, ReservationView, Routing, RoutingTotals
from appliance.conversation import Conversation
from appliance.decision_views import candidate_view, decision_view
from appliance.errors import NotReady
from appliance.router.decision import Decision, why
from appliance.router.errors import NoSuchReservation, NoWorker, TooManyReservations
from appliance.router.history import Record

if TYPE_CHECKING:
    from appliance.pipeline import Pipeline


class RoutingDesk:
    """`api.box.RoutingDesk` over a pipeline's router. `new_name` makes names of reservations, each once."""

    def __init__(self, pipeline: Pipeline, new_name: Callable[[], str] = lambda: uuid.uuid4().hex) -> None:
        self._pipeline = pipeline
        self._router = pipeline.router
        self._new_name = new_name

    async def place(self, asked: Conversation | Sequence[int], reserve_seconds: float | None) -> PlacementView:
        try:
            decision = await self._decide(asked)
            reservation = None if reserve_seconds is None else self._reserve(decision, reserve_seconds)
        except (NoWorker, TooManyReservations) as error:
            raise NotReady(error.message, hint=error.hint) from error
        return PlacementView(
            worker=decision.worker,
            reason=decision.reason.value,
            why=why(decision.worker, decision.reason, decision.candidates),
            prompt_tokens=decision.prompt_tokens,
            block_tokens=self._router.block_tokens,
            candidates=[*map(candidate_view, decision.candidates)],
            reservation=reservation,
        )

    def free(self, name: str) -> bool:
        try:
            self._router.reservations.free(name)
        except NoSuchReservation:
            return False
        return True

    def of_request(self, request_id: str) -> list[DecisionView]:
        return [*map(self._decision_view, self._router.history.of(request_id))]

    def newest(self, most: int) -> Routing:
        totals = self._router.history.totals
        return Routing(
            RoutingTotals(
                totals.decisions,
                totals.settled.decisions,
                totals.settled.regretted,
                totals.settled.regret_seconds,
                totals.settled.missed_tokens,
                self._router.pricer.failures,
            ),
            [*map(self._decision_view, self._router.history.newest(most))],
        )

    async def _decide(self, asked: Conversation | Sequence[int]) -> Decision:
        if isinstance(asked, Conversation):
            return (await self._pipeline.prepare(asked, "")).decide()
        return self._router.route(np.array(asked, np.uint32), exclude=self._pipeline.workers.dead())

    def _reserve(self, decision: Decision, seconds: float) -> ReservationView:
        name = self._new_name()
        self._router.reserve(decision, name, seconds)
        return ReservationView(name, seconds)

    def _decision_view(self, record: Record) -> DecisionView:
        return decision_view(record, self._router.clock() - record.at_seconds)
