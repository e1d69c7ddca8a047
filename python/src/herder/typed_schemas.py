"""JSON Schemas of the types that `typed` compiles: from the nodes alone, so that they accept what the nodes accept.

What JSON Schema cannot express is listed in `docs/python-types.md`. A worker imports this module only if a command has
such a type.
"""

from __future__ import annotations

import enum
import re
import sys

from herder.codec import decode, encode
from herder.schemas import object_schema, reason
from herder.text import escape_surrogates
from herder.typed import Compiler, Scope
from herder.typed_containers import RECORDS
from herder.typed_nodes import NO_DEFAULT, Field, Node, Reference, Unsupported, all_nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.typed_arguments import ArgumentConverter

HEX = "[0-9a-fA-F]"
HYPHENATED = f"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}"
DATE = "(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
TIME = (
    "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?"
    "(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9](?::?[0-5][0-9](?:[.][0-9]{1,6})?)?)?)?"
)
# As in `typed_times`, which is imported only for apps that use it.
DURATION = (
    "(?!-P9{9}DT)[+-]?P(?:"
    "(?=[0-9T])(?:[0-9]{1,8}W)?(?:[0-9]{1,8}D)?"
    "(?:T(?=[0-9])(?:[0-9]{1,9}H)?(?:[0-9]{1,11}M)?(?:[0-9]{1,12}(?:[.,][0-9]+)?S)?)?"
    "|[0-9]{9}D(?:T(?=[0-9])(?:(?:[01]?[0-9]|2[0-3])H)?(?:[0-5]?[0-9]M)?(?:[0-5]?[0-9](?:[.,][0-9]+)?S)?)?)"
)
MAX_SECONDS = 86_399_999_913_600
BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?"
NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?"  # as in `typed_values`
# The schema of each kind without parts. `pattern` applies to strings only. Formats may be unknown to a validator.
SIMPLE: dict[str, dict[str, Any]] = {
    "any": {},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "str": {"type": "string"},
    "none": {"type": "null"},
    "bytes": {"type": "string", "contentEncoding": "base64", "pattern": f"^{BASE64}$"},
    "ndarray": {"type": "array"},
    "arrow": {"type": "array", "items": {"type": "object"}},
    "datetime": {"type": "string", "format": "date-time", "pattern": f"^{DATE}(?:[Tt ]{TIME})?$"},
    "date": {"type": "string", "format": "date", "pattern": f"^{DATE}$"},
    "time": {"type": "string", "format": "time", "pattern": f"^{TIME}$"},
    "timedelta": {
        "type": ["string", "number"],
        "format": "duration",
        "pattern": f"^(?:{DURATION})$",
        "minimum": -MAX_SECONDS,
        "maximum": MAX_SECONDS,
    },
    "uuid": {
        "type": "string",
        "format": "uuid",
        "pattern": rf"^(?:(?:urn:uuid:)?{HYPHENATED}|\{{{HYPHENATED}\}}|{HEX}{{32}})$",
    },
    "decimal": {"type": ["string", "number"], "format": "decimal", "pattern": f"^{NUMBER}$"},
    "path": {"type": "string", "format": "path"},
}
# What handlers return has one form. An offset may have seconds, so times have no pattern.
RESULTS: dict[str, dict[str, Any]] = {
    **{kind: {"type": "string", "format": SIMPLE[kind]["format"]} for kind in ("datetime", "date", "time", "uuid")},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    # RFC 3339, which `format` names, has no sign and no fraction.
    "timedelta": {"type": "string", "format": "duration", "pattern": SIMPLE["timedelta"]["pattern"]},
    "decimal": {"type": "string", "format": "decimal"},
}
ADDRESSES = {
    "IPv4Address": "ipv4",
    "IPv6Address": "ipv6",
    "IPv4Interface": "ipv4interface",
    "IPv6Interface": "ipv6interface",
    "IPv4Network": "ipv4network",
    "IPv6Network": "ipv6network",
}
SCALAR_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
ORDERS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
SIZES = {"str": "Length", "dict": "Properties"}
SIZED_ARRAYS = frozenset({"list", "tuple", "fixed_tuple", "deque", "set", "frozenset"})
INTEGER_KEY = {"pattern": "^(?:0|-?[1-9][0-9]*)$"}
# Syntax that only Python has. Clients would refuse the schema (their flag `u` is set) or match other strings.
ONLY_PYTHON = re.compile(r"\(\?[^:=!<]|\(\?<[^=!]|[*+?}]\+|\{,|\[\^?\]|\\[^bBdDsSwWfnrtvxu0-9^$\\.*+?()\[\]{}|/-]")
CLASS_OF_CHARACTERS = re.compile(r"\[(?:[^\\\]]|\\.)*\]", re.DOTALL)


