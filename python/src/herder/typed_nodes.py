"""The tree of types that an annotation is compiled to, and the nodes of JSON's own types.

Each `Node` knows what it is (`kind`, with its parts) and how to convert a JSON value (`convert`, a closure). The
converters are built once, when the app is loaded, from the parts outwards. A JSON Schema can be generated from the tree
alone:

| `kind` | parts |
|---|---|
| `any`, `int`, `float`, `bool`, `str`, `none`, `bytes` | none |
| `ndarray` | none; `annotation` has the element type, or is the class of a tensor |
| `arrow` | none; `annotation` is the class |
| `datetime`, `date`, `time`, `timedelta`, `uuid`, `decimal`, `path`, `address` | none; `annotation` is the class |
| `literal`, `enum`, `flag` | `values`: the JSON values |
| `list`, `set`, `frozenset`, `deque`, `tuple` (of any length) | `items`: the node of the elements |
| `fixed_tuple` | `items`: the node of each element |
| `dict` | `items`: the nodes of the keys and of the values |
| `union` | `items`: the members, without `none` |
| `optional` | `items`: the node of a value that is not null |
| `dataclass`, `typed_dict`, `named_tuple` | `fields` |
| `pydantic`, `msgspec` | `annotation`: what the library has compiled |
| `reference` | `target`: a node around this one, since the type contains itself |

`constraints` maps the names of `herder.Meta` to their values, `metadata` holds the objects of `Annotated`.
"""

from __future__ import annotations

import binascii

from herder.argument_errors import WRONG_TYPE, InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.typed_containers import Outcomes

    Converter = Callable[[Any], Any]


class Unsupported(Exception):
    """The reason why a type cannot be read from JSON. `where` leads to it from the parameter: `Item.price`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.where: list[str] = []


class Field:
    """A field of a record. `default` is `NO_DEFAULT` if it has none, or if a function makes it."""

    __slots__ = ("default", "name", "node", "required")

    def __init__(self, name: str, node: Node, required: bool, default: Any) -> None:
        self.name = name
        self.node = node
        self.required = required
        self.default = default


NO_DEFAULT = object()
JSON_TYPES: frozenset[type[Any]] = frozenset({dict, list, str, int, float, bool, type(None)})


class Node:
    """A type. Every value of exactly one of the JSON types `unchanged` fits as it is, without `convert`."""

    __slots__ = (
        "annotation",
        "constraints",
        "convert",
        "convert_key",
        "fields",
        "hashable",
        "items",
        "json_type",
        "kind",
        "label",
        "metadata",
        "outcomes",
        "unchanged",
        "values",
    )

    def __init__(
        self,
        kind: str,
        convert: Converter,
        *,
        label: str | None = None,
        annotation: Any = None,
        exact: type[Any] | None = None,
        unchanged: frozenset[type[Any]] | None = None,
        items: tuple[Node, ...] = (),
        fields: tuple[Field, ...] = (),
        values: tuple[Any, ...] = (),
        convert_key: Callable[[str], Any] | None = None,
        hashable: bool | None = True,
    ) -> None:
        self.kind = kind
        self.convert = convert
        self.label = label or kind  # in the path of an error within a union
        self.annotation = annotation
        self.unchanged: frozenset[type[Any]] = (
            (frozenset({exact}) if exact else frozenset()) if unchanged is None else unchanged
        )
        self.json_type = exact  # the JSON type of a converter that leaves values as they are, also with constraints
        self.items = items
        self.fields = fields
        self.values = values
        self.convert_key = convert_key  # converts a key of a JSON object; None: keys cannot have this type
        self.hashable = hashable  # whether the converted values have a hash; None: not all have, or it is unknown
        self.constraints: dict[str, Any] = {}
        self.metadata: tuple[Any, ...] = ()
        self.outcomes: Outcomes | None = None  # of a union: see `typed_containers.remember`

    def copy(self) -> Node:
        """Return a copy that may be changed. Nodes are shared otherwise."""
        copy = Node(self.kind, self.convert)
        for name in Node.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy


class Reference(Node):
    """A type within itself, as `children: list[Tree]` of a `Tree`."""

    __slots__ = ("target",)

    def __init__(self, label: str) -> None:
        self.target: Node | None = None  # set when the node around this one is complete

        def convert(value: Any) -> Any:
            assert self.target is not None
            return self.target.convert(value)

        super().__init__("reference", convert, label=label, hashable=None)


def all_nodes(roots: list[Node]) -> list[Node]:
    """Return these nodes and all within them, each once."""
    found: dict[int, Node] = {}
    while roots:
        node = roots.pop()
        if id(node) not in found:
            found[id(node)] = node
            target = node.target if isinstance(node, Reference) else None
            roots += [*node.items, *(field.node for field in node.fields), *([target] if target else [])]
    return list(found.values())


def _exactly(kind: type[Any]) -> Converter:
    def convert(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise InvalidValue(*WRONG_TYPE[kind])

    return convert


def unchanged(value: Any) -> Any:
    """Return the value. This is the converter of `Any`."""
    return value


def to_float(value: Any) -> float:
    """Convert a number."""
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass
    raise InvalidValue(*WRONG_TYPE[float])


def int_key(text: str) -> int:
    """Convert a key. Each number has one text, so two keys cannot become the same number: no `01`, `+1` or `1_0`."""
    try:
        value = int(text)
        if len(text) < 4300 and str(value) == text:
            return value
    except ValueError:
        pass
    raise InvalidValue("int_parsing", "Input should be a valid integer, unable to parse string as an integer")


def to_bytes(value: Any) -> bytes:
    """Decode base64 (RFC 4648) in the standard alphabet, with padding; or copy a buffer."""
    if type(value) is not str:
        if type(value) is memoryview:  # a buffer
            return value.tobytes()
        raise InvalidValue("bytes_type", "Input should be a valid bytes")
    try:
        text = value.encode("ascii")
        data = binascii.a2b_base64(text)
        if binascii.b2a_base64(data, newline=False) == text:  # nothing was skipped
            return data
    except ValueError:
        pass
    raise InvalidValue("bytes_invalid_encoding", "Data should be valid base64")


def to_bytearray(value: Any) -> bytearray:
    """Decode base64, or copy a buffer."""
    return bytearray(to_bytes(value))


def to_memoryview(value: Any) -> memoryview:
    """Return a buffer as it is, or decode base64."""
    return value if type(value) is memoryview else memoryview(to_bytes(value))


ANY = Node("any", unchanged, unchanged=JSON_TYPES, hashable=None, convert_key=unchanged)
NONE = Node("none", _exactly(type(None)), exact=type(None))
STR = Node("str", _exactly(str), exact=str, convert_key=unchanged)
SCALARS: dict[Any, Node] = {
    int: Node("int", _exactly(int), exact=int, convert_key=int_key),
    float: Node("float", to_float, exact=float),
    bool: Node("bool", _exactly(bool), exact=bool),
    str: STR,
    bytes: Node("bytes", to_bytes, annotation=bytes, convert_key=to_bytes),
    bytearray: Node("bytes", to_bytearray, annotation=bytearray, hashable=False),
    memoryview: Node("bytes", to_memoryview, annotation=memoryview, hashable=None),
    None: NONE,
    type(None): NONE,
    object: ANY,
}
