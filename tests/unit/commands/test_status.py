from __future__ import annotations

from appliance.api.views import BoxStatus
from appliance.runtime import Runtime
from tests.unit.commands.answering_box import ENDPOINT, status
from tests.unit.commands.conftest import Place


def test_json_is_the_view_model(place: Place, box: Runtime) -> None:
    answer = place.command("status", "--json")
    assert answer.code == 0
    assert BoxStatus.model_validate(answer.json) == status()


def test_text_names_the_endpoint_and_every_worker(place: Place, box: Runtime) -> None:
    answer = place.command("status")
    assert answer.code == 0
    assert f"{ENDPOINT}/v1" in answer.out
    assert [line.split()[0] for line in answer.out.splitlines()[-2:]] == ["0", "1"]