def parameters_schema(
    arguments: ArgumentConverter, encode_result: Callable[[Any], bytes], errors: list[str]
) -> dict[str, Any]:
    """Return the schema of the arguments of a command. Adds to `errors` why a parameter cannot be described."""
    schemas = Schemas(encode_result)
    properties: dict[str, Any] = {}
    for field in arguments.fields:
        properties[field.name] = schemas.field_or_any(field, field.name, errors)
    extra: Any = False
    if arguments.kwargs is not None:
        extra = schemas.field_or_any(Field("", arguments.kwargs, True, NO_DEFAULT), "**", errors) or True
    schema = object_schema(properties, [field.name for field in arguments.fields if field.required], extra)
    return schemas.with_definitions(schema)


def result_schema(annotation: Any, names: dict[str, Any], encoders: tuple[type[Any], ...]) -> dict[str, Any] | None:
    """Return the schema of a result, or None if its type has none. `encoders` are the types that the app encodes."""
    try:
        node = Compiler(is_result=True).compile(annotation, Scope(names))
    except (Unsupported, RecursionError):  # a class with `__json__`
        return None
    if any(each.kind == "ndarray" for each in all_nodes([node])):  # one without dimensions is a number
        return None
    schemas = Schemas(None, encoders)
    return schemas.with_definitions(schemas.schema(node))


