"""Commands run in this process, in folders of their own."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import main
from appliance.runtime import Runtime
from tests.unit.commands.answering_box import running_box


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the commands of a test look for settings and boxes."""

    home: Path
    capture: pytest.CaptureFixture[str]

    @property
    def runtime(self) -> Path:
        return self.home / "run"

    def command(self, *arguments: str) -> Answer:
        code = main(arguments)
        captured = self.capture.readouterr()
        return Answer(code, captured.out, captured.err)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    for name in [*filter(lambda name: name.startswith(("DYNAMO_BOX_", "HF_", "XDG_")), os.environ)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DYNAMO_BOX_PATHS__RUNTIME", str(tmp_path / "run"))
    return Place(tmp_path, capsys)


@pytest.fixture
def box(place: Place) -> Iterator[Runtime]:
    """A box that runs at `place`."""
    with running_box(place.runtime) as runtime:
        yield runtime


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Puts back what a command that sets up logging has changed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
