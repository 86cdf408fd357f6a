"""Workers, for those who run the box."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.json_route import answered
from appliance.api.local import refuse_strangers
from appliance.api.operator import is_dry_run, who_asks
from appliance.api.problems import NothingOfThisName, openai_problem


def add_worker_routes(app: FastAPI, box: Box) -> None:
    @app.post("/box/v1/workers/{worker}/restart")
    async def restart(worker: str, request: Request) -> Response:
        async def restarted() -> Any:
            refuse_strangers(request.scope, "workers can be restarted")
            return await box.workers().restart(_number(worker), who_asks(request), dry_run=is_dry_run(request))

        return await answered(request, openai_problem, restarted)


def _number(worker: str) -> int:
    if not (worker.isascii() and worker.isdigit() and len(worker) < 10):
        raise NothingOfThisName(f"no worker is called {worker!r}: they are numbers", code="no_worker")
    return int(worker)
