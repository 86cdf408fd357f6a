"""Options of OpenAI's generating routes: how to draw tokens, what form they take, how to send them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from appliance.api.fields import INT64_MAX, Fields, is_integer, is_number, refusal
from appliance.conversation import OutputFormat, OutputKind, Sampling

MAX_STOPS = 16
MAX_CHOICES = 16
MAX_TOP_LOGPROBS = 20
OUTPUT_KINDS = tuple(str(kind) for kind in OutputKind)
INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """`continuous_usage` tells the counts so far with every chunk, besides the exact ones at the end."""

    streams: bool
    include_usage: bool = False
    continuous_usage: bool = False


def decode_stream_options(body: Fields) -> StreamOptions:
    streams = body.flag("stream") or False
    options = body.object("stream_options")
    if options is None:
        return StreamOptions(streams)
    if not streams:
        raise body.refuse("stream_options", 'it only together with "stream": true')
    include_usage, continuous = options.flag("include_usage") or False, options.flag("continuous_usage_stats") or False
    return StreamOptions(streams, include_usage, include_usage and continuous)


def decode_output_format(body: Fields) -> OutputFormat:
    fields = body.object("response_format")
    if fields is None:
        return OutputFormat()
    kind = fields.choice("type", OUTPUT_KINDS)
    if kind is None:
        raise fields.refuse("type", f"one of {', '.join(OUTPUT_KINDS)}")
    if kind != OutputKind.JSON_SCHEMA:
        return OutputFormat(OutputKind(kind))
    schema = fields.required_object("json_schema")
    return OutputFormat(
        OutputKind.JSON_SCHEMA,
        schema=schema.required_object("schema").values(),
        name=schema.string("name"),
        strict=schema.flag("strict"),
    )


def decode_sampling(body: Fields) -> Sampling:
    return replace(decode_plain_sampling(body), logprobs=_decode_logprobs(body))


def decode_plain_sampling(body: Fields) -> Sampling:
    """Without logprobs, which protocols ask for in different words."""
    max_tokens = body.integer("max_tokens", 1)
    max_completion_tokens = body.integer("max_completion_tokens", 1)
    limit = max_tokens if max_completion_tokens is None else max_completion_tokens
    min_tokens = body.integer("min_tokens", 0)
    if min_tokens is not None and limit is not None and min_tokens > limit:
        raise body.refuse("min_tokens", f"at most the token limit, {limit}")
    return Sampling(
        max_tokens=limit,
        min_tokens=min_tokens,
        temperature=body.number("temperature", 0, 2),
        top_p=body.number("top_p", 0, 1, above_low=True),
        top_k=body.integer("top_k", -1),
        min_p=body.number("min_p", 0, 1),
        frequency_penalty=body.number("frequency_penalty", -2, 2),
        presence_penalty=body.number("presence_penalty", -2, 2),
        repetition_penalty=body.number("repetition_penalty", 0, INFINITY, above_low=True),
        seed=body.integer("seed", -INT64_MAX - 1),
        stop=_decode_stop(body),
        stop_token_ids=_decode_stop_token_ids(body),
        ignore_eos=body.flag("ignore_eos") or False,
        logit_bias=_decode_logit_bias(body),
        n=body.integer("n", 1, MAX_CHOICES) or 1,
    )


def _decode_stop(body: Fields) -> tuple[str, ...]:
    value = body.raw("stop")
    stops = [value] if isinstance(value, str) else body.array("stop") or []
    if len(stops) > MAX_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise body.refuse("stop", f"a string or an array of at most {MAX_STOPS} strings, none empty")
    return tuple(stops)


def _decode_stop_token_ids(body: Fields) -> tuple[int, ...]:
    ids = body.array("stop_token_ids") or []
    if not all(is_integer(token) and token >= 0 for token in ids):
        raise body.refuse("stop_token_ids", "an array of token ids (integers ≥ 0)")
    return tuple(map(int, ids))


def _decode_logprobs(body: Fields) -> int | None:
    wanted = body.flag("logprobs") or False
    alternatives = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if alternatives is not None and not wanted:
        raise body.refuse("top_logprobs", 'it only together with "logprobs": true')
    return (alternatives or 0) if wanted else None


def _decode_logit_bias(body: Fields) -> Mapping[str, float] | None:
    biases = body.mapping("logit_bias")
    if biases is None:
        return None
    for token, bias in biases.items():
        if not (token.isascii() and token.isdecimal()):
            raise refusal("logit_bias", token, "token ids as keys")
        if not (is_number(bias) and -100 <= bias <= 100):
            raise refusal(f"logit_bias.{token}", bias, "a number from -100 to 100")
    return {token: float(bias) for token, bias in biases.items()}
