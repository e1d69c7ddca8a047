"""Nodes of records: dataclasses, TypedDicts and named tuples. No state.

A key of the JSON object that is no field is ignored, as in pydantic and msgspec. So a newer caller can send more.
"""

from __future__ import annotations

import builtins
import inspect
import sys

from herder.annotations import describes_default
from herder.argument_errors import MISSING, UNEXPECTED, InvalidValue, collect
from herder.signatures import signature_of
from herder.typed_containers import convert_positional
from herder.typed_nodes import NO_DEFAULT, Field, Node, Unsupported
from herder.typed_source import ABSENT, dataclass_converter, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.typed_nodes import Converter


class FieldType:
    """A field before its annotation is compiled."""

    __slots__ = ("annotation", "default", "name", "owner", "required")

    def __init__(self, name: str, annotation: Any, owner: type[Any], required: bool, default: Any = NO_DEFAULT) -> None:
        self.name = name
        self.annotation = annotation
        self.owner = owner  # the class in which the annotation is written
        self.required = required
        self.default = default


def own_annotations(cls: type[Any]) -> dict[str, Any]:
    """Return the annotations that are written in this class itself."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def names_of(cls: type[Any], around: dict[str, Any]) -> dict[str, Any]:
    """Return the names that annotations in a class may use: its classes, those of its module, and its other names.

    `around` has the names where the class is used. They replace those of its module if that is unknown: the module of a
    class from `make_dataclass` is `types` before Python 3.12.

    A field may be called as its type, `date: date = TODAY`: so other values of the class come after the module. A class
    that is defined in a function and contains itself finds itself, whatever the module has under its name.
    """
    module = around if cls.__module__ == "types" else vars(sys.modules.get(cls.__module__, builtins))
    own = {name: value for name, value in vars(cls).items() if not hasattr(builtins, name)}
    inner = {name: value for name, value in own.items() if isinstance(value, type) and not name.startswith("__")}
    if "<locals>" in cls.__qualname__:
        inner = {cls.__name__: cls, **inner}
    parameters = {each.__name__: each for each in getattr(cls, "__type_params__", ())}
    return {cls.__name__: cls, **own, **module, **inner, **parameters}


def dataclass_fields(cls: Any, is_result: bool) -> list[FieldType]:
    """Return the fields that the constructor of a dataclass accepts, with its defaults; of a result, only their types.

    Raises `Unsupported` for a constructor that does not take exactly its fields.
    """
    import dataclasses

    owners: dict[str, Any] = {name: base for base in reversed(cls.__mro__) for name in own_annotations(base)}
    class_variable = getattr(dataclasses, "_FIELD_CLASSVAR")  # noqa: B009 - not in typeshed
    taken = [each for each in cls.__dataclass_fields__.values() if each.init and each._field_type is not class_variable]
    parameters = {} if is_result else _constructor_parameters(cls, {field.name for field in taken})
    fields: list[FieldType] = []
    for field in taken:
        # What `make_dataclass` writes for a field without a type; the module need not have imported `typing`.
        annotation = object if field.type == "typing.Any" else field.type
        found = FieldType(field.name, annotation, owners.get(field.name, cls), True)
        if not is_result:
            _use_constructor(found, cls, parameters[field.name])
        fields.append(found)
    return fields


def _use_constructor(field: FieldType, cls: Any, parameter: inspect.Parameter) -> None:
    """Set the default of a field, and its type if the class has an own constructor with another annotation."""
    if parameter.default is not parameter.empty:
        field.required = False
        if type(parameter.default).__name__ != "_HAS_DEFAULT_FACTORY_CLASS":
            field.default = parameter.default
        if describes_default(parameter.default):
            raise Unsupported(f"{type(parameter.default).__name__} as the default of `{field.name}` is no default")
    code = getattr(cls.__init__, "__code__", None)
    is_generated = code is not None and code.co_filename == "<string>"  # by `dataclasses`
    annotation = parameter.annotation
    if not is_generated and annotation is not parameter.empty and annotation is not field.annotation:
        field.annotation = annotation
        field.owner = next(base for base in cls.__mro__ if "__init__" in vars(base))


def _constructor_parameters(cls: Any, names: set[str]) -> dict[str, inspect.Parameter]:
    """Return the parameters of the constructor. Raises `Unsupported` if it cannot be called with these names."""
    try:
        own = list(signature_of(cls.__init__).parameters.values())[1:]
    except (TypeError, ValueError):
        own = []
    accepted = {each.name: each for each in own if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    demanded = {name for name, each in accepted.items() if each.default is each.empty}
    if not names <= accepted.keys() or not demanded <= names:
        raise Unsupported(f"{cls.__qualname__} has an `__init__` that does not take exactly its fields, by name")
    return accepted


def dataclass_node(cls: Any) -> tuple[Node, Callable[[tuple[Field, ...]], None]]:
    """Return the node of a dataclass without its fields, and a function that sets them."""

    def construct(found: dict[str, Any]) -> Any:
        try:
            return cls(**found)
        except (ValueError, AssertionError) as error:  # of `__post_init__`
            raise refused(error) from None

    wrong = ("dataclass_type", f"Input should be a dictionary or an instance of {cls.__name__}")
    hashable = False if cls.__hash__ is None else None
    node, complete_step_by_step = _record_node("dataclass", cls, wrong, construct, hashable)

    def complete(fields: tuple[Field, ...]) -> None:
        complete_step_by_step(fields)
        node.convert = dataclass_converter(cls, fields, wrong, node.convert)

    return node, complete


def typed_dict_fields(cls: Any) -> list[FieldType]:
    """Return the keys of a TypedDict. `Required` and `NotRequired` are left in the annotations."""
    required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
    annotations = own_annotations(cls)
    owners = {name: base for base in _bases(cls) for name in own_annotations(base)}
    return [FieldType(name, each, owners.get(name, cls), name in required) for name, each in annotations.items()]


def _bases(cls: Any) -> list[Any]:
    """Return a TypedDict and those that it extends; the outermost ones last. Its annotations contain theirs."""
    found = [cls]
    for base in getattr(cls, "__orig_bases__", ()):
        origin = getattr(base, "__origin__", base)
        if type(origin).__name__ == "_TypedDictMeta" and origin is not cls:
            found += _bases(origin)
    return found


def typed_dict_node(cls: Any) -> tuple[Node, Callable[[tuple[Field, ...]], None]]:
    """Return the node of a TypedDict without its fields, and a function that sets them."""
    wrong = ("dict_type", "Input should be a valid dictionary")
    return _record_node("typed_dict", cls, wrong, lambda found: found, False)


def _record_node(
    kind: str, cls: Any, wrong: tuple[str, str], construct: Callable[[dict[str, Any]], Any], hashable: bool | None
) -> tuple[Node, Callable[[tuple[Field, ...]], None]]:
    node = Node(kind, lambda value: value, label=cls.__name__, annotation=cls, hashable=hashable)

    def complete(fields: tuple[Field, ...]) -> None:
        node.fields = fields
        convert_fields = fields_converter(fields)

        def convert(value: Any) -> Any:
            if type(value) is not dict:
                raise InvalidValue(*wrong)
            return construct(convert_fields(value))

        node.convert = convert

    return node, complete


def fields_converter(fields: tuple[Field, ...]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that converts the fields in an object. It raises `InvalidValue` with all errors."""
    table = [(field.name, field.node.unchanged, field.node.convert, field.required) for field in fields]

    def convert(value: dict[str, Any]) -> dict[str, Any]:
        get = value.get
        found: dict[str, Any] = {}
        errors = None
        for name, unchanged, convert_field, required in table:
            given = get(name, ABSENT)
            if type(given) in unchanged:  # the usual case, without a call
                found[name] = given
            elif given is not ABSENT:
                try:
                    found[name] = convert_field(given)
                except InvalidValue as error:
                    errors = collect(errors, error, name)
            elif required:
                errors = collect(errors, InvalidValue(*MISSING), name)
        if errors is not None:
            raise errors
        return found

    return convert


