"""Nodes of strings and numbers with a meaning: literals, enumerations, UUIDs, decimals, paths, addresses. No state."""

from __future__ import annotations

import binascii
import enum
import re

from herder.argument_errors import InvalidValue
from herder.text import text
from herder.typed_nodes import Node, Unsupported, int_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

JSON_SCALARS = (str, int, float, bool, type(None))
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
HEX = "[0-9a-fA-F]"
HYPHENATED = f"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}"
UUID_TEXT = re.compile(rf"(?:urn:uuid:)?{HYPHENATED}|\{{{HYPHENATED}\}}|{HEX}{{32}}")
ADDRESS_CLASS = re.compile("IPv([46])(Address|Interface|Network)")
EXACT_DIGITS = 15  # a double keeps every decimal number of so many digits


def literal_node(values: tuple[Any, ...], annotation: Any) -> Node:
    """Return the node of `Literal[values]`. Raises `Unsupported` for a value that is no literal."""
    table: dict[tuple[type[Any], Any], Any] = {}
    for value in values:
        json_value = _json_value(value, f"Literal[{value!r}]")
        table.setdefault((type(json_value), json_value), value)
    expected = _listed([repr(value) for _, value in table])
    wrong = ("literal_error", f"Input should be {expected}")
    return _table_node("literal", table, wrong, f"literal[{','.join(map(_repr, values))}]", annotation, None)


