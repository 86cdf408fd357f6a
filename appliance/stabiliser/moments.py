"""Dates and times of day in the system prompt: "Today's date: …", "Current date and time: …"."""

from __future__ import annotations

import re

from appliance.stabiliser.finding import lines
from appliance.stabiliser.text_rule import Fate, TextRule

MAX_CHARACTERS = 100

_LABEL = (
    r"today['’]s[ \t]+date|today[ \t]+is|"
    r"(?:the[ \t]+)?current[ \t]+(?:local[ \t]+)?(?:date(?:[ \t]*(?:/|and|&)[ \t]*time)?|datetime|time)"
)
_SIGN = r"(?:[ \t]+is(?:[ \t]+now)?)?(?:\*\*)?(?:[ \t]*:|(?<=[ \t]is)|(?<=[ \t]now))"
_YEAR = re.compile(r"\b(?:19|20)\d\d")
_TIME_OF_DAY = re.compile(r"\d:\d\d|\d[ \t]?[ap]m\b", re.IGNORECASE)
_ASIDE = re.compile(r"\([^()]*\)|(?<=\d)[snrt][tdh]\b")
_WORD = re.compile(r"[^\W\d_]+(?:[/_][^\W\d_]+)*")
_KNOWN_WORD = re.compile(
    r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?|"
    r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?|at|of|the|am|pm|t|z|utc|gmt|\w+/[\w/]+",
    re.IGNORECASE,
)
_ZONE = re.compile(r"[A-Z]{2,5}")


def is_date(value: str) -> bool:
    """Whether a value is a date and nothing else."""
    return _is_moment(value) and _YEAR.search(value) is not None and _TIME_OF_DAY.search(value) is None


def is_time(value: str) -> bool:
    """Whether a value is a time of day, with a date or without, and nothing else."""
    return _is_moment(value) and _TIME_OF_DAY.search(value) is not None


def _is_moment(value: str) -> bool:
    """Whether all words are those of dates: an instruction in the same line must not move along."""
    if len(value) > MAX_CHARACTERS:
        return False
    words = _WORD.findall(_ASIDE.sub("", value))
    return all(_KNOWN_WORD.fullmatch(word) or _ZONE.fullmatch(word) for word in words)


DATES = TextRule("dates", lines(f"(?:{_LABEL}){_SIGN}", is_date), Fate.TO_START)
CLOCK = TextRule("clock", lines(f"(?:{_LABEL}){_SIGN}", is_time), Fate.TO_END)
