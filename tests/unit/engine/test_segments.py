from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from appliance.engine.segments import VERIFIED_TEXTS, SegmentTokenizer, special_tokens

SPECIALS = ["<|start|>", "<|end|>", "<|end|><|start|>"]
WORDS = ["cache", "block", " prefix", "\n\n", " hit", "é", "🜁", "0123", "<|", "|>", "end", *SPECIALS]
texts = st.lists(st.sampled_from(WORDS), max_size=60).map("".join)


def trained(pre_tokenizer: ByteLevel | Metaspace) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = ByteLevelDecoder()
    source = random.Random(1)  # noqa: S311 – text to learn from
    lines = [" ".join(source.choices(WORDS[:-3], k=30)) for _ in range(40)]
    trainer = BpeTrainer(vocab_size=400, special_tokens=SPECIALS, initial_alphabet=ByteLevel.alphabet())
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


BYTE_LEVEL = trained(ByteLevel(add_prefix_space=False))
SPECIAL_IDS = {token.content: token_id for token_id, token in BYTE_LEVEL.get_added_tokens_decoder().items()}


def encode(text: str) -> list[int]:
    return list(BYTE_LEVEL.encode(text, add_special_tokens=False).ids)


def new_tokenizer(**options: int) -> SegmentTokenizer:
    return SegmentTokenizer(encode, SPECIAL_IDS, **options)


@given(st.lists(texts, min_size=1, max_size=30))
def test_segments_make_the_tokens_of_the_whole(histories: list[str]) -> None:
    tokenizer = new_tokenizer(max_bytes=4000)
    for text in histories * 2:
        assert tokenizer.tokenize(text) == encode(text)
        tokenizer.check_integrity()
    assert tokenizer.exact


def test_a_longer_history_makes_tokens_of_its_last_message_only() -> None:
    tokenizer = new_tokenizer()
    history = "".join(f"<|start|>message {number} says cache block prefix hit<|end|>" for number in range(50))
    tokenizer.tokenize(history)
    made = tokenizer.made_tokens
    tokenizer.tokenize(history + "<|start|>one more message that nobody has seen before<|end|>")
    assert tokenizer.made_tokens - made == len(encode("one more message that nobody has seen before"))


@given(st.lists(texts, min_size=1, max_size=5), st.integers(0, 10_000))
def test_counting_makes_no_difference(histories: list[str], max_bytes: int) -> None:
    tokenizer = new_tokenizer(max_bytes=max_bytes)
    for text in histories * 2:
        assert tokenizer.count(text) == len(encode(text))
    tokenizer.check_integrity()


@given(texts, st.lists(st.integers(0, 400), max_size=8))
def test_counts_are_those_of_whole_pieces_and_the_beginning_of_one(text: str, ends: list[int]) -> None:
    tokenizer = new_tokenizer()
    ends = sorted(min(end, len(text)) for end in ends)
    counts = tokenizer.counts(text, ends)
    for end, count in zip(ends, counts, strict=True):
        anchor = count.anchor
        assert len(encode(text[: anchor.characters])) == anchor.tokens
        assert anchor.tokens + len(encode(text[anchor.characters : end])) == count.tokens
        assert anchor.characters == 0 or text[: anchor.characters].endswith(tuple(SPECIALS))


@given(texts, st.lists(st.integers(0, 400), min_size=1, max_size=8), st.data())
def test_counts_go_on_from_any_anchor(text: str, ends: list[int], data: st.DataObject) -> None:
    """Also without special tokens, where the beginning of a piece is where the last count ended."""
    ends = sorted(min(end, len(text)) for end in ends)
    for specials in (SPECIAL_IDS, {}):
        tokenizer = SegmentTokenizer(encode, specials)
        counts = tokenizer.counts(text, ends)
        place = data.draw(st.integers(0, len(ends) - 1))
        assert tokenizer.counts(text, ends[place:], counts[place].anchor) == counts[place:]


def test_what_would_push_out_most_others_is_not_kept() -> None:
    tokenizer = new_tokenizer(max_bytes=4000)
    tokenizer.tokenize("<|start|>cache<|end|>")
    held = tokenizer._num_bytes
    tokenizer.tokenize("cache " * 1000)
    assert (tokenizer._num_bytes, tokenizer.forgotten_pieces) == (held, 0)


def test_pieces_used_longest_ago_are_forgotten_and_counted() -> None:
    tokenizer = new_tokenizer(max_bytes=1000)
    for number in range(20):
        tokenizer.tokenize(f"piece {number}")
    tokenizer.check_integrity()
    assert tokenizer.forgotten_pieces > 0
    made = tokenizer.made_tokens
    tokenizer.count("piece 19")
    assert tokenizer.made_tokens == made


def test_what_comes_out_differently_switches_segments_off() -> None:
    """Metaspace puts a space before the first piece of a text, and before no other."""
    metaspace = trained(Metaspace(prepend_scheme="first"))

    def by_metaspace(text: str) -> list[int]:
        return list(metaspace.encode(text, add_special_tokens=False).ids)

    specials = {token.content: token_id for token_id, token in metaspace.get_added_tokens_decoder().items()}
    tokenizer = SegmentTokenizer(by_metaspace, specials)
    text = "<|start|>cache block cache block cache block cache block<|end|>"
    assert tokenizer.tokenize(text) == by_metaspace(text)
    assert not tokenizer.exact
    assert tokenizer.tokenize(text) == by_metaspace(text)


def test_without_special_tokens_every_text_is_made_whole() -> None:
    tokenizer = SegmentTokenizer(encode, {})
    assert not tokenizer.exact
    assert tokenizer.tokenize("cache block") == encode("cache block")


def test_after_the_verified_texts_only_segments_are_made() -> None:
    whole: list[str] = []

    def watched(text: str) -> list[int]:
        whole.append(text)
        return encode(text)

    tokenizer = SegmentTokenizer(watched, SPECIAL_IDS)
    text = "<|start|>" + "cache block " * 9 + "<|end|>"
    for _ in range(VERIFIED_TEXTS + 5):
        tokenizer.tokenize(text)
    assert whole.count(text) == VERIFIED_TEXTS


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_a_tokenizer_whose_added_tokens_look_around_is_not_cut(flag: str) -> None:
    tokenizer = trained(ByteLevel(add_prefix_space=False))
    tokenizer.add_special_tokens([AddedToken("<|greedy|>", normalized=False, **{flag: True})])
    assert special_tokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer)) == {}


def test_special_tokens_are_those_cut_before_normalising() -> None:
    tokenizer = trained(ByteLevel(add_prefix_space=False))
    tokenizer.add_tokens([AddedToken("ordinary", normalized=True)])
    assert special_tokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer)) == SPECIAL_IDS
