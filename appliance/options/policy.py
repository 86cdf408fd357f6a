"""Arguments of `dynamo-box policy …`."""

from __future__ import annotations

import argparse

from appliance.options.shared import APIS, Commands, add_command

SESSION_STATES = ("running", "tool_wait", "idle", "finished")
SESSION_ROLES = ("lead", "subagent")


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    policy = add_command(commands, "policy", "what the cache keeps, by which rules", [])
    actions = policy.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(actions, "list", "the policies that come with the box, and the active one", [common])
    validate = add_command(actions, "validate", "check a policy; the exit status is 1 if it is wrong", [common])
    show = add_command(actions, "show", "the rules of a policy with all that it includes, in order", [common])
    apply = add_command(
        actions, "apply", "make a policy the active one of the running box, also for what is cached", [common]
    )
    apply.add_argument("policy", metavar="FILE|NAME", help="a policy file or a shipped policy")
    apply.add_argument("--note", metavar="TEXT", help="why; shown in the history")
    diff = add_command(actions, "diff", "what a policy gives that the active one of the running box does not", [common])
    diff.add_argument("policy", metavar="FILE|NAME", help="a policy file or a shipped policy")
    history = add_command(actions, "history", "the policies that were active, and what each realised", [common])
    history.add_argument("--limit", metavar="N", type=int, default=20, help="default 20")
    rollback = add_command(actions, "rollback", "make an earlier policy the active one again", [common])
    rollback.add_argument("version", metavar="N", type=int, nargs="?", help="default: the one before the active one")
    rollback.add_argument("--note", metavar="TEXT", help="why; shown in the history")
    explain = add_command(
        actions, "explain", "each region of a request, the rule that matches, and what it gets", [common]
    )
    for action in (validate, show, explain):
        action.add_argument(
            "policy", nargs="?", metavar="FILE|NAME", help="a policy file or a shipped policy (default: the active one)"
        )
    explain.epilog = "Needs no box and no tokenizer: sizes are in characters, and nvext.retention is left out."
    explain.add_argument(
        "--prompt", metavar="REQUEST", required=True, help="a request's body as JSON; - for standard input"
    )
    explain.add_argument("--api", choices=APIS, help="its protocol (default: the one it looks like)")
    explain.add_argument("--state", choices=SESSION_STATES, default="running", help="of its session (default running)")
    explain.add_argument("--role", choices=SESSION_ROLES, help="of its session (default: what the request says)")
    explain.add_argument("--client", metavar="AGENT", help="the user agent, which is not in a body")
    explain.add_argument("--keeps-thinking", choices=("yes", "no"), help="does the template keep earlier thoughts")
    explain.add_argument("--shared", choices=("yes", "no"), help="has another session the same system text and tools")
