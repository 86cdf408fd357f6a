from __future__ import annotations

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api import base64_text
from appliance.api.base64_text import decode_base64


@given(st.binary(max_size=60), st.sampled_from([4, 8, 16]))
def test_what_was_encoded_comes_back_in_pieces_of_any_size(content: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base64_text, "PIECE_CHARACTERS", piece)
        assert decode_base64(base64.b64encode(content).decode()) == content


@given(st.text("AQg=+/ -é", max_size=24))
def test_nothing_is_taken_that_the_whole_would_be_refused_for(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base64_text, "PIECE_CHARACTERS", 4)
        try:
            decoded = decode_base64(text)
        except ValueError:
            return
    assert decoded == binascii.a2b_base64(text, strict_mode=True)
