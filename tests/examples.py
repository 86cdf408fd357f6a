"""How many examples a law is tried on: `HYPOTHESIS_PROFILE=thorough pytest` takes eight times as many as usual."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def examples(per_cent: int) -> int:
    """That share of what the profile gives, for a law whose examples cost more, or find more, than most."""
    return max(1, settings().max_examples * per_cent // 100)
