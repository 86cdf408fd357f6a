"""What remembering costs, and how soon what is remembered is told.

`python -m benchmarks.recording serve`: two boxes in one process over scripted engines, one of which records everything
in a database: requests with their ranges, a snapshot a second, 200 evictions a second. A client that is a process of
its own asks each in turn: 200 requests a second for some seconds, then as many as 32 connections get answered.

`python -m benchmarks.recording ask`: a file with a million requests, four million ranges, a million evictions, and how
long each question to it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from appliance.cache.ledger import Blame, Divergence, Reason, Source, TokenRange
from appliance.records import EvictionRecord, Outcome, RequestRecord, SnapshotRecord
from appliance.state.backlog import Entry
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from appliance.state.reader import Reader

RATE: Final = 200
CONNECTIONS: Final = 32
TOKENS: Final = 4
EVICTIONS_A_SECOND: Final = 200
FOR_EVER: Final = Keeping(1e12, 0)
MILLION: Final = 1_000_000
SESSIONS: Final = 20_000
MOST_AT_ONCE: Final = 5000
ROUNDS_OF_A_QUESTION: Final = 20

RANGES: Final = (
    TokenRange(0, 4096, Source.GPU),
    TokenRange(4096, 6144, Source.RECOMPUTED, Reason.EVICTED, Blame("s", "r", "coding-agent.toml:9", 35, 1.0, 60.0)),
    TokenRange(6144, 6160, Source.RECOMPUTED, Reason.DIVERGED, divergence=Divergence(6144, "system", "one", "other")),
    TokenRange(6160, 6200, Source.RECOMPUTED, Reason.BELOW_BLOCK_BOUNDARY),
)


def request(number: int, session: str, at: float) -> RequestRecord:
    return RequestRecord(
        id=f"chatcmpl-{number:032x}",
        session=session,
        parent=None,
        turn=1,
        client="claude-code/2.0",
        model="model",
        worker=number % 4,
        arrived_at=at,
        first_token_seconds=0.1,
        total_seconds=2.0,
        queued_seconds=0.0,
        prompt_tokens=6200,
        cached_tokens=4096,
        completion_tokens=200,
        outcome=Outcome.FINISHED,
        finish="stop",
        ranges=RANGES,
        hints={"priority": 1},
    )


def eviction(number: int, session: str, at: float) -> EvictionRecord:
    rule = "coding-agent.toml:9"
    return EvictionRecord(1.0, number, at, 0, str(number), 64, "user", session, "s", "r", rule, 35, 9.0, awaited=False)


async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> float:
    """Seconds until the whole answer is there."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: box\r\ncontent-length: {len(body)}\r\n"
    began = time.perf_counter()
    writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not answer.startswith(b"http/1.1 200"):
        raise RuntimeError(answer.decode())
    length = int(answer.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return time.perf_counter() - began


async def client(port: int, model: str, seconds: float, *, paced: bool) -> dict[str, Any]:
    """Asks at `RATE`, or as fast as `CONNECTIONS` get answers; what each took."""
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    sessions = [f"session-{number}" for number in range(50)]
    taken: list[float] = []
    tasks: set[asyncio.Task[None]] = set()
    free = asyncio.Semaphore(CONNECTIONS)

    async def ask(number: int) -> None:
        messages = [{"role": "user", "content": f"{number} " + "cache block prefix hit " * 40}]
        told = {"model": model, "messages": messages, "max_tokens": TOKENS, "user": sessions[number % len(sessions)]}
        connection = idle.pop()
        try:
            taken.append(await post(*connection, json.dumps(told).encode()))
        finally:
            idle.append(connection)
            free.release()

    began = time.perf_counter()
    number = 0
    while (now := time.perf_counter()) - began < seconds:
        if paced and now < began + number / RATE:
            await asyncio.sleep(began + number / RATE - now)
        await free.acquire()
        task = asyncio.create_task(ask(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    ended = time.perf_counter()
    for _, writer in idle:
        writer.close()
    return {"a_second": len(taken) / (ended - began), "p50": statistics.median(taken), "p99": quantile(taken, 0.99)}


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


async def asked(port: int, model: str, seconds: float, *, paced: bool) -> dict[str, float]:
    """By a process of its own; with the processor time that this one has used for each request, all together and in
    the thread of the loop."""
    words = [sys.executable, "-m", "benchmarks.recording", "client", str(port), model, str(seconds), str(int(paced))]
    before, loop_before = time.process_time(), time.thread_time()
    child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    told: dict[str, float] = json.loads(output)
    requests = told["a_second"] * seconds
    told["cpu_ms"] = 1000 * (time.process_time() - before) / requests
    told["loop_ms"] = 1000 * (time.thread_time() - loop_before) / requests
    return told


async def beside(database: Database) -> None:
    """What a busy box records without being asked."""
    from appliance.api.views import BoxStatus, ModelView, RateView, RequestsView
    from appliance.api.views import LatencyView as Latency

    rate = RateView(prompt_tokens=0, cached_tokens=0, hit_rate=None)
    counts = RequestsView(active=0, finished=0, failed=0, aborted=0, resumed=0)
    status = BoxStatus(
        version="1",
        phase="running",
        activity=None,
        pid=1,
        endpoint="",
        started_at=0.0,
        uptime_seconds=0.0,
        model=ModelView(id="m", source="m", context_tokens=None),
        workers=[],
        requests=counts,
        cache_since_start=rate,
        cache_last_minute=rate,
        completion_tokens=0,
        stabilised={},
        latency=Latency(ttft_p50_ms=None, ttft_p99_ms=None),
    )
    for second in range(1 << 30):
        database.record(SnapshotRecord(time.time(), status.model_dump()))
        for number in range(EVICTIONS_A_SECOND):
            database.record(eviction(second * EVICTIONS_A_SECOND + number, "session-1", time.time()))
        await asyncio.sleep(1)


async def serve(rounds: int, seconds: float) -> None:
    from appliance.supervisor import keep_what_stands
    from benchmarks import scripted_engine
    from benchmarks.model_side import prepared
    from benchmarks.streams import box_app, served

    scripted_engine.STEP_SECONDS = 0.002
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_FOLDER")) as scratch:
        bench = prepared(Path(scratch), 8192)
        database = Database(Path(scratch) / "state.db", FOR_EVER)
        print(*database.start())
        async with (
            served(box_app(bench)) as without,
            served(box_app(bench, recorder=database)) as recording,
        ):
            keep_what_stands()
            measured: dict[tuple[str, bool], list[dict[str, float]]] = {}
            for number in range(-1, rounds):
                for name, port in (("without", without), ("recording", recording)):
                    for paced in (True, False):
                        writing = asyncio.create_task(beside(database)) if name == "recording" else None
                        told = await asked(port, bench.model.served_name, seconds, paced=paced)
                        if writing is not None:
                            writing.cancel()
                        if number >= 0:
                            measured.setdefault((name, paced), []).append(told)
            show(measured)
        facts = database.facts()
        print(f"written {dict(facts.written)}, dropped {dict(facts.dropped)}, {(facts.bytes or 0) / 2**20:.0f} MiB")
        database.stop()


def show(measured: dict[tuple[str, bool], list[dict[str, float]]]) -> None:
    """Medians of the rounds."""
    for (name, paced), rounds in sorted(measured.items(), key=lambda one: not one[0][1]):
        keys = ("a_second", "p50", "p99", "cpu_ms", "loop_ms")
        rate, p50, p99, cpu, loop = (statistics.median(told[key] for told in rounds) for key in keys)
        how = f"{RATE} a second" if paced else f"{CONNECTIONS} at once"
        times = f"p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms"
        print(f"{how:13} {name:9} {rate:6.1f} requests/s, {times}, processor {cpu:.3f} ms, loop {loop:.3f} ms")


def fill(path: Path, requests: int) -> Database:
    """Unless it is filled already."""
    database = Database(path, FOR_EVER)
    print(*database.start())
    if database.read(lambda reader: reader.request(f"chatcmpl-{requests - 1:032x}")) is not None:
        return database
    began = time.perf_counter()
    entries = of_a_life(requests)
    while some := [entry for _, entry in zip(range(MOST_AT_ONCE), entries, strict=False)]:
        for entry in some:
            database.record(entry)
        database.settle(60)
    facts = database.facts()
    seconds = time.perf_counter() - began
    print(f"{dict(facts.written)} written in {seconds:.0f} s, dropped {dict(facts.dropped)}")
    return database


def of_a_life(requests: int) -> Iterator[Entry]:
    """As many evictions as requests; one request a second."""
    source = random.Random(1)  # noqa: S311 – a load, no secret
    for number in range(requests):
        session = f"session-{source.randrange(SESSIONS)}"
        yield request(number, session, float(number))
        yield eviction(number, session, float(number))


def ask(path: Path, requests: int) -> None:
    database = fill(path, requests)
    last, middle = f"chatcmpl-{requests - 1:032x}", float(requests // 2)
    questions: dict[str, Callable[[Reader], object]] = {
        "a request by its id, as for why": lambda reader: reader.request(last),
        "a request that is not there": lambda reader: reader.request("nothing"),
        "the newest 100 requests": lambda reader: reader.requests(),
        "the newest 1,000 requests": lambda reader: reader.requests(limit=1000),
        "100 requests of a session": lambda reader: reader.requests("session-7"),
        "100 requests until the middle": lambda reader: reader.requests(until=middle),
        "100 requests of the last hour": lambda reader: reader.requests(since=requests - 3600.0),
        "the newest 100 sessions": lambda reader: reader.sessions(),
        "the newest 1,000 evictions": lambda reader: reader.evictions(limit=1000),
        "100 evictions of a session": lambda reader: reader.evictions("session-7"),
        "100 evictions until the middle": lambda reader: reader.evictions(until=middle),
    }
    for text, question in questions.items():
        taken = []
        for _ in range(ROUNDS_OF_A_QUESTION):
            began = time.perf_counter()
            database.read(question)
            taken.append(1000 * (time.perf_counter() - began))
        first, usual, worst = taken[0], statistics.median(taken), max(taken)
        print(f"{text:34} first {first:6.1f} ms, median {usual:6.1f} ms, worst {worst:6.1f} ms")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{(database.facts().bytes or 0) / 2**20:.0f} MiB, {memory} MiB of memory")
    database.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    serving = parts.add_parser("serve")
    serving.add_argument("--rounds", type=int, default=7)
    serving.add_argument("--seconds", type=float, default=5.0)
    asking = parts.add_parser("ask")
    asking.add_argument("--file", type=Path, help="kept, and used again (default: a new one, removed at the end)")
    asking.add_argument("--requests", type=int, default=MILLION)
    asked_by = parts.add_parser("client")
    asked_by.add_argument("words", nargs=4)
    options = parser.parse_args()
    if options.part == "client":
        port, model, seconds, paced = options.words
        print(json.dumps(asyncio.run(client(int(port), model, float(seconds), paced=paced == "1"))))
    elif options.part == "serve":
        import uvloop

        uvloop.run(serve(options.rounds, options.seconds))
    elif options.file is not None:
        ask(options.file, options.requests)
    else:
        with tempfile.TemporaryDirectory() as folder:
            ask(Path(folder) / "state.db", options.requests)


if __name__ == "__main__":
    main()
