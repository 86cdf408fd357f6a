"""`dynamo-box up`: start a box, or attach to the one that runs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from appliance.commands import stop
from appliance.commands.context import Context, read_context
from appliance.errors import NotRunning, StartError
from appliance.tui.ending import Ending


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    if not sys.stdout.isatty() or options.json:
        return _without_terminal(context, options)
    process = None if context.runtime.held() else _spawn(context, options.command_arguments)
    ending = _watch(context, context.runtime.held if process is None else partial(_is_running, process))
    if ending is Ending.BOX_ENDED:
        return _ended(context, 0 if process is None else process.wait())
    if ending is Ending.STOP:
        return _stop(options, process)
    print("The box keeps running. `dynamo-box up` shows it again, `dynamo-box stop` ends it.")
    return 0


def _watch(context: Context, is_alive: Callable[[], bool]) -> Ending:
    """First the start, in lines, so that how to connect stays in the terminal; then the console."""
    from appliance.tui.live import watch

    ending = watch(context.control, is_alive)
    if ending is not None:
        return ending
    from appliance.tui.session import show_console
    from appliance.tui.stance import Stance

    return show_console(context.runtime.socket, Stance(can_stop=True, is_alive=is_alive))


def _without_terminal(context: Context, options: argparse.Namespace) -> int:
    if not context.runtime.held():
        # What computes and routes is loaded where it runs, and not by who only looks at it.
        from appliance.commands import serve

        return serve.run(options)
    from appliance.api.views import BoxStatus
    from appliance.commands.banner import banner

    context.running()
    status = BoxStatus.told(context.control.get("/box/v1/status"))
    print(status.model_dump_json() if options.json else f"A box is already running.\n{banner(status)}")
    return 0


def _spawn(context: Context, arguments: list[str]) -> subprocess.Popen[bytes]:
    """The box as a process of its own, which outlives this terminal; its output goes to the log file.

    `serve` takes the same arguments as `up`.
    """
    log = _log(context)
    log.parent.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", "appliance.cli", "serve", *arguments]
    with log.open("wb") as stream:
        return subprocess.Popen(  # noqa: S603 – our own command line
            line, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def _stop(options: argparse.Namespace, process: subprocess.Popen[bytes] | None) -> int:
    options.now = False
    try:
        return stop.run(options)
    except NotRunning:
        if process is None:
            raise
        # So young that it cannot be found yet; its engines have not been started.
        process.terminate()
        process.wait()
        print("stopped")
        return 0


def _ended(context: Context, status: int) -> int:
    """A box that ended in order was stopped by somebody; any other has said why in its log."""
    if status != 0:
        raise StartError(_last_words(_log(context)), hint=f"The box's log: {_log(context)}")
    print("The box has ended.")
    return 0


def _log(context: Context) -> Path:
    return context.folders.data / "logs" / "box.log"


def _last_words(log: Path) -> str:
    """What the box said when it gave up: its own `dynamo-box:` line, else the last line of its log."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("dynamo-box: ")]
    return told[-1].removeprefix("dynamo-box: ") if told else (lines[-1] if lines else "the box ended without a word")
