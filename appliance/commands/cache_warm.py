"""`dynamo-box cache warm`: read a prompt into the cache of the running box before anybody asks for its answer."""

from __future__ import annotations

import argparse
import json
from typing import Final

from appliance.commands.context import read_context
from appliance.commands.request_body import guess_api, read_body
from appliance.errors import BoxError, NotRunning

PATIENCE_SECONDS: Final = 3600.0
"""The prompt waits its turn in the box's queue, and a long one takes its time to be computed."""


def run(options: argparse.Namespace) -> int:
    body = read_body(options.file)
    context = read_context(options)
    context.running()
    api = options.api or guess_api(body)
    try:
        warmed = context.control.post("/box/v1/warm", {"api": api, "request": body}, PATIENCE_SECONDS)
    except NotRunning:
        raise
    except BoxError as error:
        raise BoxError(f"{options.file}: {error.message}", hint=error.hint) from error
    if options.json:
        print(json.dumps(warmed, indent=2))
        return 0
    cached, tokens = warmed["cached_tokens"], warmed["prompt_tokens"]
    print(f"{tokens:,} tokens are in the cache of worker {warmed['worker']}; {cached:,} of them were before")
    return 0
