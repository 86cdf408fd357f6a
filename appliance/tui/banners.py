"""What must be said at the top, since the rest of the screen would mislead without it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.style import Style

from appliance import __version__
from appliance.tui import figures, ink
from appliance.tui.frame import Frame

Banner = tuple[str, Style]


def banners(
    frame: Frame, *, is_read_only: bool = False, is_local: bool = True, retry_seconds: float | None = None
) -> list[Banner]:
    """The worst first."""
    of_reach = _of_reach(is_read_only=is_read_only, is_local=is_local)
    return [*_lost(frame, retry_seconds), *_of_box(frame), *_problems(frame), *of_reach]


def _lost(frame: Frame, retry_seconds: float | None) -> Iterator[Banner]:
    if frame.lost is None:
        return
    again = "" if retry_seconds is None else f"; asked again in {figures.seconds(retry_seconds)}"
    said = "" if frame.said_at is None else f" What you see is from {figures.clock(frame.said_at)}."
    yield f"connection lost: {frame.lost}{again}.{said}", ink.ALARM


def _of_box(frame: Frame) -> Iterator[Banner]:
    status = frame.status
    if status is None:
        return
    if status.version != __version__:
        yield (
            f"the box is dynamo-box {status.version}, this console is {__version__}: figures may be missing",
            ink.BANNER,
        )
    drifting = [worker.id for worker in status.workers if worker.phase == "running" and not worker.index_in_step]
    if drifting:
        who = ", ".join(map(str, drifting))
        yield f"mirror not in step with worker {who}: what is shown of its cache may be wrong", ink.BANNER
    if status.evictions.dropped:
        yield (
            f"{figures.plural(status.evictions.dropped, 'eviction')} went untold: lists of evictions have gaps",
            ink.BANNER,
        )


def _problems(frame: Frame) -> Iterator[Banner]:
    for feed, problem in frame.problems.items():
        yield f"{feed} cannot be shown: {problem}", ink.BANNER


def _of_reach(*, is_read_only: bool, is_local: bool) -> Iterator[Banner]:
    if is_read_only:
        why = "" if is_local else ": the box is on another machine (--no-read-only allows changes)"
        yield f"read-only{why}", ink.QUIET