class Schemas:
    """Builds schemas. The types with a name, and those that contain themselves, are in `definitions`."""

    def __init__(self, encode_result: Callable[[Any], bytes] | None, encoders: tuple[type[Any], ...] = ()) -> None:
        self.encode_result = encode_result  # None: the schemas are of results
        self.encoders = encoders
        self.definitions: dict[str, Any] = {}
        self.names: dict[Any, str] = {}  # the names of the definitions, by node
        self.foreign: dict[str, Any] = {}  # the definitions of other libraries as they came
        self.kept: list[Any] = []  # objects whose `id` is a key of `names`

    @property
    def is_result(self) -> bool:
        """Whether the schemas are those of results."""
        return self.encode_result is None

    def with_definitions(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with the definitions that it refers to."""
        return {**schema, "$defs": self.definitions} if self.definitions else schema

    def field_or_any(self, field: Field, name: str, errors: list[str]) -> dict[str, Any]:
        """Return the schema of a parameter. If it cannot be described, say so and accept every value."""
        try:
            return self.field(field)
        except Exception as error:  # of another library, or of a class of the application
            errors.append(f"parameter `{name}`: {reason(error)}")
            return {}

    def field(self, field: Field) -> dict[str, Any]:
        """Return the schema of a parameter or a field, with its default."""
        schema = self.schema(field.node)
        if not self.is_result and field.default is not NO_DEFAULT:
            self.add_default(schema, field)
        return schema

    def add_default(self, schema: dict[str, Any], field: Field) -> None:
        """Add the default, if a caller could send it. Runs no code of the application."""
        nodes = all_nodes([field.node])
        if self.encode_result is None or any(each.kind in RECORDS or "predicate" in each.constraints for each in nodes):
            if field.default is None and any(each.kind == "optional" for each in nodes[:1]):
                schema["default"] = None
            return
        try:
            value = decode(self.encode_result(field.default))
            if field.node.convert(value) == field.default:
                schema["default"] = value
        except Exception:  # JSON has no such value, or it does not fit: `x: int = None`
            pass

    def schema(self, node: Node) -> dict[str, Any]:
        """Return the schema of a node, with its constraints and descriptions."""
        if self.is_result and self.has_own_form(node):
            return {}
        schema = self.bare(node)
        if node.constraints:
            _constrain(schema, node)
        return _described(schema, node, self.encode_result or encode)

    def has_own_form(self, node: Node) -> bool:
        """Whether the app encodes values of this type in its own way."""
        kinds: Any = [node.annotation]
        if node.kind == "literal":
            kinds = [type(value) for value in node.annotation.__args__ if isinstance(value, enum.Enum)]
        return any(
            isinstance(kind, type) and (hasattr(kind, "__json__") or issubclass(kind, self.encoders)) for kind in kinds
        )

    def bare(self, node: Node) -> dict[str, Any]:
        """Return the schema of a node without its constraints. The caller may change it."""
        kind = node.kind
        if kind in SIMPLE:
            return dict((self.is_result and RESULTS.get(kind)) or SIMPLE[kind])
        if isinstance(node, Reference):
            assert node.target is not None
            return {"$ref": self.definition(node.target, node.label)}
        if kind in ("dataclass", "typed_dict", "named_tuple"):
            return {"$ref": self.definition(node, node.label)}
        if kind in ("pydantic", "msgspec"):
            return self.foreign_type(node)
        if kind == "address":
            return {"type": "string", "format": ADDRESSES[node.annotation.__name__]}
        if kind in ("literal", "enum"):
            return _values_schema(node.values)
        if kind == "flag":
            return _flag_schema(node)
        if kind == "optional":
            return self.optional(node.items[0])
        if kind == "union":
            return {"anyOf": [self.schema(each) for each in node.items]}
        return self.container(node)

    def container(self, node: Node) -> dict[str, Any]:
        """Return the schema of an array or an object without fields."""
        if node.kind == "dict":
            return self.dictionary(*node.items)
        if node.kind == "fixed_tuple":
            return self.positions(node.items, len(node.items))
        items = self.schema(node.items[0])
        if not items and node.kind in ("set", "frozenset") and not self.is_result:
            items = {"type": ["string", "number", "boolean", "null"]}  # lists and objects have no hash
        return {"type": "array", "items": items} if items else {"type": "array"}

    def positions(self, items: tuple[Node, ...], required: int) -> dict[str, Any]:
        """Return the schema of an array whose positions have different types."""
        if not items:
            return {"type": "array", "maxItems": 0}
        schema: dict[str, Any] = {"type": "array", "prefixItems": [self.schema(each) for each in items], "items": False}
        if required:
            schema["minItems"] = required
        return {**schema, "maxItems": len(items)}

    def dictionary(self, key: Node, item: Node) -> dict[str, Any]:
        """Return the schema of a dictionary."""
        schema: dict[str, Any] = {"type": "object"}
        keys, items = self.key(key), self.schema(item)
        if keys:
            schema["propertyNames"] = keys
        if items:
            schema["additionalProperties"] = items
        return schema

    def key(self, node: Node) -> dict[str, Any]:
        """Return the schema of the keys of an object."""
        if self.is_result and self.has_own_form(node):
            return {}
        if node.kind == "int":
            return dict(INTEGER_KEY)
        if node.kind == "flag":
            return {"pattern": "^(?:0|[1-9][0-9]*)$"}
        if node.kind in ("literal", "enum"):
            return {"enum": list(dict.fromkeys(str(value) for value in node.values))}
        if node.kind == "union":
            members = [self.key(each) for each in node.items]
            return {"anyOf": members} if all(members) else {}
        schema = self.schema(node)
        for name in ("type", "minimum", "maximum"):  # the latter are those of numbers
            schema.pop(name, None)
        return schema

    def optional(self, inner: Node) -> dict[str, Any]:
        """Return the schema of `inner | None`. What describes the value describes the whole."""
        schema = self.schema(inner)
        if not schema:
            return schema
        hoisted: dict[str, Any] = {
            key: schema.pop(key) for key in ("title", "description", "examples") if key in schema
        }
        members = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        return {"anyOf": [*members, {"type": "null"}], **hoisted}

    def definition(self, node: Node, label: str) -> str:
        """Return a reference to the definition of a node, which is made on the first use."""
        # A copy with a description has the same fields.
        key: tuple[Any, ...] = (id(node),)
        if node.kind in RECORDS:
            key = (id(node.annotation), id(node.fields) if node.fields else 0)
        name = self.names.get(key)
        if name is None:
            name = self.names[key] = self.new_name(label)
            self.kept += (node.annotation, node)
            self.definitions[name] = {}  # holds the place, since the type may contain itself
            self.definitions[name] = self.record(node) if node.kind in RECORDS else self.schema(node)
        return f"#/$defs/{name}"

    def new_name(self, label: str) -> str:
        """Return a name for a definition that no other one has."""
        name = re.sub(r"[^A-Za-z0-9._-]", "_", label) or "type"
        number, found = 1, name
        while found in self.definitions:
            number += 1
            found = f"{name}_{number}"
        return found

    def record(self, node: Node) -> dict[str, Any]:
        """Return the schema of a class with fields."""
        is_named_tuple = node.kind == "named_tuple"
        if is_named_tuple and self.is_result:
            schema = self.positions(tuple(field.node for field in node.fields), len(node.fields))
            return _with_documentation(schema, node.annotation)
        # A dataclass that is returned has all its fields, but no `InitVar`.
        every = self.is_result and node.kind == "dataclass"
        arguments = _init_vars(node.annotation) if every else frozenset[str]()
        fields = [field for field in node.fields if field.name not in arguments]
        properties = {field.name: self.field(field) for field in fields}
        required = [field.name for field in fields if every or field.required]
        schema = object_schema(properties, required, not is_named_tuple)
        if is_named_tuple:
            count = sum(field.required for field in node.fields)
            schema = {"anyOf": [self.positions(tuple(field.node for field in node.fields), count), schema]}
        return _with_documentation(schema, node.annotation)

    def foreign_type(self, node: Node) -> dict[str, Any]:
        """Return the schema of a type of another library: a reference, if it is a class with fields."""
        key = (id(node.annotation), node.kind)
        if key not in self.names:
            schema = _foreign_schema(node, self.is_result)
            encode(schema)  # raises an exception if JSON does not have a default of it, such as NaN
            schema = self.merge(schema)
            if "properties" not in schema:
                return schema
            # Another model may have brought the same definition.
            name = node.label if self.foreign.get(node.label) == schema else self.new_name(node.label)
            self.names[key], self.definitions[name], self.foreign[name] = name, schema, schema
            self.kept.append(node.annotation)
        return {"$ref": f"#/$defs/{self.names[key]}"}

    def merge(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Take over the definitions of a schema of another library."""
        definitions: dict[str, Any] = schema.pop("$defs", {})
        clash = any(name in self.definitions and self.foreign.get(name) != each for name, each in definitions.items())
        renamed: dict[str, str] = {}
        if clash:
            for name in definitions:
                renamed[f"#/$defs/{name}"] = f"#/$defs/{self.new_name(name)}"
                self.definitions[renamed[f"#/$defs/{name}"][len("#/$defs/") :]] = {}
        for name, each in definitions.items():
            target = renamed.get(f"#/$defs/{name}", f"#/$defs/{name}")[len("#/$defs/") :]
            self.foreign[target] = each
            self.definitions[target] = _with_references(each, renamed)
        return dict(_with_references(schema, renamed))


def _with_references(value: Any, renamed: dict[str, str]) -> Any:
    """Return a schema with renamed references, which may also be in the mapping of a discriminator."""
    if not renamed:
        return value
    if isinstance(value, dict):
        return {key: _with_references(each, renamed) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_references(each, renamed) for each in value]
    return renamed.get(value, value) if isinstance(value, str) else value


def _init_vars(cls: Any) -> frozenset[str]:
    """Return the names of a dataclass's arguments that are no fields."""
    fields = cls.__dataclass_fields__.items()
    return frozenset(name for name, each in fields if each._field_type.name == "_FIELD_INITVAR")


def _foreign_schema(node: Node, is_result: bool) -> dict[str, Any]:
    """Return the schema that pydantic or msgspec makes of its type. Raises what the library raises."""
    if node.kind == "msgspec":
        (schema,), components = sys.modules["msgspec"].json.schema_components(
            [node.annotation], ref_template="#/$defs/{name}"
        )
        return {**schema, "$defs": dict(components)} if components else dict(schema)
    import warnings

    from pydantic import TypeAdapter  # type: ignore[import-not-found,unused-ignore]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a default that JSON does not have is left out
        adapter = TypeAdapter(node.annotation)
        return dict(adapter.json_schema(by_alias=True, mode="serialization" if is_result else "validation"))


def _values_schema(values: tuple[Any, ...]) -> dict[str, Any]:
    """Return the schema of the values of a `Literal` or an `Enum`."""
    distinct = list({(type(value) is bool, value): value for value in values}.values())  # 1 and 1.0 are one value
    kinds = {SCALAR_TYPES[type(value)] for value in distinct}
    schema = {"const": distinct[0]} if len(distinct) == 1 else {"enum": distinct}
    return {**schema, "type": kinds.pop()} if len(kinds) == 1 else schema


def _flag_schema(node: Node) -> dict[str, Any]:
    """Return the schema of a `Flag`: an exact one if its bits have no gap."""
    bits = 0
    for value in node.values:
        bits |= value
    schema = {"type": "integer", "minimum": 0}
    try:
        node.convert(bits + 1)
    except Exception:
        if not bits & (bits + 1):
            schema["maximum"] = bits
    return schema


def _constrain(schema: dict[str, Any], node: Node) -> None:
    """Add the constraints that JSON Schema can express."""
    kind = node.kind
    for name, bound in node.constraints.items():
        if name in ORDERS or name == "multiple_of":
            number = _number(bound)
            if number is not None and kind in ("int", "float", "decimal"):
                schema[ORDERS.get(name, "multipleOf")] = number
        elif name in ("min_length", "max_length"):
            _bound_size(schema, kind, name[:3], bound)
        elif name == "pattern":
            pattern = _portable_pattern(bound)
            if pattern is not None:
                schema["pattern"] = pattern


def _bound_size(schema: dict[str, Any], kind: str, bound: str, limit: int) -> None:
    if kind == "bytes":
        schema[f"{bound}Length"] = (limit + 2) // 3 * 4  # of the base64
    elif kind in SIZES:
        schema[f"{bound}{SIZES[kind]}"] = limit
    elif kind in SIZED_ARRAYS and not (bound == "max" and kind in ("set", "frozenset")):  # duplicates are dropped
        key = f"{bound}Items"
        known = schema.get(key, limit)
        schema[key] = max(known, limit) if bound == "min" else min(known, limit)


def _number(bound: Any) -> int | float | None:
    """Return a bound as a number of JSON that every client can read."""
    try:
        value = float(bound)
        if value - value:  # infinite
            return None
        return int(bound) if bound == int(bound) else value
    except (ArithmeticError, ValueError, TypeError):
        return None


def _portable_pattern(pattern: Any) -> str | None:
    """Return a regular expression that means the same in other languages, or None."""
    if isinstance(pattern, re.Pattern):
        if pattern.flags & ~re.UNICODE:
            return None
        pattern = pattern.pattern
    is_portable = ONLY_PYTHON.search(pattern) is None and r"\-" not in CLASS_OF_CHARACTERS.sub("", pattern)
    return escape_surrogates(pattern) if is_portable else None


def _described(schema: dict[str, Any], node: Node, encode_value: Callable[[Any], bytes]) -> dict[str, Any]:
    """Add the descriptions in the metadata of `Annotated`. Examples that JSON does not have are left out."""
    for each in node.metadata:
        if isinstance(each, (str, type)):
            continue
        title, examples = getattr(each, "title", None), getattr(each, "examples", None)
        # `documentation` is that of `typing_extensions.Doc`.
        description = getattr(each, "description", None) or getattr(each, "documentation", None)
        if isinstance(title, str) and title:
            schema["title"] = escape_surrogates(title)
        if isinstance(description, str) and description:
            schema["description"] = escape_surrogates(description)
        if isinstance(examples, list):
            shown = [form for example in examples for form in _forms(example, encode_value)]
            schema.update({"examples": shown} if shown else {})
    return schema


def _forms(value: Any, encode_value: Callable[[Any], bytes]) -> list[Any]:
    """Return the value as JSON has it; nothing if it has no form."""
    try:
        return [decode(encode_value(value))]
    except Exception:
        return []


def _with_documentation(schema: dict[str, Any], cls: Any) -> dict[str, Any]:
    """Add the documentation string of a class, unless Python has made it."""
    import inspect

    documentation: Any = vars(cls).get("__doc__")
    if isinstance(documentation, str) and documentation and not documentation.startswith(f"{cls.__name__}("):
        return {"description": escape_surrogates(inspect.cleandoc(documentation)), **schema}
    return schema
