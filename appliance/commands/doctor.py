"""`dynamo-box doctor`: is this machine fit for the box as set, and what to do if not."""

from __future__ import annotations

import argparse
import json

from appliance.commands.context import Context, read_context
from appliance.doctor import Check, DoctorContext, run_checks
from appliance.engine.hardware import detect_hardware
from appliance.engine.plan import CPU_KV_BYTES, CPU_WORKERS


def run(options: argparse.Namespace) -> int:
    checks = run_checks(_doctor_context(read_context(options)))
    if options.json:
        print(json.dumps([check._asdict() for check in checks], indent=2))
    else:
        for check in checks:
            print(_line(check))
    return 1 if any(check.verdict == "fail" for check in checks) else 0


def _line(check: Check) -> str:
    line = f"{check.verdict:<5} {check.name:<14} {check.found}"
    return line if check.advice is None else f"{line}\n      → {check.advice}"


def _doctor_context(context: Context) -> DoctorContext:
    settings = context.loaded.settings
    count, kv_bytes = settings.workers.count, settings.cache.gpu.bytes
    fitting = len(detect_hardware().gpus) // settings.workers.tensor_parallel or CPU_WORKERS
    return DoctorContext(
        host=settings.server.host,
        port=settings.server.port,
        data_path=context.folders.data,
        cache_path=context.folders.cache,
        num_workers=fitting if count == "auto" else count,
        kv_bytes=CPU_KV_BYTES if kv_bytes == "auto" else kv_bytes,
        host_tier_bytes=settings.cache.host.bytes,
        slab_path=context.folders.slab_file(settings.cache.disk.path),
        slab_bytes=settings.cache.disk.bytes,
        gpu_memory_fraction=settings.workers.gpu_memory_utilization,
        box_is_running=context.runtime.held(),
    )
