from __future__ import annotations

import pytest

from appliance.router.affinity import Affinity
from appliance.router.errors import IntegrityError


def test_a_session_is_where_it_was_last() -> None:
    affinity = Affinity()
    affinity.served("a", 1)
    affinity.served("a", 2)
    assert affinity.worker("a") == 2


def test_a_request_of_no_session_is_nowhere() -> None:
    affinity = Affinity()
    affinity.served(None, 1)
    assert (affinity.worker(None), affinity.worker("a"), len(affinity)) == (None, None, 0)


def test_ten_thousand_sessions_take_bounded_room_and_the_newest_are_known() -> None:
    affinity = Affinity(most_sessions=100)
    for number in range(10_000):
        affinity.served(f"s{number}", number % 4)
        affinity.served("kept", 3)
    assert len(affinity) == 100
    assert (affinity.worker("kept"), affinity.worker("s9999"), affinity.worker("s5")) == (3, 3, None)
    affinity.check_integrity()


def test_the_check_finds_too_many_sessions() -> None:
    affinity = Affinity(most_sessions=1)
    affinity._workers.update({"a": 1, "b": 2})
    with pytest.raises(IntegrityError, match="room for 1"):
        affinity.check_integrity()
