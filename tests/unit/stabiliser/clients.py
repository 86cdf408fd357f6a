"""Requests in the shapes that agents send, shortened, and what a test changes in them."""

from __future__ import annotations

from collections.abc import Iterable

from appliance.conversation import Block, CacheMark, Conversation, Message, Role, Text, Tool, ToolCall, ToolResult

MARK = CacheMark(300.0)


def claude_code(build: str = "b1c", session: str = "a1b2c", branch: str = "main") -> Conversation:
    """Three system blocks; the last holds the environment and git's status, with a text behind them."""
    billing = f"x-anthropic-billing-header: cc_version=2.1.278.{build}; cc_entrypoint=cli; cch={session};"
    prompt = (
        "You help with software engineering.\n\n# Environment\nYou have been invoked in the following environment: \n"
        f" - Primary working directory: /home/u/{branch}\n - Is a git repository: true\n - Platform: linux\n\n"
        "gitStatus: This is the git status at the start of the conversation. Note that this status is a snapshot in "
        f"time, and will not update during the conversation.\n\nCurrent branch: {branch}\n\n"
        "Main branch (you will usually use this for PRs): main\n\nGit user: U\n\nStatus:\nM a.py\n?? b.py\n\n"
        f"Recent commits:\n2b0a853 Fix the {branch}\nf068493 Begin\n\nThe following skills are available:\n- review\n"
    )
    reminder = (
        "<system-reminder>\n# claudeMd\nUse tabs.\n# currentDate\nToday's date is 2026-11-24.\n</system-reminder>"
    )
    return conversation(
        [Text(billing), Text("You are Claude Code.", MARK), Text(prompt, MARK)],
        [Message(Role.USER, (Text(reminder), Text("Fix the bug", MARK)))],
        tools=("Task", "Bash", "mcp__docs__find", "Edit"),
    )


def opencode(directory: str = "/home/u/one", date: str = "Tue Nov 24 2026") -> Conversation:
    """The environment stands ahead of the project's instructions, in one system message."""
    return conversation(
        [
            Text(
                "You are opencode.\nHere is some useful information about the environment you are running in:\n<env>\n"
                f"  Working directory: {directory}\n  Is directory a git repo: yes\n  Platform: linux\n"
                f"  Today's date: {date}\n</env>\nInstructions from: AGENTS.md\nWrite tests.\n"
            )
        ],
        [Message(Role.USER, (Text("Fix the bug"),))],
        tools=("read", "bash"),
    )


def pi(moment: str = "Current date: 2026-11-24", directory: str = "/home/u/one") -> Conversation:
    """Date and folder are the last lines of the system prompt."""
    return conversation(
        [Text(f"You are an expert coding assistant.\n\n{moment}\nCurrent working directory: {directory}")],
        [Message(Role.USER, (Text("Fix the bug"),))],
    )


def conversation(system: Iterable[Block], rest: Iterable[Message] = (), *, tools: Iterable[str] = ()) -> Conversation:
    blocks = tuple(system)
    head = (Message(Role.SYSTEM, blocks),) if blocks else ()
    return Conversation("m", (*head, *rest), tools=tuple(Tool(name) for name in tools))


def asked(text: str = "Fix the bug") -> Message:
    return Message(Role.USER, (Text(text),))


def next_step(earlier: Conversation, number: int = 1) -> tuple[Message, ...]:
    """The messages of `earlier`, with a tool's call and result behind them."""
    call = Message(Role.ASSISTANT, (ToolCall(f"call_{number}", "Bash", '{"command": "ls"}'),))
    return (*earlier.messages, call, Message(Role.TOOL, (ToolResult(f"call_{number}", (Text(f"out {number}"),)),)))


def system_text(found: Conversation) -> str:
    """All text of system messages."""
    messages = (message for message in found.messages if message.role is Role.SYSTEM)
    return "".join(block.text for message in messages for block in message.blocks if isinstance(block, Text))


def texts(message: Message) -> list[str]:
    return [block.text for block in message.blocks if isinstance(block, Text)]
