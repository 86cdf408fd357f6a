from __future__ import annotations

from typing import Any

import pytest
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector
from vllm.v1.metrics.stats import PrefillStats

from appliance.engine.tier_reads import TierReads


@pytest.fixture
def processor() -> OutputProcessor:
    return OutputProcessor(tokenizer=None, log_stats=False)


def asked(processor: OutputProcessor, name: str, internal: str) -> RequestOutputCollector:
    params = SamplingParams(max_tokens=8, detokenize=False)
    request = EngineCoreRequest(
        request_id=internal,
        prompt_token_ids=list(range(100)),
        mm_features=None,
        sampling_params=params,
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
        external_req_id=name,
    )
    queue = RequestOutputCollector(params.output_kind, name)
    processor.add_request(request, None, None, 0, queue)
    return queue


def told(processor: OutputProcessor, internal: str, local: int, external: int, **fields: Any) -> None:
    stats = PrefillStats()
    stats.set(100, local, external)
    processor.process_outputs([EngineCoreOutput(internal, [7], prefill_stats=stats, **fields)])


def test_what_came_from_below_is_known_by_the_name_of_the_request_when_its_first_output_is_read(
    processor: OutputProcessor,
) -> None:
    reads = TierReads()
    reads.listen(processor)
    queue = asked(processor, "r.0", "internal")
    told(processor, "internal", 16, 48)
    output = queue.get_nowait()
    assert output is not None
    assert (output.request_id, output.num_cached_tokens) == ("r.0", 64)
    assert (reads.take("r.0"), reads.take("r.0"), len(reads)) == (48, 0, 0)


def test_of_what_was_on_the_gpu_nothing_is_kept(processor: OutputProcessor) -> None:
    reads = TierReads()
    reads.listen(processor)
    asked(processor, "r.0", "internal")
    told(processor, "internal", 64, 0)
    assert (len(reads), reads.take("r.0")) == (0, 0)


def test_of_requests_that_are_gone_nothing_is_kept(processor: OutputProcessor) -> None:
    reads = TierReads()
    reads.listen(processor)
    told(processor, "gone", 0, 64)
    assert len(reads) == 0
