"""Describes the commands of an app for `ready`: documentation strings, and JSON Schemas (2020-12). No state.

Runs once in each worker, before the `on_start` hooks. Plain annotations are described here; the others by
`typed_schemas`, from the nodes that check them. What cannot be described never keeps a worker from starting: its schema
accepts everything, and `schema_error` says why.
"""

from __future__ import annotations

import inspect

from herder.annotations import UNION_TYPE_NAMES, evaluate, unknown_reason
from herder.binding import plain_types
from herder.codec import decode, encode
from herder.signatures import NO_ANNOTATION, running_function
from herder.text import escape_surrogates, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.app import App
    from herder.binding import Command

MAX_COMMAND = 256 * 1024  # bytes of one command; the host ignores larger descriptions
MAX_ALL = 2 * 1024 * 1024  # bytes of all commands
JSON_TYPES: dict[type[Any], str] = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    list: "array",
    dict: "object",
    type(None): "null",
}
ITERATORS = frozenset({"Iterator", "Iterable", "Generator", "AsyncIterator", "AsyncIterable", "AsyncGenerator"})


def describe_commands(app: App, commands: dict[str, Command], encode_result: Callable[[Any], bytes]) -> list[Any]:
    """Return the entries of the commands in `ready`."""
    entries: list[Any] = []
    for name, registered in app._functions.items():
        command, function = commands[name], registered[0]
        entry = base_entry(command)
        try:
            description = describe(app, command, function, encode_result)
            size = len(encode(description))
            if size > MAX_COMMAND:
                raise ValueError(f"the description has {size} bytes; the limit is {MAX_COMMAND}")
            entry.update(description)
        except Exception as error:
            entry["schema_error"] = reason(error)
        entries.append(entry)
    return entries


def reason(error: Exception) -> str:
    """Return why something cannot be described, in one line."""
    lines = text(error, 200).split("\n")  # pydantic adds a link below
    return lines[0].strip() or type(error).__name__


BASE_KEYS = ("name", "idempotent", "timeout_ms", "stream", "batch")


def base_entry(command: Command) -> dict[str, Any]:
    """Return the entry of a command without its description."""
    entry: dict[str, Any] = {"name": command.name, "idempotent": command.idempotent}
    if command.timeout_ms is not None:
        entry["timeout_ms"] = command.timeout_ms
    if command.stream is not None:
        entry["stream"] = True
    if command.batch is not None:
        entry["batch"] = {"max_batch_size": command.batch[0], "max_wait_us": command.batch[1]}
    return entry


def within(entries: list[Any], limit: int) -> list[Any]:
    """Return the entries, without the descriptions that do not fit into `limit` bytes of JSON."""
    bases = [{key: each[key] for key in BASE_KEYS if key in each} for each in entries]
    room = min(MAX_ALL, limit - len(encode(bases)))
    fitting: list[Any] = []
    for entry, base in zip(entries, bases, strict=True):
        room -= len(encode(entry)) - len(encode(base))
        fitting.append(entry if room >= 0 else base)
    return fitting


def describe(
    app: App, command: Command, function: Callable[..., Any], encode_result: Callable[[Any], bytes]
) -> dict[str, Any]:
    """Describe one command."""
    found: dict[str, Any] = {}
    errors: list[str] = []
    if command.session_parameter is not None:
        found["needs_session"] = True
    documentation = read_documentation(function)
    if documentation:
        found["description"] = documentation
    found["parameters"] = parameters = _parameters(command, encode_result, errors)
    for name, described in _argument_texts(documentation, parameters["properties"]).items():
        parameters["properties"][name].setdefault("description", described)
    try:
        result = _result(app, command)
    except Exception as error:
        result = None
        errors.append(f"result: {reason(error)}")
    if result is not None:
        found["result"] = result
    if errors:
        found["schema_error"] = "; ".join(errors)
    return found


def read_documentation(function: Any) -> str:
    """Return the documentation string of a handler; not that of the class of a callable object."""
    inner = running_function(function)
    is_object = not (inspect.isroutine(function) or isinstance(function, type))
    documentation = getattr(inner if is_object else function, "__doc__", None)
    return escape_surrogates(inspect.cleandoc(documentation)) if isinstance(documentation, str) else ""


def _argument_texts(documentation: str, names: dict[str, Any]) -> dict[str, str]:
    from herder import docstrings

    if not names or not any(hint in documentation for hint in docstrings.HINTS):
        return {}
    return docstrings.describe_parameters(documentation, names)


def _parameters(command: Command, encode_result: Callable[[Any], bytes], errors: list[str]) -> dict[str, Any]:
    """Return the schema of the arguments."""
    if command.batch is not None:
        return _item_schema(command, encode_result, errors)
    if command.arguments is not None:
        from herder.typed_schemas import parameters_schema

        schema = parameters_schema(command.arguments, encode_result, errors)
    else:
        schema = _plain_parameters(command)
    if command.reserved and command.parameters.has_kwargs:  # which would accept these names too
        schema["propertyNames"] = {"not": {"enum": sorted(command.reserved)}}
    return schema


