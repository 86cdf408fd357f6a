"""dynamo-box: vLLM workers, a KV-aware router and a tiered cache for coding agents, in one process tree."""

__version__ = "0.1.0"
