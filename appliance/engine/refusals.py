"""What vLLM refuses, as errors of a client's request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from vllm.exceptions import VLLMClientError

from appliance.errors import ContextTooLong, InvalidRequest


@contextmanager
def refusals() -> Iterator[None]:
    """What vLLM, its templates and its request refuse, as errors of a client's request."""
    try:
        yield
    except VLLMClientError as error:
        raise request_error(error) from error
    except ValidationError as error:
        raise _field_error(error) from error
    except (ValueError, TypeError) as error:
        raise InvalidRequest(first_line(error), param="messages") from error


def request_error(error: VLLMClientError) -> InvalidRequest | ContextTooLong:
    parameter = getattr(error, "parameter", None)
    message = error.args[0] if error.args else str(error)
    if parameter in ("input_tokens", "input_text"):
        return ContextTooLong(message, param="messages", code="context_length_exceeded")
    return InvalidRequest(message, param=parameter)


def _field_error(error: ValidationError) -> InvalidRequest:
    first = error.errors(include_url=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else None
    return InvalidRequest(f"{field or 'request'}: {first['msg']}", param=field)


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
