from __future__ import annotations

import asyncio
import base64
import threading

import pytest

from appliance.api.documents import DocumentError, Documents, pdf_text
from appliance.api.fields import Fields
from appliance.api.messages_documents import pdf_sources
from appliance.errors import InvalidRequest


def pdf(text: str) -> bytes:
    """The least PDF with one page that shows `text`."""
    content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 612 792] >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    table = b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, rows)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(file))
    return file + table + trailer


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def source(content: bytes, name: str = "source") -> Fields:
    return Fields({"data": encoded(content)}, Fields({}), name)


class Extractor:
    """Decodes; counts how often, and how many at once."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.threads: set[int] = set()

    def __call__(self, content: bytes) -> str:
        self.calls.append(content)
        self.threads.add(threading.get_ident())
        return content.decode()


async def test_the_text_of_a_document_is_read_once_and_away_from_the_loop() -> None:
    extract = Extractor()
    documents = Documents(extract)
    for _ in range(2):
        assert await documents.read([source(b"A"), source(b"B"), source(b"A")]) == {
            encoded(b"A"): "A",
            encoded(b"B"): "B",
        }
    documents.check_integrity()
    assert extract.calls == [b"A", b"B"]
    assert threading.get_ident() not in extract.threads


async def test_the_texts_used_last_are_kept() -> None:
    extract = Extractor()
    documents = Documents(extract, max_characters=4)
    for content in (b"AA", b"BB", b"AA", b"CC", b"AA", b"BB", b"too long to keep"):
        await documents.read([source(content)])
        documents.check_integrity()
    assert extract.calls == [b"AA", b"BB", b"CC", b"BB", b"too long to keep"]


async def test_two_requests_with_one_document_keep_it_once() -> None:
    documents = Documents(Extractor())
    await asyncio.gather(*(documents.read([source(b"A")]) for _ in range(5)))
    documents.check_integrity()


async def test_a_document_that_cannot_be_read_is_named() -> None:
    def broken(_: bytes) -> str:
        raise DocumentError("this PDF cannot be read: no pages")

    with pytest.raises(InvalidRequest, match=r"source.data: this PDF cannot be read") as caught:
        await Documents(broken).read([source(b"A")])
    assert caught.value.param == "source.data"
    with pytest.raises(InvalidRequest, match="not base64"):
        await Documents(broken).read([Fields({"data": "?"})])
    with pytest.raises(InvalidRequest, match="there is no text in this PDF"):
        await Documents(lambda _: " \n").read([source(b"A")])


def test_the_sources_of_a_request_are_found_in_turns_and_in_results() -> None:
    def document(data: str, media_type: str = "application/pdf") -> dict[str, object]:
        return {"type": "document", "source": {"type": "base64", "media_type": media_type, "data": data}}

    messages = [
        {"role": "user", "content": "text"},
        {"role": "user", "content": [document("A"), document("no", "text/plain"), {"type": "document", "source": 5}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "content": [document("B")]}, {"type": "text", "text": "x"}],
        },
        {"role": "user", "content": ["wrong", document("no")]},
    ]
    found = list(pdf_sources(Fields({"messages": messages})))
    assert [fields.raw("data") for fields in found] == ["A", "B"]
    assert found[1].path("data") == "messages[2].content[0].content[0].source.data"
    wrong_turns: list[object] = [None, 5, [5], [None], [{"content": [[]]}]]
    for wrong in wrong_turns:
        assert list(pdf_sources(Fields({"messages": wrong}))) == []


def test_text_of_a_real_pdf() -> None:
    assert pdf_text(pdf("Hello from a page")).strip() == "Hello from a page"


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4", b"\x00" * 50, pdf("x")[:200]])
def test_a_broken_pdf_says_so(content: bytes) -> None:
    with pytest.raises(DocumentError):
        pdf_text(content)