def named_tuple_fields(cls: Any) -> list[FieldType]:
    """Return the fields of a named tuple. Those of `collections.namedtuple` have no types."""
    owner = next((base for base in cls.__mro__ if "_fields" in vars(base)), cls)
    annotations, defaults = own_annotations(owner), cls._field_defaults
    return [
        FieldType(name, annotations.get(name, object), owner, name not in defaults, defaults.get(name, NO_DEFAULT))
        for name in cls._fields
    ]


def named_tuple_node(cls: Any) -> tuple[Node, Callable[[tuple[Field, ...]], None]]:
    """Return the node of a named tuple without its fields, and a function that sets them."""
    # The value is an array, or an object with the names of the fields.
    wrong = ("named_tuple_type", f"Input should be a tuple, list, dictionary or an instance of {cls.__name__}")
    node = Node("named_tuple", lambda value: value, label=cls.__name__, annotation=cls, hashable=None)

    def complete(fields: tuple[Field, ...]) -> None:
        node.fields = fields
        names = frozenset(field.name for field in fields)
        converters: list[Converter] = [field.node.convert for field in fields]
        required = sum(field.required for field in fields)
        convert_fields = fields_converter(fields)

        def convert(value: Any) -> Any:
            if type(value) is list:
                return cls(*convert_positional("NamedTuple", converters, required, value))
            if type(value) is not dict:
                raise InvalidValue(*wrong)
            errors = None
            found: dict[str, Any] = {}
            try:
                found = convert_fields(value)
            except InvalidValue as error:
                errors = error
            for name in value:
                if name not in names:  # unlike a dataclass, as in pydantic
                    errors = collect(errors, InvalidValue(*UNEXPECTED), name)
            if errors is not None:
                raise errors
            return cls(**found)

        node.convert = convert

    return node, complete
