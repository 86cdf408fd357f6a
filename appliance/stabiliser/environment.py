"""What agents tell in the system prompt about the session and the machine they run in."""

from __future__ import annotations

import re

from appliance.stabiliser.finding import either, lines, sections, whole
from appliance.stabiliser.text_rule import Fate, TextRule

_ID = re.compile(r"(?=.*\d)[\w.:-]{8,128}")

_ENV_BLOCK = sections(
    r"(?:Here is (?:some )?useful information about the environment you are running in:[ \t]*\n)?<env>[ \t]*",
    r"</env>[ \t]*",
)
_ENV_BULLETS = whole(
    r"(?:# Environment[ \t]*\n\n?)?You have been invoked in the following environment:[ \t]*(?:\n[ \t]+- [^\n]*)*"
)
_GIT_STATUS = sections(
    r"gitStatus: This is the git status [^\n]*", r"Recent commits:[ \t]*(?:\n[0-9a-f]{7,40} [^\n]*)*"
)
_GIT_STATUS_BLOCK = sections(r"<git_status>[ \t]*", r"</git_status>[ \t]*")


def _is_path(value: str) -> bool:
    """Whether a value is an absolute path, with no sentence behind it."""
    return (value.startswith(("/", "~")) or value[1:3] in (":\\", ":/")) and ". " not in value


def _is_id(value: str) -> bool:
    return _ID.fullmatch(value) is not None


ENVIRONMENT = TextRule(
    "environment", either(_ENV_BLOCK, _ENV_BULLETS, lines("current working directory:", _is_path)), Fate.TO_START
)
GIT_STATUS = TextRule("git_status", either(_GIT_STATUS, _GIT_STATUS_BLOCK), Fate.TO_START)
SESSION_IDS = TextRule(
    "session_ids", lines(r"(?:session|conversation)[ _-]?id(?:\*\*)?[ \t]*[:=]", _is_id), Fate.TO_START
)
