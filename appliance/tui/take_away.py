"""What is seen, to take elsewhere: a list as Markdown or CSV, a screen as a picture."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path

from rich.segment import Segment

from appliance.tui.line import clean, text_of
from appliance.tui.widgets.table import Table


def table_as_markdown(table: Table) -> str:
    """All rows that are shown, with all columns, as they are written on the screen."""
    lines = [_row([column.name for column in table.columns]), _row(["---"] * len(table.columns))]
    for row in table.rows:
        cells = [column.show(value) for column, value in zip(table.columns, row.values, strict=True)]
        lines.append(_row([clean(one).replace("|", "\\|") for one in cells]))
    return "\n".join(lines) + "\n"


def table_as_csv(table: Table) -> str:
    """All rows that are shown, with all columns; numbers in full, unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows([["" if value is None else _inert(value) for value in row.values] for row in table.rows])
    return text.getvalue()


def screen_as_markdown(lines: Sequence[Sequence[Segment]]) -> str:
    return "```\n" + "\n".join(text_of(line).rstrip() for line in lines) + "\n```\n"


def file_for(page: str, ending: str) -> Path:
    """In the current folder, named after the screen and this second."""
    return Path.cwd() / f"dynamo-box-{page.lower()}-{time.strftime('%Y%m%d-%H%M%S')}.{ending}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _inert(value: str | float) -> str | float:
    """Names come from clients; a spreadsheet takes what begins so for a formula."""
    return f"'{clean(value)}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
