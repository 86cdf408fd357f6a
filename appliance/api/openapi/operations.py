"""Every route of the box: what it takes, what it answers, and how it can fail."""

from __future__ import annotations

from typing import Final

from appliance.api.openapi.box_operations import BOX_OPERATIONS
from appliance.api.openapi.generation_operations import GENERATION_OPERATIONS, KEPT_OPERATIONS

OPERATIONS: Final = {**BOX_OPERATIONS, **GENERATION_OPERATIONS, **KEPT_OPERATIONS}
"""By method and path, as the routes have them."""
