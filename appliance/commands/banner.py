"""What a user is told once the box takes requests: the endpoint, the model, and how to point agents at it."""

from __future__ import annotations

import json

from appliance.api.views import BoxStatus


def banner(status: BoxStatus) -> str:
    """Plain text, ready to paste from."""
    base, model = status.endpoint, status.model.id
    context = f"{status.model.context_tokens} tokens" if status.model.context_tokens else "unknown"
    return "\n".join(
        [
            "",
            f"  dynamo-box is ready: {base}/v1",
            f"  model {model}, context {context}, {len(status.workers)} worker(s)",
            "",
            *(f"  {name:<12}{line}" for name, line in connections(base, model).items()),
            "",
        ]
    )


def connections(base: str, model: str) -> dict[str, str]:
    """For each client, the line that points it at this box."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Say hello."}]})
    return {
        "curl": f"curl {base}/v1/chat/completions -H 'content-type: application/json' -d '{body}'",
        "opencode": f"OPENCODE_CONFIG_CONTENT='{json.dumps(_opencode(base, model))}' opencode",
        "Claude Code": f"ANTHROPIC_BASE_URL={base} ANTHROPIC_AUTH_TOKEN=local ANTHROPIC_MODEL={model} "
        f"ANTHROPIC_SMALL_FAST_MODEL={model} claude",
        "Codex": f"codex -c model_provider=box -c model={model} -c model_providers.box.name=box "
        f"-c model_providers.box.base_url={base}/v1 -c model_providers.box.wire_api=responses",
    }


def _opencode(base: str, model: str) -> dict[str, object]:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "dynamo-box",
        "options": {"baseURL": f"{base}/v1"},
        "models": {model: {"name": model}},
    }
    return {"provider": {"box": provider}, "model": f"box/{model}"}
