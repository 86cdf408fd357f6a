"""The route of the completions API."""

from __future__ import annotations

from dataclasses import replace

from fastapi import FastAPI

from appliance.api.completions import CompletionsCodec
from appliance.api.completions_batch import BatchInference
from appliance.api.exchange import Service
from appliance.api.routes import add_generation_route


def add_completions_route(app: FastAPI, service: Service) -> None:
    batching = replace(service, inference=BatchInference(service.inference))
    add_generation_route(app, "/v1/completions", batching, CompletionsCodec())
