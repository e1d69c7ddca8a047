"""Compiles annotations that are more than plain JSON types to a tree of `typed_nodes.Node`, when the app is loaded.

A command with plain types only needs none of this: see `binding`. The modules of the richer types are imported only if
an annotation needs them, so that other workers start as quickly as before.
"""

from __future__ import annotations

import _collections_abc as abc
import collections
import enum
import sys

from herder.annotations import UNION_TYPE_NAMES, evaluate, is_any, is_dependency, unknown_part, unknown_reason
from herder.result_forms import declares, mro_of
from herder.typed_containers import array_node, dict_node, fixed_tuple_node, union_node
from herder.typed_nodes import ANY, SCALARS, STR, Field, Node, Reference, Unsupported
from herder.typed_records import names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


ARRAYS: dict[Any, str] = {
    list: "list",
    abc.Sequence: "list",
    abc.MutableSequence: "list",
    abc.Collection: "list",
    abc.Iterable: "list",
    tuple: "tuple",
    set: "set",
    abc.MutableSet: "set",
    abc.Set: "set",
    frozenset: "frozenset",
    collections.deque: "deque",
}
OBJECTS: dict[Any, Any] = {
    dict: dict,
    abc.Mapping: dict,
    abc.MutableMapping: dict,
    collections.OrderedDict: collections.OrderedDict,
}
PATHS = frozenset({"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath"})
WRAPPERS = frozenset({"Required", "NotRequired", "ReadOnly", "Final"})
HINT = (
    "write a standard type, an Enum, a dataclass, a TypedDict or a NamedTuple, a model of pydantic or msgspec, or no"
    " annotation"
)


class Scope:
    """Where an annotation is written: the names that strings in it may use, and the types of its type variables."""

    __slots__ = ("compile_self", "names", "type_variables")

    def __init__(
        self,
        names: dict[str, Any],
        type_variables: dict[Any, Any] | None = None,
        compile_self: Callable[[], Node] | None = None,
    ) -> None:
        self.names = names
        self.type_variables = type_variables or {}
        self.compile_self = compile_self  # returns the node of the class around the annotation


