from __future__ import annotations

import pytest

from appliance.router.answer_length import PRIOR_TOKENS, AnswerLength
from appliance.router.errors import IntegrityError


def test_the_prior_gives_way_to_what_is_seen() -> None:
    answers = AnswerLength()
    assert answers.mean_tokens == PRIOR_TOKENS
    for _ in range(400):
        answers.learn(40)
    assert 40 <= answers.mean_tokens <= 65


def test_an_answer_is_expected_to_have_a_token_at_least() -> None:
    answers = AnswerLength()
    for _ in range(5000):
        answers.learn(0)
    assert answers.mean_tokens >= 1
    answers.check_integrity()


def test_the_check_finds_a_mean_that_cannot_be() -> None:
    answers = AnswerLength()
    answers.mean_tokens = 0
    with pytest.raises(IntegrityError, match="mean of 0"):
        answers.check_integrity()
