"""`dynamo-box backup`: a copy of what the box remembers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from appliance.commands.context import read_context


def run(options: argparse.Namespace) -> int:
    from appliance.state.backup import back_up

    context = read_context(options)
    target = Path(options.file).expanduser()
    source = context.state_file
    num_bytes = back_up(source, target)
    if options.json:
        print(json.dumps({"file": str(target), "of": str(source), "bytes": num_bytes}))
    else:
        print(f"{target}: {num_bytes / 2**20:.1f} MiB, a copy of {source}")
    return 0
