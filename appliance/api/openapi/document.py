"""The OpenAPI document, put together from the table of operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from appliance import __version__
from appliance.api.keys import GUARDED
from appliance.api.openapi.operation import EVENTS, JSON, Group, JsonObject, Operation, Stream, alternatives
from appliance.api.openapi.operations import OPERATIONS

SCHEMAS: Final = "#/components/schemas/"
DESCRIPTIONS: Final = {
    200: "The answer",
    400: "The request is wrong; the error says where",
    401: "No key of this box's was sent",
    403: "Not from where this was sent",
    404: "There is nothing of this name",
    413: "The body is larger than this box takes",
    429: "As many requests wait for a worker as may, or this one has waited as long as it may",
    499: "An operator cancelled it",
    500: "The engines failed at this request",
    503: "Not now: starting, draining, no worker alive, or too many requests at once",
    529: "Not now: starting, draining, no worker alive, or too many requests at once",
}
CONSTANTS: Final = ("type", "object", "role")
SECURITY: Final[JsonObject] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


@cache
def encoded_document() -> bytes:
    """The document as JSON. Made once in a process, which takes a tenth of a second."""
    return msgspec.json.encode(document())


def document() -> JsonObject:
    schemas = Schemas(OPERATIONS.values())
    paths: dict[str, JsonObject] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "dynamo-box", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": SECURITY},
    }


class Schemas:
    """The schemas of all types that the operations are made of, each group's in a namespace of its own."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.components: JsonObject = {}
        self._known: dict[tuple[str, Any], JsonObject] = {}
        groups: dict[Group, list[Operation]] = {}
        for operation in operations:
            groups.setdefault(operation.group, []).append(operation)
        for group, members in groups.items():
            taken = {each.takes for each in members if each.takes is not None}
            told = {kind for each in members for kind in each.told()}
            self._add(f"{group}.request", taken, as_taken)
            self._add(group, {kind for kind in told if not _is_model(kind)}, as_told)
            for model in filter(_is_model, told):
                self._add_model(group, model)

    def taken(self, operation: Operation) -> JsonObject:
        return self._known[f"{operation.group}.request", operation.takes]

    def told(self, operation: Operation, kind: Any) -> JsonObject:
        found = [self._known[operation.group, each] for each in alternatives(kind)]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _add(self, space: str, kinds: Iterable[Any], adapt: Callable[[JsonObject], JsonObject]) -> None:
        ordered = sorted(kinds, key=str)
        found, components = msgspec.json.schema_components(ordered, ref_template=f"{SCHEMAS}{space}.{{name}}")
        self.components |= {f"{space}.{name}": adapt(schema) for name, schema in components.items()}
        self._known |= {(space, kind): schema for kind, schema in zip(ordered, found, strict=True)}

    def _add_model(self, space: str, model: type[BaseModel]) -> None:
        schema = model.model_json_schema(ref_template=f"{SCHEMAS}{space}.{{model}}", mode="serialization")
        parts = {**schema.pop("$defs", {}), model.__name__: schema}
        self.components |= {f"{space}.{name}": part for name, part in parts.items()}
        self._known[space, model] = {"$ref": f"{SCHEMAS}{space}.{model.__name__}"}


def as_taken(schema: JsonObject) -> JsonObject:
    """A null that stands for nothing need not be told as a default."""
    properties: dict[str, JsonObject] = schema.get("properties", {})
    for described in properties.values():
        if described.get("default", ...) is None:
            del described["default"]
    return schema


def as_told(schema: JsonObject) -> JsonObject:
    """In an answer a field with a default is always there, only an unset one is not; and what names the kind of an
    object is always the same."""
    properties: dict[str, JsonObject] = schema.get("properties", {})
    required = {name for name, described in properties.items() if "default" in described}
    for name in required:
        default = properties[name].pop("default")
        if name in CONSTANTS:
            properties[name] = {"const": default}
    if required:
        schema["required"] = sorted(required.union(schema.get("required", ())))
    return schema


def _operation(method: str, path: str, operation: Operation, schemas: Schemas) -> JsonObject:
    described: JsonObject = {
        "operationId": _operation_id(method, path),
        "tags": [str(operation.group)],
        "summary": operation.summary,
        "responses": _responses(path, operation, schemas),
    }
    if operation.parameters:
        described["parameters"] = [parameter.described() for parameter in operation.parameters]
    if operation.takes is not None:
        content = {JSON: {"schema": schemas.taken(operation)}}
        described["requestBody"] = {"required": True, "content": content}
    if path.startswith(GUARDED):
        described["security"] = [{}, {"bearer": []}, {"key": []}]
    return described


def _responses(path: str, operation: Operation, schemas: Schemas) -> JsonObject:
    errors = (*operation.errors, 401) if path.startswith(GUARDED) else operation.errors
    kinds = {**operation.others, **dict.fromkeys(sorted(errors), operation.envelope)}
    described: JsonObject = {"200": {"description": DESCRIPTIONS[200], **_answers(operation, schemas)}}
    for status, kind in kinds.items():
        content = {JSON: {"schema": schemas.told(operation, kind)}}
        described[str(status)] = {"description": DESCRIPTIONS[status], "content": content}
    return described


def _answers(operation: Operation, schemas: Schemas) -> JsonObject:
    content: JsonObject = {}
    if operation.answers is not None:
        content[operation.media_type] = {"schema": schemas.told(operation, operation.answers)}
    if operation.stream is not None:
        content[EVENTS] = {"itemSchema": _event(operation.stream, schemas.told(operation, operation.stream.data))}
    return {"content": content} if content else {}


def _event(stream: Stream, schema: JsonObject) -> JsonObject:
    """One event as a reader of event streams sees it."""
    data: JsonObject = {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
    if stream.done:
        data = {"anyOf": [{"const": "[DONE]"}, data]}
    return {"type": "object", "properties": {"event": {"type": "string"}, "data": data}, "required": ["data"]}


def _operation_id(method: str, path: str) -> str:
    words = [word.strip("{}") for word in path.split("/") if word]
    return "_".join([method.lower(), *words]).replace(".", "_")


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
