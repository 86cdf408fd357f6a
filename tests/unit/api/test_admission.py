from __future__ import annotations

import pytest

from appliance.api.admission import Admission
from appliance.api.problems import Overloaded


def test_one_more_than_the_limit_is_turned_away_and_counted() -> None:
    admission = Admission(1)
    with admission.slot():
        admission.check_integrity()
        with pytest.raises(Overloaded), admission.slot():
            raise AssertionError("there was no slot")
        assert (admission.in_flight, admission.refused) == (1, 1)
    assert admission.in_flight == 0


def test_an_error_gives_the_slot_back() -> None:
    admission = Admission(1)
    with pytest.raises(ZeroDivisionError), admission.slot():
        raise ZeroDivisionError
    assert admission.in_flight == 0
    admission.check_integrity()