class Compiler:
    """Compiles annotations to nodes. A class or an alias is compiled once, however often it is used."""

    def __init__(self, is_result: bool = False) -> None:
        self.is_result = is_result  # whether the types are those of results, whose classes need no constructor
        self.nodes: dict[Any, Node] = {}
        self.open: dict[Any, Reference | None] = {}  # what is being compiled, and the reference to it, if it has one
        self.kept: list[Any] = []  # annotations whose `id` is a key above

    def compile(self, annotation: Any, scope: Scope) -> Node:
        """Return the node of an annotation. Raises `Unsupported`."""
        if isinstance(annotation, str) or hasattr(annotation, "__forward_arg__"):
            annotation = evaluate(annotation, scope.names)
        try:
            if annotation in SCALARS:
                return SCALARS[annotation]
        except TypeError:  # it has no hash, as `Annotated[int, []]`
            pass
        reason = unknown_reason(annotation)
        if reason is not None:
            raise Unsupported(reason)
        if is_any(annotation):
            return ANY
        kind = type(annotation).__name__
        if kind in UNION_TYPE_NAMES:
            return self.once(annotation, scope, self.union)
        if kind == "TypeVar":
            return self.type_variable(annotation, scope)
        if kind == "NewType":
            return self.compile(annotation.__supertype__, scope)
        if kind == "InitVar":
            return self.compile(annotation.type, scope)
        if kind == "TypeAliasType":
            return self.once(annotation, scope, self.alias)
        if hasattr(annotation, "__metadata__"):
            return self.annotated(annotation, scope)
        return self.generic(annotation, scope) if hasattr(annotation, "__origin__") else self.plain(annotation, scope)

    def once(self, annotation: Any, scope: Scope, make: Callable[[Any, Scope], Node]) -> Node:
        """Compile what may contain itself. Inside it, it is a reference."""
        key = (id(annotation), *map(_hashable, scope.type_variables.items()))
        node = self.nodes.get(key)
        if node is not None:
            return node
        if key in self.open:
            reference = self.open[key]
            if reference is None:
                reference = self.open[key] = Reference(getattr(annotation, "__name__", "recursive"))
            return reference
        self.open[key] = None
        self.kept.append(annotation)
        node = make(annotation, scope)
        pending = self.open.pop(key)
        if pending is not None:
            if pending is node:
                raise Unsupported(f"{annotation!r} is only itself")
            pending.target = node
        self.nodes[key] = node
        return node

    def union(self, annotation: Any, scope: Scope) -> Node:
        """Compile a union."""
        return union_node([self.compile(each, scope) for each in annotation.__args__], annotation)

    def alias(self, annotation: Any, scope: Scope) -> Node:
        """Compile `type X = ...`."""
        try:
            value = annotation.__value__
        except NameError as error:
            raise Unsupported(f"{annotation.__name__} cannot be evaluated: {error}") from None
        module = sys.modules.get(getattr(annotation, "__module__", None) or "")
        names = vars(module) if module is not None else scope.names
        return self.compile(value, Scope(names, scope.type_variables))

    def type_variable(self, variable: Any, scope: Scope) -> Node:
        """Compile a type variable: its argument, its default, its bound, its constraints, or `Any`."""
        if variable in scope.type_variables:
            return self.compile(scope.type_variables[variable], Scope(scope.names))
        if getattr(variable, "has_default", bool)():
            return self.compile(variable.__default__, scope)
        if variable.__constraints__:
            return union_node([self.compile(each, scope) for each in variable.__constraints__], variable)
        return ANY if variable.__bound__ is None else self.compile(variable.__bound__, scope)

    def annotated(self, annotation: Any, scope: Scope) -> Node:
        """Compile `Annotated[...]`."""
        from herder import typed_constraints

        metadata = annotation.__metadata__
        _refuse_dependency(annotation)
        if typed_constraints.needs_pydantic(metadata):
            from herder.typed_foreign import pydantic_node

            return pydantic_node(annotation)
        inner = self.compile(annotation.__origin__, scope)
        return typed_constraints.constrain(inner, typed_constraints.read_constraints(metadata), metadata)

    def generic(self, annotation: Any, scope: Scope) -> Node:
        """Compile a type with arguments, as `list[int]`."""
        origin, arguments = annotation.__origin__, getattr(annotation, "__args__", None)
        if getattr(annotation, "__unpacked__", False):  # `*tuple[str, ...]`, which is not one element
            raise Unsupported(f"{annotation!r} cannot be read from JSON; write a list, or a dataclass with one")
        name = getattr(origin, "_name", None) or getattr(origin, "__name__", "")
        if name == "Unpack":
            raise Unsupported("`Unpack` is not supported; write a parameter for each key, or one for the whole object")
        if name == "Literal":
            from herder.typed_values import literal_node

            return literal_node(arguments or (), annotation)
        if name in WRAPPERS and arguments:
            return self.compile(arguments[0], scope)
        if type(origin).__name__ == "TypeAliasType":
            return self.once(origin, self.bound(origin, arguments or (), scope), self.alias)
        if arguments is None or not isinstance(origin, type):  # `typing.List`
            return self.plain(origin, scope)
        if origin.__module__ == "numpy" and origin.__name__ == "ndarray":
            from herder.typed_arrays import array_node

            return array_node(annotation)
        if origin is tuple and arguments[1:] != (...,):
            items = () if arguments == ((),) else arguments
            return fixed_tuple_node(tuple(self.compile(each, scope) for each in items))
        if origin in ARRAYS:
            return self.array(origin, self.compile(arguments[0], scope))
        if origin in OBJECTS:
            key, item = (self.compile(each, scope) for each in arguments)
            return self.mapping(key, item, OBJECTS[origin])
        return self.record(origin, annotation, self.bound(origin, arguments, scope))

    def array(self, origin: Any, item: Node) -> Node:
        """Return the node of an array of any length."""
        kind = ARRAYS[origin]
        if kind in ("set", "frozenset") and item.hashable is False:
            raise Unsupported(f"{kind}[{item.label}] cannot exist, since {item.label} has no hash")
        return array_node(kind, item, origin)

    def mapping(self, key: Node, item: Node, annotation: Any) -> Node:
        """Return the node of a dictionary."""
        if key.convert_key is None:
            raise Unsupported(f"keys of JSON objects are strings, and cannot become {key.label}")
        return dict_node(key, item, annotation)

    def bound(self, origin: Any, arguments: Any, scope: Scope) -> Scope:
        """Return the scope of a generic class or alias with these arguments."""
        parameters = getattr(origin, "__parameters__", None) or getattr(origin, "__type_params__", None)
        if not isinstance(parameters, tuple):
            return Scope(scope.names)
        values = [self.substituted(each, scope) for each in arguments]
        return Scope(scope.names, dict(zip(parameters, values, strict=False)))

    def substituted(self, annotation: Any, scope: Scope) -> Any:
        """Return the annotation with the types of the type variables in it."""
        if isinstance(annotation, str) or hasattr(annotation, "__forward_arg__"):
            annotation = evaluate(annotation, scope.names)
        if type(annotation).__name__ == "TypeVar":
            return scope.type_variables.get(annotation, annotation)
        parameters = getattr(annotation, "__parameters__", ())
        if not hasattr(annotation, "__origin__") or not parameters:
            return annotation
        return annotation[tuple(scope.type_variables.get(each, each) for each in parameters)]

    def plain(self, annotation: Any, scope: Scope) -> Node:
        """Compile a type without arguments."""
        if isinstance(annotation, type):
            if annotation in ARRAYS:
                return self.array(annotation, ANY)
            if annotation in OBJECTS:
                return self.mapping(STR, ANY, OBJECTS[annotation])
            if isinstance(annotation, enum.EnumMeta):
                from herder.typed_values import enum_node

                return enum_node(annotation)
            return self.standard(annotation) or self.record(annotation, annotation, Scope(scope.names))
        name = getattr(annotation, "_name", None)
        if name == "LiteralString":
            return STR
        if name == "Self":
            if scope.compile_self is None:
                raise Unsupported("`Self` has a meaning only in a class; write the name of the class")
            return scope.compile_self()
        raise Unsupported(f"{_name(annotation)} cannot be read from JSON; {HINT}")

    def standard(self, cls: type[Any]) -> Node | None:
        """Return the node of a class of the standard library, or None."""
        module, name = cls.__module__.partition(".")[0], cls.__name__
        if module == "datetime":
            from herder.typed_times import time_node

            return time_node(cls)
        if (module, name) in (("uuid", "UUID"), ("decimal", "Decimal")) or (module == "pathlib" and name in PATHS):
            from herder import typed_values

            makers = {"uuid": typed_values.uuid_node, "decimal": typed_values.decimal_node}
            return makers.get(module, typed_values.path_node)(cls)
        if (cls.__module__, name) == ("numpy", "ndarray"):
            from herder.typed_arrays import array_node

            return array_node(cls)
        if module == "pyarrow" and name in ("Table", "RecordBatch"):
            from herder.arrow import arrow_node

            return arrow_node(cls)
        if declares(mro_of(cls), "__dlpack__"):
            from herder.tensors import tensor_node

            return tensor_node(cls)
        if module == "ipaddress":
            from herder.typed_values import address_node

            return address_node(cls)
        return None

    def record(self, cls: Any, annotation: Any, scope: Scope) -> Node:
        """Compile a class with fields, or refuse the class. `annotation` also has the type arguments."""
        from herder import typed_foreign

        if typed_foreign.is_pydantic(cls):
            return typed_foreign.pydantic_node(annotation)
        if typed_foreign.is_msgspec(cls):
            return typed_foreign.msgspec_node(annotation)
        if hasattr(cls, "__dataclass_fields__"):
            return self.once(cls, scope, self.dataclass)
        if type(cls).__name__ == "_TypedDictMeta":
            return self.once(cls, scope, self.typed_dict)
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            return self.once(cls, scope, self.named_tuple)
        raise Unsupported(f"{_name(cls)} cannot be read from JSON; {HINT}")

    def dataclass(self, cls: Any, scope: Scope) -> Node:
        """Compile a dataclass."""
        from herder import typed_records

        fields = typed_records.dataclass_fields(cls, self.is_result)
        return self.fields(cls, scope, fields, typed_records.dataclass_node(cls))

    def typed_dict(self, cls: Any, scope: Scope) -> Node:
        """Compile a TypedDict."""
        from herder import typed_records

        return self.fields(cls, scope, typed_records.typed_dict_fields(cls), typed_records.typed_dict_node(cls))

    def named_tuple(self, cls: Any, scope: Scope) -> Node:
        """Compile a named tuple."""
        from herder import typed_records

        return self.fields(cls, scope, typed_records.named_tuple_fields(cls), typed_records.named_tuple_node(cls))

    def fields(self, cls: Any, scope: Scope, types: list[Any], made: tuple[Node, Callable[..., None]]) -> Node:
        """Compile the fields of a record and complete its node."""
        node, complete = made
        variables = self.class_variables(cls, scope)
        fields: list[Field] = []
        scopes: dict[Any, Scope] = {}  # by the class in which the annotation is written
        for each in types:
            inner = scopes.get(each.owner)
            if inner is None:
                names, own_variables = (
                    names_of(each.owner, scope.names),
                    variables.get(each.owner, scope.type_variables),
                )
                inner = scopes[each.owner] = Scope(names, own_variables, lambda: self.record(cls, cls, scope))
            annotation = each.annotation
            if isinstance(annotation, str) or hasattr(annotation, "__forward_arg__"):
                annotation = evaluate(annotation, inner.names)
            try:
                field = self.compile(annotation, inner)
            except Unsupported as refused:
                refused.where.insert(0, f"{cls.__name__}.{each.name}")
                raise
            fields.append(Field(each.name, field, _is_required(annotation, each.required), each.default))
        complete(tuple(fields))
        return node

    def class_variables(self, cls: Any, scope: Scope) -> dict[Any, dict[Any, Any]]:
        """Return the types of the type variables in each generic class that `cls` extends: `class Ints(Box[int])`."""
        found = {cls: scope.type_variables}
        for base in getattr(cls, "__orig_bases__", ()):
            origin = getattr(base, "__origin__", None)
            if getattr(origin, "__parameters__", ()):
                found.update(self.class_variables(origin, self.bound(origin, base.__args__, scope)))
        return found


