"""The codec of `POST /v1/completions`: a prompt that no template touches, and its continuations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from appliance.api import sse
from appliance.api.chat_options import (
    MAX_TOP_LOGPROBS,
    StreamOptions,
    decode_output_format,
    decode_plain_sampling,
    decode_stream_options,
)
from appliance.api.codec import Reply, Stamp
from appliance.api.completions_prompt import decode_prompt
from appliance.api.completions_reply import StreamReply, WholeReply
from appliance.api.extension import decode_extension
from appliance.api.fields import Fields
from appliance.api.identity import MAX_ID_CHARACTERS, identify
from appliance.api.offload import HERE, Offload
from appliance.api.postscript import Postscript
from appliance.api.problems import Problem, encode_openai_error, openai_problem
from appliance.conversation import Conversation, RawPrompt, Sampling
from appliance.errors import InvalidRequest, RequestError

DEFAULT_MAX_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class CompletionsCall:
    """One decoded request. `openings` are what the choices begin with: the prompt, where it is to be echoed."""

    conversation: Conversation
    options: StreamOptions
    openings: list[str]

    @property
    def streams(self) -> bool:
        return self.options.streams

    def reply(self, stamp: Stamp) -> Reply:
        model = self.conversation.model
        postscript = Postscript(self.conversation, stamp.id)
        if self.streams:
            return StreamReply(stamp, model, postscript, self.openings, self.options)
        with_logprobs = self.conversation.sampling.logprobs is not None
        return WholeReply(stamp, model, postscript, self.openings, with_logprobs=with_logprobs)


class CompletionsCodec:
    """OpenAI's first protocol, with `nvext`. For an inference that takes several prompts (`BatchInference`)."""

    id_prefix = "cmpl-"

    async def decode(
        self, body: Mapping[str, Any], headers: Mapping[str, str], offload: Offload = HERE
    ) -> CompletionsCall:
        fields = Fields(body)
        options = decode_stream_options(fields)
        conversation = await offload.run(decode_conversation, fields, headers)
        openings = _openings(fields, conversation)
        return CompletionsCall(conversation, options, openings)

    def problem(self, error: RequestError, request_id: str) -> Problem:
        return openai_problem(error, request_id)

    def encode_stream_error(self, error: RequestError, request_id: str) -> bytes:  # noqa: ARG002 – other protocols tell it
        return sse.frame(encode_openai_error(error)) + sse.DONE


def decode_conversation(fields: Fields, headers: Mapping[str, str]) -> Conversation:
    """Raises `InvalidRequest` naming the first field that is wrong. Fields that are not known are ignored."""
    extension = decode_extension(fields, headers)
    sampling = _decode_sampling(fields)
    _refuse_unserved(fields, sampling)
    return Conversation(
        model=fields.required_string("model"),
        messages=(),
        sampling=sampling,
        output_format=decode_output_format(fields),
        cache_salt=extension.cache_salt or fields.string("cache_salt") or None,
        identity=identify(
            headers,
            session_id=fields.short_string("prompt_cache_key", MAX_ID_CHARACTERS),
            user=fields.short_string("user", MAX_ID_CHARACTERS),
            stated=extension.session,
        ),
        hints=extension.hints,
        reporting=extension.reporting,
        raw=decode_prompt(fields),
    )


def _decode_sampling(fields: Fields) -> Sampling:
    sampling = decode_plain_sampling(fields)
    return replace(
        sampling,
        max_tokens=DEFAULT_MAX_TOKENS if sampling.max_tokens is None else sampling.max_tokens,
        logprobs=fields.integer("logprobs", 0, MAX_TOP_LOGPROBS),
    )


def _refuse_unserved(fields: Fields, sampling: Sampling) -> None:
    if fields.string("suffix"):
        raise InvalidRequest("suffix: no model here fills in the middle", param="suffix", code="unsupported_parameter")
    if (fields.integer("best_of", 1) or sampling.n) > sampling.n:
        raise fields.refuse("best_of", f"at most n, {sampling.n}: every choice that is made is returned")


def _openings(fields: Fields, conversation: Conversation) -> list[str]:
    """One for each choice, those of a prompt side by side."""
    raw, num_choices = conversation.raw or RawPrompt(), conversation.sampling.n
    prompts = (raw, *raw.more)
    if not fields.flag("echo"):
        return [""] * (len(prompts) * num_choices)
    if raw.text is None:
        raise fields.refuse("echo", "it only where prompt is text")
    if conversation.sampling.logprobs is not None:
        raise fields.refuse("echo", "it only without logprobs: those of a prompt are not known here")
    return [prompt.text or "" for prompt in prompts for _ in range(num_choices)]
