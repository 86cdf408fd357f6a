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