def _item_schema(command: Any, encode_result: Callable[[Any], bytes], errors: list[str]) -> dict[str, Any]:
    """Return the schema of the arguments of a call that runs in a batch: that of an item."""
    if command.converter is None:
        return object_schema({}, [], True)
    from herder.batches import ITEM
    from herder.typed_schemas import parameters_schema

    schema = parameters_schema(command.converter, encode_result, errors)
    definitions = schema.get("$defs", {})
    item = schema["properties"][ITEM]
    if set(item) == {"$ref"}:  # clients look for `properties` at the top
        item = dict(definitions[item["$ref"].removeprefix("#/$defs/")])
    item.setdefault("type", "object")
    item.setdefault("properties", {})
    return {**item, "$defs": definitions} if definitions else item


def _plain_parameters(command: Command) -> dict[str, Any]:
    names, defaults = command.parameters.names, command.parameters.defaults
    properties = {}
    for name in command.accepted_types:
        kinds = plain_types(names[name]) or ()
        properties[name] = schema = plain_schema(kinds)
        if name in defaults:
            add_default(schema, defaults[name], kinds)
    required = [name for name in properties if name not in defaults]
    return object_schema(properties, required, command.parameters.has_kwargs)


def object_schema(properties: dict[str, Any], required: list[str], extra: Any) -> dict[str, Any]:
    """Return the schema of an object. `extra` is the schema of other properties, or whether they are allowed."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if extra is not True:
        schema["additionalProperties"] = extra
    return schema


def plain_schema(kinds: tuple[type[Any], ...]) -> dict[str, Any]:
    """Return the schema of values that have one of these JSON types; `()` stands for all."""
    if len(kinds) < 2:
        return {"type": JSON_TYPES[kinds[0]]} if kinds else {}
    return {"anyOf": [{"type": JSON_TYPES[kind]} for kind in kinds]}


def add_default(schema: dict[str, Any], default: Any, kinds: tuple[type[Any], ...]) -> None:
    """Add a default that JSON has, and that a caller could send."""
    # Not `isinstance`: a subclass may have another form, and code of the application.
    fits = not kinds or type(default) in kinds or (type(default) is int and float in kinds)
    if fits and type(default) in JSON_TYPES:
        try:
            schema["default"] = decode(encode(default))  # a copy, which the handler cannot change
        except Exception:  # it contains what JSON does not have
            pass


def _result(app: App, command: Command) -> dict[str, Any] | None:
    """Return the schema of the result, or None if the annotation says nothing about it."""
    annotation = command.parameters.returns
    if annotation is NO_ANNOTATION:
        return None
    scope = command.parameters.scope
    annotation = evaluate(annotation, scope)
    if command.batch is not None:  # a list with the result of each call
        arguments: Any = getattr(annotation, "__args__", None) or ()
        return _result_of(app, arguments[0], scope) if len(arguments) == 1 else None
    if command.stream is not None:
        annotation = _items_annotation(annotation)
        if annotation is None:
            return {"type": "array"}
        items = _result_of(app, annotation, scope)
        if not items:
            return {"type": "array"}
        definitions = items.pop("$defs", None)  # references are relative to the whole schema
        schema = {"type": "array", "items": items}
        return schema if definitions is None else {**schema, "$defs": definitions}
    return _result_of(app, annotation, scope)


def _items_annotation(annotation: Any) -> Any:
    """Return the annotation of the items of a generator."""
    arguments = getattr(annotation, "__args__", None)
    name = getattr(getattr(annotation, "__origin__", None), "__name__", "")
    return arguments[0] if arguments and name in ITERATORS else None


def _result_of(app: App, annotation: Any, scope: dict[str, Any]) -> dict[str, Any] | None:
    simple = _simple(annotation, scope)
    if simple is not None:
        return simple
    if unknown_reason(annotation) is not None:  # it exists for type checkers only
        return None
    from herder.typed_schemas import result_schema

    # That of `object` applies only to values that have no form.
    return result_schema(annotation, scope, tuple(kind for kind in app._encoders if kind is not object))


def _simple(annotation: Any, scope: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of JSON's own types, and lists and dictionaries of them; None for other types.

    Without `typed`, whose import would take longer than the rest of the description.
    """
    if isinstance(annotation, str) or hasattr(annotation, "__forward_arg__"):
        annotation = evaluate(annotation, scope)
    kinds = plain_types(annotation)
    if kinds is not None:
        return plain_schema(kinds)
    arguments: Any = getattr(annotation, "__args__", ())
    if type(annotation).__name__ in UNION_TYPE_NAMES:
        members = [_simple(each, scope) for each in arguments]
        return None if None in members else {"anyOf": members}
    origin = getattr(annotation, "__origin__", None)
    if origin not in (list, dict) or (origin is dict and arguments[0] is not str):
        return None
    items = _simple(arguments[-1], scope)
    if items is None:
        return None
    return {"type": "array", "items": items} if origin is list else {"type": "object", "additionalProperties": items}
