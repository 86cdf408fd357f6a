"""A box that only answers: it holds a runtime folder and serves fixed documents on the control socket."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

from appliance.api.views import BoxStatus, ModelView
from appliance.runtime import BoxFile, Runtime
from tests.unit.api.scripted import ScriptedBox

ENDPOINT = "http://127.0.0.1:8123"
MODELS = {"object": "list", "data": [{"id": "org/small", "max_model_len": 8192}]}


def status() -> BoxStatus:
    model = ModelView(id="org/small", source="small", context_tokens=8192)
    return (
        ScriptedBox(worker_phases=("running", "running"))
        .status()
        .model_copy(update={"endpoint": ENDPOINT, "model": model})
    )


def documents() -> dict[str, Any]:
    warmed = {"POST /box/v1/warm": lambda sent: {"prompt_tokens": 1200, "cached_tokens": 32, "worker": 1, "sent": sent}}
    applied = {"PUT /box/v1/policy": lambda sent: {"name": sent["policy"], "rules": [{}, {}], "version": 2}}
    return {"/box/v1/status": status().model_dump(), "/v1/models": MODELS, **applied, **warmed}


@contextmanager
def answering(path: Path, answers: Mapping[str, Any], code: int = 200) -> Iterator[None]:
    """Serve on a Unix socket; a `bytes` answer is sent as it is, any other as JSON. What answers `PUT /path` or
    `POST /path` (or `DELETE /path`) may be a function of what was sent, what answers a GET one of nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"null")
            answer = answers[f"{self.command} {self.path}"]
            self._send(answer(sent) if callable(answer) else answer)

        def do_POST(self) -> None:
            self.do_PUT()

        def do_DELETE(self) -> None:
            self.do_PUT()

        def do_GET(self) -> None:
            answer = answers[self.path]
            self._send(answer() if callable(answer) else answer)

        def _send(self, answer: Any) -> None:
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running_box(folder: Path, answers: Mapping[str, Any] | None = None, code: int = 200) -> Iterator[Runtime]:
    runtime = Runtime(folder)
    runtime.acquire()
    runtime.write(BoxFile(os.getpid(), "nobody", ENDPOINT, "org/small", None, 1_700_000_000.0))
    try:
        with answering(runtime.socket, answers or documents(), code):
            yield runtime
    finally:
        runtime.release()