def _json_value(value: Any, where: str) -> Any:
    """Return what JSON has for a value of a `Literal` or an `Enum`, without subclasses."""
    if isinstance(value, enum.Enum):
        return _json_value(value.value, where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int.__add__(value, 0)
    if isinstance(value, float) and value - value == 0:  # finite
        return float.__add__(value, 0.0)
    if isinstance(value, str):
        return str.__getitem__(value, slice(None))
    if type(value) is bytes:
        return binascii.b2a_base64(value, newline=False).decode()
    raise Unsupported(f"the value of {where} is a {type(value).__name__}; use strings, integers, finite floats or None")


def _repr(value: Any) -> str:
    return repr(value.value) if isinstance(value, enum.Enum) else repr(value)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _table_node(
    kind: str,
    table: dict[tuple[type[Any], Any], Any],
    wrong: tuple[str, str],
    label: str,
    annotation: Any,
    missing: Callable[[Any], Any] | None,
) -> Node:
    """Return the node of the JSON values in `table`. The keys have types: `1`, `1.0` and `true` are equal in Python."""
    get = table.get
    for kind_of, value in list(table):
        if kind_of is float and value.is_integer():  # JSON does not tell 1.0 from 1
            table.setdefault((int, int(value)), table[kind_of, value])

    def convert(value: Any) -> Any:
        try:
            found = get((type(value), value), wrong)
        except TypeError:  # a list or an object
            found = wrong
        if found is not wrong:
            return found
        if missing is not None and type(value) in JSON_SCALARS:
            return missing(value)
        raise InvalidValue(*wrong)

    kinds: set[type[Any]] = {kind_of for kind_of, _ in table}

    def convert_text(text: str) -> Any:
        return convert(text if (str, text) in table else int_key(text))

    convert_key = convert if kinds == {str} else convert_text if kinds <= {str, int} else None
    values = tuple(value for _, value in table)
    node = Node(kind, convert, label=label, annotation=annotation, values=values, convert_key=convert_key)
    if kinds == {str}:
        node.json_type = str
    return node


def enum_node(cls: Any) -> Node:
    """Return the node of an enumeration, by value. Raises `Unsupported` for a member without a JSON value."""
    name, members = cls.__name__, cls.__members__.values()
    if not members:
        raise Unsupported(f"{name} has no members")
    table: dict[tuple[type[Any], Any], Any] = {}
    for member in members:
        json_value = _json_value(member.value, f"{name}.{member.name}")
        table.setdefault((type(json_value), json_value), member)
    shown = list(dict.fromkeys(repr(value) for _, value in table))
    wrong = ("enum", f"Input should be {_listed(shown)}")
    is_flag = issubclass(cls, enum.Flag)
    own = is_flag or "_missing_" in {key for base in cls.__mro__ if base not in ENUM_BASES for key in vars(base)}

    values = {value for _, value in table}

    def missing(value: Any) -> Any:
        if is_flag and (type(value) is not int or value < 0):  # a negative number would be the inverse
            raise InvalidValue(*wrong)
        if value in values:  # of another type: Python would find the member 1 for `true`, without `_missing_`
            raise InvalidValue(*wrong)
        try:
            return cls(value)
        except ValueError:
            raise InvalidValue(*wrong) from None

    node = _table_node("flag" if is_flag else "enum", table, wrong, f"enum[{name}]", cls, missing if own else None)
    node.json_type = None  # unlike a literal, the handler does not get the value itself
    return node


ENUM_BASES = frozenset(
    {enum.Enum, enum.Flag, enum.IntEnum, enum.IntFlag, getattr(enum, "StrEnum", enum.Enum), object, int, str}
)


def uuid_node(cls: Any) -> Node:
    """Return the node of `uuid.UUID`."""

    def convert(value: Any) -> Any:
        if type(value) is not str:
            raise InvalidValue("uuid_type", "UUID input should be a string, bytes or UUID object")
        if UUID_TEXT.fullmatch(value) is None:
            raise InvalidValue("uuid_parsing", "Input should be a valid UUID")
        return cls(value)

    return Node("uuid", convert, annotation=cls, convert_key=convert)


def decimal_node(cls: Any) -> Node:
    """Return the node of `decimal.Decimal`: a string, an integer, or a number of at most 15 digits."""

    def convert(value: Any) -> Any:
        kind = type(value)
        if kind is int:
            return cls(value)
        if kind is float:
            return _from_float(value)
        if kind is not str:
            raise InvalidValue("decimal_type", "Decimal input should be an integer, float, string or Decimal object")
        if NUMBER.fullmatch(value) is not None:
            return _parse(value)
        if value.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise InvalidValue("finite_number", "Input should be a finite number")
        raise InvalidValue("decimal_parsing", "Input should be a valid decimal")

    def _parse(digits: str) -> Any:
        try:
            number = cls(digits)
        except ArithmeticError:  # the exponent is too large
            raise InvalidValue("decimal_parsing", "Input should be a valid decimal") from None
        if not number.is_finite():
            raise InvalidValue("decimal_parsing", "Input should be a valid decimal")
        return number

    def _from_float(value: float) -> Any:
        # The digits of the JSON text are lost. Up to 15 of them can be had again from the double: they are those of
        # the shortest text of the same double. With more digits it is unknown what the caller has sent.
        number = _parse(repr(value))
        if len(number.normalize().as_tuple().digits) > EXACT_DIGITS:
            raise InvalidValue("decimal_inexact", "Decimal input with more than 15 digits should be a string")
        return number

    return Node("decimal", convert, annotation=cls, convert_key=convert)


def path_node(cls: Any) -> Node:
    """Return the node of a class of `pathlib`."""

    def convert(value: Any) -> Any:
        if type(value) is not str:
            raise InvalidValue("path_type", f"Input is not a valid path for {cls!r}")
        try:
            return cls(value)
        except ValueError as error:
            raise InvalidValue("path_type", f"Input is not a valid path: {text(error)}") from None

    return Node("path", convert, annotation=cls, convert_key=convert)


def address_node(cls: Any) -> Node | None:
    """Return the node of a class of `ipaddress`, or None."""
    match = ADDRESS_CLASS.fullmatch(cls.__name__)
    if match is None:
        return None
    version, part = match.groups()
    wrong = (f"ip_v{version}_{part.lower()}", f"Input is not a valid IPv{version} {part.lower()}")

    def convert(value: Any) -> Any:
        if type(value) is str:  # an integer would be an address too
            try:
                return cls(value)
            except ValueError:
                pass
        raise InvalidValue(*wrong)

    return Node("address", convert, annotation=cls, convert_key=convert)
