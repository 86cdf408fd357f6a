"""Chat completions, request side: files as parts of a message."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

from appliance.api.base64_text import decode_base64
from appliance.api.chat_reading import Reading
from appliance.api.fields import Fields
from appliance.conversation import Document
from appliance.errors import InvalidRequest

MAX_NAME_CHARACTERS: Final = 4096
TEXT_TYPES: Final = ("text/", "application/json", "application/xml", "application/x-yaml", "application/toml")
PDF_TYPE: Final = "application/pdf"

_DATA_URL: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,")


def decode_file(part: Fields, reading: Reading) -> tuple[Document, ...]:
    """A text or PDF that came with the request. Any other file is left out, and told.

    Raises `InvalidRequest` for data that is not what it says.
    """
    file = part.required_object("file")
    data = file.string("file_data")
    if data is None:
        reading.leave_out(file.path("file_id"), "no files are stored here; send the content as file_data")
        return ()
    media_type, content = _split(data)
    if media_type == PDF_TYPE:
        text = reading.pdf_texts.get(content)
    elif media_type.startswith(TEXT_TYPES):
        text = _text(file, content)
    else:
        text = None
    if text is None:
        reading.leave_out(file.path("file_data"), f"{media_type or 'this kind of file'} cannot be read here")
        return ()
    return (Document(text, file.short_string("filename", MAX_NAME_CHARACTERS)),)


def pdf_sources(body: Fields) -> Iterator[Fields]:
    """An object with the base64 `data` of each PDF file. Passes over what is wrong: decoding tells it."""
    for message in _objects(body, "messages"):
        for part in _objects(message, "content"):
            file = part.raw("file")
            data = file.get("file_data") if isinstance(file, dict) and part.raw("type") == "file" else None
            if isinstance(data, str):
                media_type, content = _split(data)
                if media_type == PDF_TYPE:
                    yield Fields({"data": content}, part.required_object("file"), "file_data")


def encode_file(document: Document) -> dict[str, Any]:
    """The part that decodes to `document`, but for its context and source, which this protocol cannot say."""
    content = binascii.b2a_base64(document.text.encode(), newline=False).decode()
    file = {"file_data": f"data:text/plain;base64,{content}"}
    return {"type": "file", "file": file if document.title is None else {"filename": document.title, **file}}


def _split(data: str) -> tuple[str, str]:
    """Media type and base64 content of a data URL; data that is no URL is of no type."""
    found = _DATA_URL.match(data)
    return (found[1].strip().lower(), data[found.end() :]) if found else ("", data)


def _text(file: Fields, content: str) -> str:
    path = file.path("file_data")
    try:
        return decode_base64(content).decode()
    except ValueError as error:
        raise InvalidRequest(f"{path}: not UTF-8 text in base64: {error}", param=path, code="invalid_value") from error


def _objects(fields: Fields, name: str) -> list[Fields]:
    value = fields.raw(name)
    return (
        [Fields(each, fields, name, position) for position, each in enumerate(value) if isinstance(each, dict)]
        if isinstance(value, list)
        else []
    )
