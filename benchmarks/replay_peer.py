"""Dynamo's replay of a trace, in the peer's own environment: one JSON object a request.

Run by `benchmarks.replay`, never by hand. Needs nothing but ai-dynamo-runtime.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path

KEPT = ("ttft_ms", "reused_input_tokens", "input_length")


def main() -> None:
    trace, mode, workers, engine = sys.argv[1:]
    core = importlib.import_module("dynamo._core")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        core.run_mocker_trace_replay(
            [trace],
            extra_engine_args={"engine": json.loads(engine)},
            num_workers=int(workers),
            router_mode=mode,
            trace_block_size=json.loads(engine)["block_size"],
            report_jsonl_path=str(report),
        )
        for line in report.read_text().splitlines():
            row = json.loads(line)
            print(json.dumps({name: row[name] for name in KEPT}))


if __name__ == "__main__":
    main()
