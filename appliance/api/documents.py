"""The text of PDF documents."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from appliance.api.base64_text import decode_base64
from appliance.api.fields import Fields
from appliance.errors import InvalidRequest

MAX_PAGES: Final = 600
MAX_AT_ONCE: Final = 2
MAX_KEPT_CHARACTERS: Final = 16_000_000


class DocumentError(Exception):
    """A document that no text can be read from; `str(error)` says why."""


class Documents:
    """Reads PDF documents, in threads, and remembers the texts that were used last: a client sends its documents again
    with every turn. Holds at most `max_characters` of text."""

    def __init__(
        self, extract: Callable[[bytes], str] | None = None, max_characters: int = MAX_KEPT_CHARACTERS
    ) -> None:
        self._extract = extract or pdf_text
        self._max_characters = max_characters
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._num_characters = 0
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def read(self, sources: Iterable[Fields]) -> dict[str, str]:
        """The text of each source's base64 `data`, by that data. Raises `InvalidRequest` naming the source."""
        texts: dict[str, str] = {}
        for source in sources:
            data = source.required_string("data")
            if data not in texts:
                texts[data] = await self._text(source, data)
        return texts

    def check_integrity(self) -> None:
        counted = sum(map(len, self._texts.values()))
        if counted != self._num_characters or counted > self._max_characters:
            raise AssertionError(f"{counted} characters held, {self._num_characters} counted")

    async def _text(self, source: Fields, data: str) -> str:
        key = await asyncio.to_thread(_digest, data)
        known = self._texts.get(key)
        if known is not None:
            self._texts.move_to_end(key)
            return known
        try:
            async with self._turns:
                text = await asyncio.to_thread(self._read, data)
        except DocumentError as error:
            path = source.path("data")
            raise InvalidRequest(f"{path}: {error}", param=path, code="unreadable_document") from error
        self._keep(key, text)
        return text

    def _read(self, data: str) -> str:
        try:
            content = decode_base64(data)
        except ValueError as error:
            raise DocumentError(f"not base64: {error}") from error
        text = self._extract(content)
        if not text.strip():
            raise DocumentError("there is no text in this PDF; pages that are pictures cannot be read here")
        return text

    def _keep(self, key: bytes, text: str) -> None:
        """No-op for a text that is known by now or larger than all that is kept."""
        if key in self._texts or len(text) > self._max_characters:
            return
        self._texts[key] = text
        self._num_characters += len(text)
        while self._num_characters > self._max_characters:
            self._num_characters -= len(self._texts.popitem(last=False)[1])


def _digest(data: str) -> bytes:
    return hashlib.sha256(data.encode()).digest()


def pdf_text(content: bytes) -> str:
    """The text of all pages. Raises `DocumentError`."""
    from pypdf import PdfReader

    try:
        pages = PdfReader(io.BytesIO(content)).pages
        num_pages = len(pages)
        texts = [page.extract_text() for page in pages] if num_pages <= MAX_PAGES else []
    except Exception as error:  # the border to a parser of foreign files, which fails in any way a file can be broken
        raise DocumentError(f"this PDF cannot be read: {error}") from error
    if num_pages > MAX_PAGES:
        raise DocumentError(f"this PDF has {num_pages} pages; at most {MAX_PAGES} are read")
    return "\n\n".join(texts)
