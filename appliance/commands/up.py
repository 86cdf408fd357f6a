"""`dynamo-box up`: start a box, or attach to the one that runs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from appliance.commands import serve
from appliance.commands.context import Context, read_context
from appliance.errors import StartError


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    if not sys.stdout.isatty() or options.json:
        return _without_terminal(context, options)
    process = None if context.runtime.held() else _spawn(context)
    from appliance.tui.live import Ending, watch

    ending = watch(context.control, starting=process.poll if process else None)
    if ending is Ending.BOX_ENDED and process is not None:
        raise StartError(_last_words(_log(context)), hint=f"The box's log: {_log(context)}")
    if ending is Ending.STOP:
        from appliance.commands import stop

        options.now = False
        return stop.run(options)
    print("The box keeps running. `dynamo-box up` shows it again, `dynamo-box stop` ends it.")
    return 0


def _without_terminal(context: Context, options: argparse.Namespace) -> int:
    if not context.runtime.held():
        return serve.run(options)
    from appliance.api.views import BoxStatus
    from appliance.commands.banner import banner

    context.running()
    status = BoxStatus.model_validate(context.control.get("/box/v1/status"))
    print(status.model_dump_json() if options.json else f"A box is already running.\n{banner(status)}")
    return 0


def _spawn(context: Context) -> subprocess.Popen[bytes]:
    """The box as a process of its own, which outlives this terminal; its output goes to the log file."""
    log = _log(context)
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", "appliance.cli", "serve", *_box_arguments()]
    with log.open("wb") as stream:
        return subprocess.Popen(  # noqa: S603 – our own command line
            arguments, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )


def _box_arguments() -> list[str]:
    """The options this command was called with, which `serve` takes too."""
    return [argument for argument in sys.argv[1:] if argument != "up"]


def _log(context: Context) -> Path:
    return context.folders.data / "logs" / "box.log"


def _last_words(log: Path) -> str:
    """What the box said when it gave up: its own `dynamo-box:` line, else the last line of its log."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("dynamo-box: ")]
    return told[-1].removeprefix("dynamo-box: ") if told else (lines[-1] if lines else "the box ended without a word")
