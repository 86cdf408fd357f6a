from __future__ import annotations

from appliance.settings_source import variable_name


def test_a_variable_has_two_underscores_between_parts() -> None:
    assert variable_name("cache.gpu.bytes") == "DYNAMO_BOX_CACHE__GPU__BYTES"
