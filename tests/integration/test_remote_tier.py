"""A box with a remote store whose own disk is wiped: what it had computed is read from the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_disk_tier import kill_whole, serving
from tests.integration.test_host_tier import BLOCK_TOKENS
from tests.unit.keeper.servers import redis_server

pytestmark = pytest.mark.engine


def test_a_box_killed_whole_with_its_disk_wiped_reads_its_prompts_from_the_store(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        with serving(tmp_path, DYNAMO_BOX_CACHE__REMOTE__URL=server.url) as (box, process):
            cold = box.ask("lasting")
            stored = cold.prompt_tokens // BLOCK_TOKENS
            box.until(f"status['remote'] and status['remote']['written'] >= {stored}")
            kill_whole(process)
        (tmp_path / "kv.slab").unlink()
        with serving(tmp_path, DYNAMO_BOX_CACHE__REMOTE__URL=server.url) as (box, _):
            box.until("status['remote'] is not None")
            warm = box.ask("lasting")
            assert (cold.cached_tokens, warm.is_cached, warm.text) == (0, True, cold.text)
            assert warm.by_tier == {"gpu": 0, "host": 0, "disk": 0, "remote": warm.cached_tokens}
            status = box.until(f"status['disk']['used'] >= {stored}")
            assert (status["remote"]["reading"], status["remote"]["bad"]) == ("closed", 0)
            assert status["cache_since_start"]["remote_tokens"] == warm.cached_tokens
            assert "remote" in {tier["tier"] for tier in box.command("stats")["tiers"]}
            server.process.kill()
            assert box.ask("without a store", max_tokens=1).prompt_tokens
            assert box.ask("lasting").text == cold.text
