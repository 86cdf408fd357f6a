"""Responses, request side: the parts of a message or of a tool's output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from appliance.api.base64_text import decode_base64
from appliance.api.fields import Fields
from appliance.api.responses_reading import Reading
from appliance.conversation import Document, Image, Text
from appliance.errors import InvalidRequest

# "original" is OpenAI's word for an image that is not made smaller.
IMAGE_DETAILS: Final = {"auto": "auto", "low": "low", "high": "high", "original": "high"}
PDF_PREFIX: Final = "data:application/pdf;base64,"
PDF_MAGIC_BASE64: Final = "JVBERi0"
MAX_NAME_CHARACTERS: Final = 4096
NESTED_PARTS: Final = ("content", "output")

Part = Text | Image | Document
PartDecoder = Callable[[Fields, Reading], Part | None]


def decode_parts(fields: Fields, name: str, kinds: Mapping[str, PartDecoder], reading: Reading) -> tuple[Part, ...]:
    """The field `name`: a string, which is one text, or an array of parts of these `kinds`. A file that is not in the
    request itself is left out and told."""
    content = fields.raw(name)
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        raise fields.refuse(name, "a string or an array of parts")
    parts = (_decode_part(part, kinds, reading) for part in fields.objects(name))
    return tuple(part for part in parts if part is not None)


def joined_text(fields: Fields, name: str) -> str:
    """The texts of an array of parts that are all text; empty when there is no array."""
    return "".join(_present_string(part, "text") for part in fields.objects(name))


def pdf_sources(items: Iterable[Fields]) -> Iterator[Fields]:
    """An object with base64 `data` for each PDF file in the items. Passes over what is wrong: decoding tells it."""
    for item in items:
        for name in NESTED_PARTS:
            for part in _objects(item, name):
                data = part.raw("file_data") if part.raw("type") == "input_file" else None
                if isinstance(data, str) and _is_pdf(data):
                    yield Fields({"data": _payload(data)}, part, "file_data")


def _decode_part(fields: Fields, kinds: Mapping[str, PartDecoder], reading: Reading) -> Part | None:
    kind = fields.raw("type")
    decoder = kinds.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise fields.refuse("type", f"one of {', '.join(kinds)} here")
    return decoder(fields, reading)


def _decode_text(fields: Fields, reading: Reading) -> Text:
    return Text(_present_string(fields, "text"), reading.mark(fields))


def _decode_refusal(fields: Fields, reading: Reading) -> Text:
    return Text(_present_string(fields, "refusal"), reading.mark(fields))


def _decode_image(fields: Fields, reading: Reading) -> Image | None:
    url = fields.string("image_url")
    if url is None and fields.raw("file_id") is not None:
        reading.leave_out(fields.path("file_id"), "no files are stored here; send the picture in image_url")
        return None
    if url is None or not url.startswith(("data:image/", "https://", "http://")):
        raise fields.refuse("image_url", "a data:image/… URL or an http(s) URL")
    detail = fields.choice("detail", IMAGE_DETAILS)
    return Image(url, None if detail is None else IMAGE_DETAILS[detail], reading.mark(fields))


def _decode_file(fields: Fields, reading: Reading) -> Document | None:
    name = fields.short_string("filename", MAX_NAME_CHARACTERS)
    data = fields.string("file_data")
    if not data:
        elsewhere = next((other for other in ("file_id", "file_url") if fields.raw(other) is not None), None)
        if elsewhere is None:
            raise fields.refuse("file_data", "the file in base64, as a data: URL")
        reading.leave_out(fields.path(elsewhere), "no files are stored or fetched here; send the file in file_data")
        return None
    text = reading.pdf_texts.get(_payload(data)) if _is_pdf(data) else _file_text(fields, _payload(data))
    if text is None:
        reading.leave_out(fields.path("file_data"), "this kind of file cannot be read here")
        return None
    return Document(text, name, mark=reading.mark(fields))


def _file_text(fields: Fields, payload: str) -> str | None:
    """`None` for a file that is no text."""
    try:
        return decode_base64(payload).decode()
    except UnicodeDecodeError:
        return None
    except ValueError as error:
        path = fields.path("file_data")
        raise InvalidRequest(f"{path}: not base64: {error}", param=path, code="invalid_value") from error


def _is_pdf(data: str) -> bool:
    """What data is that has no head, only its first bytes tell."""
    return data.startswith((PDF_PREFIX, PDF_MAGIC_BASE64))


def _payload(data: str) -> str:
    """What stands behind the head of a data URL; all of it when it is none."""
    return data.partition(",")[2] if data.startswith("data:") else data


def _objects(fields: Fields, name: str) -> list[Fields]:
    value: Any = fields.raw(name)
    is_list = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return fields.objects(name) if is_list else []


def _present_string(fields: Fields, name: str) -> str:
    value = fields.string(name)
    if value is None:
        raise fields.refuse(name, "a string")
    return value


TEXT_PARTS: Final[Mapping[str, PartDecoder]] = {
    "input_text": _decode_text,
    "output_text": _decode_text,
    "text": _decode_text,
    "refusal": _decode_refusal,
}
INPUT_PARTS: Final[Mapping[str, PartDecoder]] = {
    **TEXT_PARTS,
    "input_image": _decode_image,
    "computer_screenshot": _decode_image,
    "input_file": _decode_file,
}
