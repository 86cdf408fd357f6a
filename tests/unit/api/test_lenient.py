from __future__ import annotations

from appliance.api.fields import Fields
from appliance.api.lenient import Lenient
from appliance.conversation import Ignored


def reader(**values: object) -> tuple[Lenient, list[Ignored]]:
    ignored: list[Ignored] = []
    return Lenient(Fields(values, Fields({}), "nvext"), ignored), ignored


def test_a_wrong_value_counts_as_absent_and_is_told_with_its_path() -> None:
    fields, ignored = reader(osl="many", priority=3)
    assert (fields.integer("osl", 0), fields.integer("priority", 0)) == (None, 3)
    assert ignored == [Ignored("nvext.osl", "'many' is not allowed; use an integer ≥ 0")]


def test_an_absent_value_is_nothing_to_tell() -> None:
    fields, ignored = reader(osl=None)
    assert (fields.integer("osl", 0), fields.object("agent_hints"), fields.objects("retention", 4)) == (None, None, [])
    assert fields.part("agent_hints").flag("x") is None
    assert (ignored, fields.num_told) == ([], 0)


def test_what_nobody_read_is_told_with_the_nearest_name_that_was_read() -> None:
    fields, ignored = reader(priority=1, prioritty=2, zzz=3)
    fields.integer("priority", 0)
    fields.tell_rest()
    assert ignored == [
        Ignored("nvext.prioritty", "nothing here acts upon it (did you mean priority?)"),
        Ignored("nvext.zzz", "nothing here acts upon it"),
    ]


def test_readers_of_parts_tell_to_the_same_list() -> None:
    fields, ignored = reader(agent_hints={"a": {"b": []}})
    fields.part("agent_hints").part("a").string("b", 9)
    assert [entry.field for entry in ignored] == ["nvext.agent_hints.a.b"]
    assert fields.num_told == 1
