from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.chat import ChatCodec, decode_conversation
from appliance.api.chat_files import decode_file, encode_file, pdf_sources
from appliance.api.chat_reading import Reading
from appliance.api.diagnostics import Diagnostics
from appliance.api.documents import Documents
from appliance.api.fields import Fields
from appliance.conversation import CacheMark, Document, Ignored, Text
from appliance.errors import InvalidRequest


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def file_part(data: str | None, **fields: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data, **fields}}


def body_of(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": list(parts)}]}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@given(st.builds(Document, texts, st.one_of(st.none(), texts.filter(bool))))
def test_a_text_file_is_a_document(document: Document) -> None:
    assert decode_file(Fields(encode_file(document)), Reading()) == (document,)


def test_a_file_carries_a_mark_and_keeps_its_place() -> None:
    file = file_part(f"data:text/markdown;charset=utf-8;base64,{encoded('# A')}", filename="a.md")
    body = body_of({"type": "text", "text": "Look:"}, file | {"cache_control": {"type": "ephemeral"}})
    assert decode_conversation(body, {}).messages[0].blocks == (
        Text("Look:"),
        Document("# A", "a.md", mark=CacheMark(300)),
    )


async def test_the_text_of_a_pdf_is_read_by_the_codec() -> None:
    codec = ChatCodec(diagnostics=Diagnostics(4), documents=Documents(extract=lambda content: content.decode() + "!"))
    file = file_part(f"data:application/pdf;base64,{encoded('page')}", filename="a.pdf")
    call = await codec.decode(body_of(file, file), {})
    assert call.conversation.messages[0].blocks == (Document("page!", "a.pdf"),) * 2


async def test_a_pdf_that_cannot_be_read_is_named() -> None:
    codec = ChatCodec(diagnostics=Diagnostics(4))
    with pytest.raises(InvalidRequest) as caught:
        await codec.decode(body_of(file_part("data:application/pdf;base64,!!")), {})
    assert caught.value.param == "messages[0].content[0].file.file_data.data"


@pytest.mark.parametrize(
    ("part", "field", "says"),
    [
        (file_part(None, file_id="file-1"), "file.file_id", "send the content as file_data"),
        (file_part("data:audio/mp3;base64,AAAA"), "file.file_data", "audio/mp3 cannot be read here"),
        (file_part("AAAA"), "file.file_data", "this kind of file cannot be read here"),
    ],
)
def test_another_file_is_left_out_and_told(part: dict[str, Any], field: str, says: str) -> None:
    reading = Reading()
    assert decode_file(Fields(part), reading) == ()
    assert len(reading.ignored) == 1
    assert isinstance(reading.ignored[0], Ignored)
    assert reading.ignored[0].field == field
    assert says in reading.ignored[0].reason


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "file"}, "file"),
        (file_part(3), "file.file_data"),  # type: ignore[arg-type]  # what a client may send
        (file_part("data:text/plain;base64,A"), "file.file_data"),
        (file_part("data:text/plain;base64,/w=="), "file.file_data"),
        (file_part("data:text/plain;base64,", filename=3), "file.filename"),
    ],
)
def test_a_wrong_file_is_named(part: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_file(Fields(part), Reading())
    assert caught.value.param == param


@pytest.mark.parametrize("messages", [None, "x", [3], [{"content": "x"}], [{"content": [3, {"type": "file"}]}]])
def test_looking_for_pdfs_passes_over_what_is_wrong(messages: Any) -> None:
    assert list(pdf_sources(Fields({"messages": messages}))) == []
