"""How many tokens an answer has, for requests that do not say what to expect."""

from __future__ import annotations

import math

from appliance.router.errors import IntegrityError

PRIOR_TOKENS = 320.0
_PRIOR_WEIGHT = 8.0
MEMORY = 0.99
"""What an answer weighs after the next: the last hundred decide."""


class AnswerLength:
    """The mean of answers that ended, the prior counting as eight of them. Answers are so different in length that one
    which has got far already is, on average, no nearer to its end: what is left is the mean, whatever was made."""

    def __init__(self) -> None:
        self.mean_tokens = round(PRIOR_TOKENS)
        self._answers = 0.0
        self._tokens = 0.0

    def learn(self, tokens: int) -> None:
        """An answer ended after so many tokens."""
        self._answers = MEMORY * self._answers + 1
        self._tokens = MEMORY * self._tokens + tokens
        mean = (self._tokens + _PRIOR_WEIGHT * PRIOR_TOKENS) / (self._answers + _PRIOR_WEIGHT)
        self.mean_tokens = max(1, round(mean))

    def check_integrity(self) -> None:
        """Raises `IntegrityError` for a mean that cannot be. Does not mutate."""
        if self.mean_tokens < 1 or not math.isfinite(self._tokens) or self._tokens < 0:
            raise IntegrityError(f"answer length: mean of {self.mean_tokens} from {self._tokens} tokens")
