from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.seal import KEY_BYTES, Seal, load_key

SEAL, OTHER = Seal(b"k" * KEY_BYTES), Seal(b"o" * KEY_BYTES)


@given(st.text(st.characters()), st.text())
def test_only_the_signed_text_has_its_signature(text: str, other: str) -> None:
    signature = SEAL.sign(text)
    assert SEAL.is_signed(text, signature)
    assert SEAL.is_signed(other, signature) == (other == text)
    assert not OTHER.is_signed(text, signature)
    assert not SEAL.is_signed(text, other)


@given(st.text(st.characters()))
def test_what_was_closed_opens_with_the_same_key_only(text: str) -> None:
    closed = SEAL.close(text)
    assert SEAL.open(closed) == text
    assert OTHER.open(closed) is None
    assert SEAL.open(closed[:-1]) is None


@pytest.mark.parametrize("foreign", ["", "gAAAA", "ü", "a" * 100])
def test_what_nobody_closed_does_not_open(foreign: str) -> None:
    assert SEAL.open(foreign) is None


def test_a_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "seal.key"
    key = load_key(path)
    assert load_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["seal.key"]


def test_a_key_cut_short_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    path.write_bytes(b"short")
    assert len(load_key(path)) == KEY_BYTES
