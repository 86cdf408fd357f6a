"""Messages API, request side: images, documents and search results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from appliance.api.base64_text import decode_base64
from appliance.api.fields import Fields
from appliance.api.messages_content import BlockDecoder, decode_blocks, decode_content, decode_text, present_string
from appliance.api.messages_reading import Reading
from appliance.conversation import Block, CacheMark, Document, Image, Text
from appliance.errors import InvalidRequest

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
IMAGE_SOURCES: Final = ("base64", "url", "file")
DOCUMENT_SOURCES: Final = ("base64", "text", "content", "url", "file")
PDF_TYPE: Final = "application/pdf"
MAX_NAME_CHARACTERS: Final = 4096


def decode_image(fields: Fields, _: Reading) -> tuple[Block, ...]:
    source = fields.required_object("source")
    kind = _source_kind(source, IMAGE_SOURCES)
    if kind == "file":
        raise _no_files(source)
    if kind == "url":
        url = source.required_string("url")
        if not url.startswith(("https://", "http://")):
            raise source.refuse("url", "an http(s) URL")
        return (Image(url),)
    media_type = source.choice("media_type", IMAGE_TYPES)
    if media_type is None:
        raise source.refuse("media_type", f"one of {', '.join(IMAGE_TYPES)}")
    return (Image(f"data:{media_type};base64,{_checked_base64(source)}"),)


def decode_document(fields: Fields, reading: Reading) -> tuple[Block, ...]:
    """One `Document`, and after it the images that its content holds."""
    source = fields.required_object("source")
    kind = _source_kind(source, DOCUMENT_SOURCES)
    _tell_citations(fields, reading)
    title = fields.short_string("title", MAX_NAME_CHARACTERS)
    context = fields.string("context") or None
    if kind == "content":
        parts = decode_content(source, DOCUMENT_KINDS, reading)
        images = [part for part in parts if isinstance(part, Image)]
        document = Document(_joined(parts), title, context, mark=_last_mark(parts))
        return (document, *images)
    return (Document(_document_text(source, kind, reading), title, context),)


def decode_search_result(fields: Fields, reading: Reading) -> tuple[Block, ...]:
    if not isinstance(fields.raw("content"), list):
        raise fields.refuse("content", "an array of text blocks")
    parts = decode_blocks(fields.objects("content"), TEXT_KINDS, reading)
    _tell_citations(fields, reading)
    title = fields.short_string("title", MAX_NAME_CHARACTERS)
    source = fields.required_string("source")
    return (Document(_joined(parts), title, source=source, mark=_last_mark(parts)),)


def pdf_sources(body: Fields) -> Iterator[Fields]:
    """The sources of all PDF documents in a request. Passes over what is wrong: decoding tells it."""
    for message in _objects(body, "messages"):
        for block in _objects(message, "content"):
            yield from _pdf_source(block)
            for inner in _objects(block, "content") if block.raw("type") == "tool_result" else ():
                yield from _pdf_source(inner)


def _pdf_source(block: Fields) -> Iterator[Fields]:
    if block.raw("type") == "document" and isinstance(block.raw("source"), dict):
        source = block.required_object("source")
        if source.raw("type") == "base64" and source.raw("media_type") == PDF_TYPE:
            yield source


def _objects(fields: Fields, name: str) -> list[Fields]:
    value = fields.raw(name)
    is_list = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return fields.objects(name) if is_list else []


def _document_text(source: Fields, kind: str, reading: Reading) -> str:
    if kind == "file":
        raise _no_files(source)
    if kind == "url":
        path = source.path("url")
        message = f"{path}: this box does not fetch documents; send the document itself, in base64 or as text"
        raise InvalidRequest(message, param=path, code="unsupported")
    wanted = "text/plain" if kind == "text" else PDF_TYPE
    if source.raw("media_type") != wanted:
        raise source.refuse("media_type", f'"{wanted}" for a source of type {kind}')
    if kind == "text":
        return present_string(source, "data")
    return reading.pdf_texts[source.required_string("data")]


def _source_kind(source: Fields, kinds: tuple[str, ...]) -> str:
    kind = source.choice("type", kinds)
    if kind is None:
        raise source.refuse("type", f"one of {', '.join(kinds)}")
    return kind


def _checked_base64(source: Fields) -> str:
    data = source.required_string("data")
    try:
        decode_base64(data)
    except ValueError as error:
        raise InvalidRequest(f"{source.path('data')} is not base64: {error}", param=source.path("data")) from error
    return data


def _no_files(source: Fields) -> InvalidRequest:
    path = source.path("file_id")
    return InvalidRequest(f"{path}: this box stores no files; send the content itself", param=path, code="unsupported")


def _tell_citations(fields: Fields, reading: Reading) -> None:
    citations = fields.object("citations")
    if citations is not None and citations.flag("enabled"):
        reading.leave_out(fields.path("citations"), "answers carry no citations")


def _joined(parts: tuple[Block, ...]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, Text))


def _last_mark(parts: tuple[Block, ...]) -> CacheMark | None:
    """A mark inside a document is one on all of it; an image after it carries its own."""
    return next((part.mark for part in reversed(parts) if isinstance(part, Text) and part.mark is not None), None)


TEXT_KINDS: Final[dict[str, BlockDecoder]] = {"text": decode_text}
DOCUMENT_KINDS: Final[dict[str, BlockDecoder]] = {"text": decode_text, "image": decode_image}
