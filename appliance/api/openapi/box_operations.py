"""What the box tells of itself and what operators do with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance.api.block_views import MAP_TIERS, MAX_CELLS, BlockChain, BlockMapView
from appliance.api.cache_views import MAX_LISTED as MAX_CACHES
from appliance.api.cache_views import (
    CacheView,
    Flushes,
    FlushRequest,
    Resized,
    ResizeRequest,
    SessionCaches,
    Verification,
)
from appliance.api.eviction_page import EvictionPage
from appliance.api.hint_routes import MAX_LIMIT as MAX_ACTIONS
from appliance.api.hint_views import Actions, HintAnswer, HintRequest, Hints, HintWithdrawn
from appliance.api.history_views import (
    EvictionHistory,
    PastBlocks,
    PastPrefixes,
    PastSessions,
    SessionList,
    Snapshot,
)
from appliance.api.lint_views import MAX_SECONDS, Lint
from appliance.api.model_list import ModelBody, ModelPage, OpenAIModel, OpenAIModels
from appliance.api.openapi.operation import BOTH_ENVELOPES, Group, Operation, Parameter, Stream
from appliance.api.openapi.parameters import (
    BY,
    DRY_RUN,
    EVENT_STREAM,
    EVICTION_PAGE,
    LISTED,
    MODEL_PAGE,
    VERSION,
    in_path,
    seconds,
)
from appliance.api.policy_routes import MAX_LIMIT as MAX_POLICIES
from appliance.api.policy_views import (
    PolicyBody,
    PolicyChange,
    PolicyCheck,
    PolicyDiff,
    PolicyHistory,
    PolicyRollback,
    PolicyText,
    RuleFields,
)
from appliance.api.prefix_views import MAX_FORKED, MAX_PROMPTS, MAX_SEARCH, MAX_TEXT, Fork, Prefixes
from appliance.api.request_views import MAX_LISTED as MAX_REQUESTS
from appliance.api.request_views import Cancelled, RequestList, RequestView, Why
from appliance.api.routes import Health, Ready
from appliance.api.routing_views import (
    MAX_LISTED,
    Freed,
    PastRouting,
    PlacementRequest,
    PlacementView,
    RequestRouting,
    Routing,
)
from appliance.api.views import BoxStatus
from appliance.api.warm_routes import Warmed, WarmRequest
from appliance.api.whatif_views import WhatIfJob, WhatIfJobs, WhatIfRequest
from appliance.api.worker_views import RestartAnswer
from appliance.box_events import BoxEvent

BOX_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("HEAD", "/"): Operation(Group.BOX, "200 while the process answers; agents ask before their first request"),
    ("GET", "/health"): Operation(Group.BOX, "200 while the process answers", Health),
    ("GET", "/ready"): Operation(Group.BOX, "200 when a request would be taken, else 503", Ready, others={503: Ready}),
    ("GET", "/metrics"): Operation(Group.BOX, "Prometheus text format", str, media_type="text/plain"),
    ("GET", "/box/v1/status"): Operation(Group.BOX, "The whole box at one moment", BoxStatus),
    ("GET", "/box/v1/policy"): Operation(
        Group.BOX,
        "The active retention policy, or for the box's own machine the one that was active then",
        PolicyBody,
        parameters=(seconds("at"),),
        errors=(400, 403, 404, 503),
    ),
    ("PUT", "/box/v1/policy"): Operation(
        Group.BOX,
        "Change the retention policy, from the box's own machine; what is in the cache moves, nothing is dropped",
        PolicyBody,
        takes=PolicyChange,
        errors=(400, 403, 413, 503),
    ),
    ("GET", "/box/v1/policy/fields"): Operation(Group.BOX, "What a rule may say", RuleFields, errors=(400, 503)),
    ("POST", "/box/v1/policy/validate"): Operation(
        Group.BOX,
        "What is wrong with a policy, with line and key",
        PolicyCheck,
        takes=PolicyText,
        errors=(400, 403, 413, 503),
    ),
    ("POST", "/box/v1/policy/diff"): Operation(
        Group.BOX,
        "What a policy gives that the active one does not",
        PolicyDiff,
        takes=PolicyText,
        errors=(400, 403, 413, 503),
    ),
    ("GET", "/box/v1/policy/history"): Operation(
        Group.BOX,
        "The policies that were active, the newest first, and what each realised",
        PolicyHistory,
        parameters=(Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_POLICIES}), seconds("until")),
        errors=(400, 403, 503),
    ),
    ("POST", "/box/v1/policy/rollback"): Operation(
        Group.BOX,
        "Make an earlier policy the active one again",
        PolicyBody,
        takes=PolicyRollback,
        errors=(400, 403, 404, 413, 503),
    ),
    ("GET", "/box/v1/routing"): Operation(
        Group.BOX,
        "The router's newest decisions and their outcomes, for the box's own machine",
        Routing,
        parameters=(Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED}),),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/routing/history"): Operation(
        Group.BOX,
        "The router's decisions until a time, also from before the box was started again, for the box's own machine",
        PastRouting,
        parameters=(seconds("until"), Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED})),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/routing/{request_id}"): Operation(
        Group.BOX,
        "The decisions about one request, by the id of its answer, for the box's own machine",
        RequestRouting,
        parameters=in_path("request_id"),
        errors=(403, 404, 503),
    ),
    ("POST", "/box/v1/route"): Operation(
        Group.BOX,
        "Where a request would go, and what each worker would cost; with `reserve` a place there, for a time",
        PlacementView,
        takes=PlacementRequest,
        errors=(400, 403, 404, 413, 503),
    ),
    ("DELETE", "/box/v1/route/{reservation}"): Operation(
        Group.BOX, "Free a reserved place", Freed, parameters=in_path("reservation"), errors=(403, 404, 503)
    ),
    ("GET", "/box/v1/evictions"): Operation(
        Group.BOX,
        "The newest blocks that had to go, and why; from the box's own machine only",
        EvictionPage,
        parameters=EVICTION_PAGE,
        errors=(400, 403),
    ),
    ("GET", "/box/v1/evictions/history"): Operation(
        Group.BOX,
        "Blocks that had to go, also before the box was started again; from the box's own machine only",
        EvictionHistory,
        parameters=(Parameter("session", {"type": "string"}), seconds("since"), seconds("until"), LISTED),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/sessions"): Operation(
        Group.BOX,
        "Sessions, also from before the box was started again; from the box's own machine only",
        SessionList,
        parameters=(seconds("since"), LISTED),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/snapshot"): Operation(
        Group.BOX,
        "The whole box in any second that it remembers; from the box's own machine only",
        Snapshot,
        parameters=(seconds("at"),),
        errors=(400, 403, 404, 503),
    ),
    ("GET", "/box/v1/events"): Operation(
        Group.BOX,
        "What happens, as it happens; with the header Last-Event-ID from there on. For the box's own machine",
        stream=Stream(BoxEvent),
        parameters=EVENT_STREAM,
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/requests"): Operation(
        Group.BOX,
        "Requests under way, and those that ended last: what was read from which tier; for the box's own machine",
        RequestList,
        parameters=(
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_REQUESTS}),
            Parameter("session", {"type": "string"}),
            seconds("since"),
            seconds("until"),
        ),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/requests/{request_id}"): Operation(
        Group.BOX,
        "One request by the id of its answer, or `last`; for the box's own machine",
        RequestView,
        parameters=in_path("request_id"),
        errors=(403, 404, 503),
    ),
    ("POST", "/box/v1/requests/{request_id}/cancel"): Operation(
        Group.BOX,
        "End a request that is under way; its client is told so. A dry run tells what it comes to",
        Cancelled,
        parameters=(*in_path("request_id"), DRY_RUN, BY),
        errors=(400, 403, 404, 503),
    ),
    ("GET", "/box/v1/lint"): Operation(
        Group.BOX,
        "What clients change from turn to turn, what it costs, and which rule is for it; for the box's own machine",
        Lint,
        parameters=(Parameter("last", {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS}),),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/requests/{request_id}/why"): Operation(
        Group.BOX,
        "Why tokens of a request were computed, in plain words, and what to do about it; for the box's own machine",
        Why,
        parameters=in_path("request_id"),
        errors=(403, 404, 503),
    ),
    ("GET", "/box/v1/hints"): Operation(
        Group.BOX,
        "What operators have said about sessions and still holds, or held then",
        Hints,
        parameters=(seconds("at"),),
        errors=(400, 403, 503),
    ),
    ("POST", "/box/v1/hints"): Operation(
        Group.BOX,
        "Pin or release a session's blocks, or say what else is to become of it; a dry run tells the impact only",
        HintAnswer,
        takes=HintRequest,
        parameters=(Parameter("dry_run", {"type": "boolean"}),),
        errors=(400, 403, 404, 413, 429, 500, 503),
    ),
    ("DELETE", "/box/v1/hints/{hint}"): Operation(
        Group.BOX,
        "Withdraw a hint before its time is over",
        HintWithdrawn,
        parameters=(*in_path("hint"), BY),
        errors=(400, 403, 404, 503),
    ),
    ("POST", "/box/v1/workers/{worker}/restart"): Operation(
        Group.BOX,
        "End a worker's engine and start another; a dry run tells the impact only",
        RestartAnswer,
        parameters=(*in_path("worker"), DRY_RUN, BY),
        errors=(400, 403, 404, 503),
    ),
    ("POST", "/box/v1/whatif"): Operation(
        Group.BOX,
        "Begin to replay the live record with another policy",
        WhatIfJob,
        takes=WhatIfRequest,
        errors=(400, 403, 413, 429, 503),
    ),
    ("GET", "/box/v1/whatif"): Operation(Group.BOX, "Replays, the newest first", WhatIfJobs, errors=(400, 403, 503)),
    ("GET", "/box/v1/whatif/{job}"): Operation(
        Group.BOX,
        "How far a replay is, and what it found",
        WhatIfJob,
        parameters=in_path("job"),
        errors=(400, 403, 404, 503),
    ),
    ("DELETE", "/box/v1/whatif/{job}"): Operation(
        Group.BOX, "Cancel a replay", WhatIfJob, parameters=in_path("job"), errors=(400, 403, 404, 503)
    ),
    ("GET", "/box/v1/blocks"): Operation(
        Group.BOX,
        "A worker's cache, the host tier or the disk in cells: state, owner, region, worth, age, reuse",
        BlockMapView,
        parameters=(
            Parameter("tier", {"enum": list(MAP_TIERS)}),
            Parameter("worker", {"type": "integer", "minimum": 0}),
            Parameter("cells", {"type": "integer", "minimum": 1, "maximum": MAX_CELLS}),
        ),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/blocks/history"): Operation(
        Group.BOX,
        "The last map that was recorded until a time: a minute before it at most, where something had changed",
        PastBlocks,
        parameters=(
            Parameter("tier", {"enum": list(MAP_TIERS)}),
            Parameter("worker", {"type": "integer", "minimum": 0}),
            seconds("at"),
        ),
        errors=(400, 403, 404, 503),
    ),
    ("GET", "/box/v1/prefixes/history"): Operation(
        Group.BOX,
        "The last tree of prefixes that was recorded until a time",
        PastPrefixes,
        parameters=(seconds("at"),),
        errors=(400, 403, 404, 503),
    ),
    ("GET", "/box/v1/cache/sessions/history"): Operation(
        Group.BOX,
        "What sessions had where: what was recorded last until a time, every ten seconds while something changed",
        PastSessions,
        parameters=(seconds("at"),),
        errors=(400, 403, 404, 503),
    ),
    ("GET", "/box/v1/blocks/chain"): Operation(
        Group.BOX,
        "A session's last prompt up to the block of a token: what it consists of, who shares it, where it is found",
        BlockChain,
        parameters=(
            Parameter("session", {"type": "string"}, is_required=True),
            Parameter("token", {"type": "integer", "minimum": 0}),
        ),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/prefixes"): Operation(
        Group.BOX,
        "The last prompts of sessions as a tree: who shares what, and where they go apart",
        Prefixes,
        parameters=(
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PROMPTS}),
            Parameter("text", {"type": "integer", "minimum": 0, "maximum": MAX_TEXT}),
            Parameter("search", {"type": "string", "minLength": 1, "maxLength": MAX_SEARCH}),
        ),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/prefixes/fork"): Operation(
        Group.BOX,
        "Where the last prompts of sessions go apart, with the text there",
        Fork,
        parameters=(
            Parameter(
                "session",
                {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": MAX_FORKED},
            ),
        ),
        errors=(400, 403, 503),
    ),
    ("GET", "/box/v1/actions"): Operation(
        Group.BOX,
        "What operators did, the newest first",
        Actions,
        parameters=(Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_ACTIONS}),),
        errors=(400, 403),
    ),
    ("GET", "/box/v1/cache"): Operation(
        Group.BOX, "What each tier of the cache holds, for the box's own machine", CacheView, errors=(403, 503)
    ),
    ("GET", "/box/v1/cache/sessions"): Operation(
        Group.BOX,
        "What each session has in which tier, for the box's own machine",
        SessionCaches,
        parameters=(Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_CACHES}),),
        errors=(400, 403, 503),
    ),
    ("POST", "/box/v1/cache/verify"): Operation(
        Group.BOX, "Check all that is cached, from the box's own machine", Verification, errors=(403, 503)
    ),
    ("POST", "/box/v1/cache/flush"): Operation(
        Group.BOX,
        "Drop what a tier holds and nobody is using, from the box's own machine",
        Flushes,
        takes=FlushRequest,
        errors=(400, 403, 413, 503),
    ),
    ("POST", "/box/v1/cache/resize"): Operation(
        Group.BOX,
        "Make the host or the disk tier larger or smaller while the box runs, from the box's own machine",
        Resized,
        takes=ResizeRequest,
        errors=(400, 403, 413, 503),
    ),
    ("POST", "/box/v1/warm"): Operation(
        Group.BOX,
        "Read a request's prompt into a worker's cache, from the box's own machine; real work goes first",
        Warmed,
        takes=WarmRequest,
        errors=(400, 403, 404, 413, 429, 500, 503),
    ),
    ("GET", "/v1/models"): Operation(
        Group.MODELS,
        "The models that this box serves; page by page for a client that names a version of Anthropic's protocol",
        (OpenAIModels, ModelPage),
        parameters=(VERSION, *MODEL_PAGE),
        errors=(400,),
        envelope=BOTH_ENVELOPES,
    ),
    ("GET", "/v1/models/{model_id}"): Operation(
        Group.MODELS,
        "One model",
        (OpenAIModel, ModelBody),
        parameters=(*in_path("model_id"), VERSION),
        errors=(404,),
        envelope=BOTH_ENVELOPES,
    ),
}
