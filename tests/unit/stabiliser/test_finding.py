from __future__ import annotations

import time

from appliance.stabiliser.finding import either, lines, outside_fences, sections

COLOUR = lines("colour:", lambda value: value in {"red", "blue"})
BOX = sections("<box>", "</box>")


def found(find: object, text: str) -> list[str]:
    assert callable(find)
    return [text[span.start : span.end] for span in find(text)]


def test_a_line_is_found_with_its_break_whatever_its_case_and_bullet() -> None:
    text = "colour: red\n  - Colour: blue\n**colour:** red\nno\ncolour: red"
    assert found(COLOUR, text) == ["colour: red\n", "  - Colour: blue\n", "**colour:** red\n", "colour: red"]


def test_a_label_inside_a_line_or_with_another_value_is_not_found() -> None:
    assert found(COLOUR, "my colour: red\ncolour: green\ncolour: `red`\ncolour:\nred") == []


def test_a_section_goes_from_the_first_opening_to_the_next_closing() -> None:
    text = "a\n<box>\n<box>\nb\n</box>\nc\n</box>\n<box>\nd\n</box>"
    assert found(BOX, text) == ["<box>\n<box>\nb\n</box>\n", "<box>\nd\n</box>"]


def test_a_section_that_does_not_end_is_not_found() -> None:
    assert found(BOX, "</box>\n<box>\na") == []


def test_of_spans_that_overlap_the_first_stays() -> None:
    text = "<box>\ncolour: red\n</box>\ncolour: blue\n"
    assert found(either(COLOUR, BOX), text) == ["<box>\ncolour: red\n</box>\n", "colour: blue\n"]


def test_what_stands_in_a_fence_or_cuts_one_is_left() -> None:
    text = "colour: red\n```\ncolour: blue\n```\ncolour: red\n"
    assert [span.start for span in outside_fences(text, COLOUR(text))] == [0, 33]
    torn = "<box>\n```\n</box>\n```\n"
    assert list(outside_fences(torn, BOX(torn))) == []


def test_openings_without_end_take_linear_time() -> None:
    began = time.perf_counter()
    assert found(BOX, "<box>\n" * 100_000) == []
    assert found(COLOUR, "colour:" + " " * 100_000 + "x\n" + "\t" * 100_000) == []
    assert time.perf_counter() - began < 1
