from __future__ import annotations

import pytest

from appliance.engine.model_profile import FAMILIES, GENERIC_REASONING, TAGGED_REASONING, TEMPLATE_TOOLS


@pytest.mark.engine
@pytest.mark.filterwarnings("ignore")  # importing vLLM meets deprecations of its own dependencies
def test_every_parser_of_the_table_is_registered_in_the_installed_engine() -> None:
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    tool_parsers = {family.profile.tool_parser for family in FAMILIES} | {parser for _, parser in TEMPLATE_TOOLS}
    reasoning_parsers = {family.profile.reasoning_parser for family in FAMILIES} | {GENERIC_REASONING}

    assert tool_parsers - {None} <= set(ToolParserManager.list_registered())
    assert reasoning_parsers - {None} <= set(ReasoningParserManager.list_registered())
    assert reasoning_parsers >= TAGGED_REASONING
