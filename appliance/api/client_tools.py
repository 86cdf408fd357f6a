"""Tools of the messages API that the client runs and whose schema the protocol fixes: a model sees functions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

Schema = dict[str, Any]


class ClientTool(NamedTuple):
    name: str
    description: str
    parameters: Mapping[str, Any]


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _commands(commands: tuple[str, ...], required: tuple[str, ...], properties: Mapping[str, Schema]) -> Schema:
    command = {"type": "string", "enum": list(commands), "description": "What to do."}
    return {"type": "object", "properties": {"command": command, **properties}, "required": ["command", *required]}


VIEW_RANGE: Final[Schema] = {
    "type": "array",
    "items": {"type": "integer"},
    "minItems": 2,
    "maxItems": 2,
    "description": "For view: the first and the last line to show; lines count from 1, a last line of -1 is the end.",
}
INSERT_LINE: Final[Schema] = {
    "type": "integer",
    "minimum": 0,
    "description": "For insert: the line after which the text goes; 0 is the start of the file.",
}
EDITS: Final[Mapping[str, Schema]] = {
    "view_range": VIEW_RANGE,
    "file_text": _text("For create: the whole content of the file."),
    "old_str": _text("For str_replace: the text to replace. It must be in the file exactly once."),
    "new_str": _text("For str_replace: the text to put in its place."),
    "insert_line": INSERT_LINE,
}


def _editor(name: str, *, insert: str, undoes: bool) -> ClientTool:
    """`insert` is the parameter that carries the text to insert, which differs between versions."""
    commands = ("view", "create", "str_replace", "insert", *(("undo_edit",) if undoes else ()))
    properties = {"path": _text("The file, or for view a folder."), **EDITS}
    properties[insert] = _text(
        "For insert: the text to insert."
        if insert not in EDITS
        else "For str_replace: the text to put in place of old_str; for insert: the text to insert."
    )
    return ClientTool(name, "View, create and edit text files.", _commands(commands, ("path",), properties))


BASH: Final = ClientTool(
    "bash",
    "Run a command in a bash session that lives on between calls.",
    {
        "type": "object",
        "properties": {
            "command": _text("The command to run; needed unless restart is true."),
            "restart": {"type": "boolean", "description": "Start the session anew."},
        },
    },
)
MEMORY: Final = ClientTool(
    "memory",
    "Keep notes in files under /memories, which are there again in later conversations.",
    _commands(
        ("view", "create", "str_replace", "insert", "delete", "rename"),
        (),
        {
            "path": _text("The file or folder, for every command but rename."),
            **EDITS,
            "insert_text": _text("For insert: the text to insert."),
            "old_path": _text("For rename: the file or folder as it is called now."),
            "new_path": _text("For rename: its new name."),
        },
    ),
)
OLD_EDITOR: Final = _editor("str_replace_editor", insert="new_str", undoes=True)
EDITOR: Final = _editor("str_replace_based_edit_tool", insert="insert_text", undoes=False)

CLIENT_TOOLS: Final[Mapping[str, ClientTool]] = MappingProxyType(
    {
        "bash_20241022": BASH,
        "bash_20250124": BASH,
        "text_editor_20241022": OLD_EDITOR,
        "text_editor_20250124": OLD_EDITOR,
        "text_editor_20250429": EDITOR,
        "text_editor_20250728": EDITOR,
        "memory_20250818": MEMORY,
    }
)
"""By the type that a request gives."""