def _refuse_dependency(annotation: Any) -> None:
    """Raise `Unsupported` for an `Annotated` whose metadata says that it is no argument, or has an unknown name."""
    if is_dependency(annotation):
        raise Unsupported(
            "herder.Depends applies to a whole parameter; write `Annotated[X | None, herder.Depends(..)]`"
        )
    for each in annotation.__metadata__:
        reason = unknown_part(each)
        if reason is not None:
            raise Unsupported(reason)
        kind = type(each)
        if kind.__module__ == "fastapi.params" and kind.__name__ in ("Depends", "Security"):
            raise Unsupported(f"{kind.__name__} of FastAPI is unknown to Herder; write herder.Depends")


def _is_required(annotation: Any, otherwise: bool) -> bool:
    """Whether a key is required; `Required` and `NotRequired` may be within `Annotated` and `ReadOnly`."""
    while hasattr(annotation, "__origin__"):
        name = getattr(annotation.__origin__, "_name", None)
        if name in ("Required", "NotRequired"):
            return bool(name == "Required")
        if name == "ReadOnly":
            annotation = annotation.__args__[0]
        elif hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        else:
            break
    return otherwise


def _hashable(pair: tuple[Any, Any]) -> Any:
    try:
        hash(pair)
    except TypeError:  # metadata of `Annotated`
        return id(pair[1])
    return pair


def _name(annotation: Any) -> str:
    if isinstance(annotation, type):
        module = "" if annotation.__module__ in ("builtins", "__main__") else f"{annotation.__module__}."
        return f"{module}{annotation.__qualname__}"
    return repr(annotation)
