"""Constraints in `Annotated`: reads them from the metadata of any library, and adds their checks to a node. No state.

Constraints are attributes of the metadata, whatever its class: `herder.Meta`, annotated_types, `msgspec.Meta`, and what
`pydantic.Field` contains. Other metadata is ignored, except what changes values in pydantic (see `needs_pydantic`).
"""

from __future__ import annotations

import operator
import re

from herder.argument_errors import InvalidValue
from herder.text import text
from herder.typed_containers import optional_node, union_node, wrong_length
from herder.typed_nodes import Node, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable
    from typing import Any

    Check = Callable[[Any], None]

ORDERS: dict[str, tuple[str, str]] = {
    "gt": ("greater_than", "Input should be greater than"),
    "ge": ("greater_than_equal", "Input should be greater than or equal to"),
    "lt": ("less_than", "Input should be less than"),
    "le": ("less_than_equal", "Input should be less than or equal to"),
}
NAMES = (
    *ORDERS,
    "multiple_of",
    "min_length",
    "max_length",
    "pattern",
    "tz",
    "max_digits",
    "decimal_places",
)
NUMBERS = frozenset({"int", "float", "decimal"})
SIZED = {
    "list": "List",
    "tuple": "Tuple",
    "fixed_tuple": "Tuple",
    "set": "Set",
    "frozenset": "Frozenset",
    "deque": "Deque",
    "dict": "Dictionary",
    "str": "String",
    "bytes": "Data",
}
APPLIED = ("strip_whitespace", "to_upper", "to_lower", "ascii_only", "discriminator")  # by pydantic
FIELD_SETTINGS = ("alias", "validation_alias", "default_factory")


def read_constraints(metadata: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return the constraints in the metadata of `Annotated`, by name. Raises `Unsupported` for those of pydantic."""
    found: list[tuple[str, Any]] = []
    for each in metadata:
        if isinstance(each, (str, type)):
            continue
        if isinstance(each, re.Pattern):
            found.append(("pattern", each))
            continue
        module = type(each).__module__.partition(".")[0]
        if module == "fastapi" and hasattr(each, "dependency"):  # the caller could send the user that it wants to be
            raise Unsupported(f"{type(each).__name__} of FastAPI is not applied; call the function in the handler")
        nested = getattr(each, "metadata", None)
        if module in ("pydantic", "fastapi") and isinstance(nested, list):  # pydantic's FieldInfo
            _refuse_settings(each)
            found += read_constraints(nested)
            continue
        if module == "annotated_types":
            found += _predicates(each)
        for name in NAMES:
            value = getattr(each, name, None)
            if value is not None and not callable(value):
                found.append((name, value))
    return found


def _refuse_settings(field: Any) -> None:
    """Raise `Unsupported` if pydantic's `Field` sets what applies only in a model."""
    for name in FIELD_SETTINGS:
        if getattr(field, name, None) is not None:
            raise Unsupported(f"`{name}` of pydantic's Field applies only in a model")
    default = getattr(field, "default", None)
    if type(default).__name__ != "PydanticUndefinedType" and default is not ...:
        raise Unsupported(
            "`default` of pydantic's Field applies only in a model; write the default after the annotation"
        )


def _predicates(each: Any) -> list[tuple[str, Any]]:
    kind, function = type(each).__name__, getattr(each, "func", None)
    if kind == "Predicate" and callable(function):
        return [("predicate", function)]
    if kind == "Not" and callable(function):
        return [("predicate", _negated(function))]
    if kind == "Timezone":
        if each.tz not in (None, ...):
            raise Unsupported(f"{each!r} cannot be checked; use Timezone(...) or Timezone(None)")
        return [("tz", each.tz is ...)]
    return []


def _negated(function: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return not function(value)

    return check


def needs_pydantic(metadata: Iterable[Any]) -> bool:
    """Whether only pydantic can apply the metadata: a validator, a discriminator, or a transformation of strings."""
    for each in metadata:
        if isinstance(each, type):
            continue
        if hasattr(type(each), "__get_pydantic_core_schema__"):
            return True
        if type(each).__module__.startswith("pydantic") and any(getattr(each, name, None) for name in APPLIED):
            return True
    return False


def constrain(node: Node, constraints: list[tuple[str, Any]], metadata: tuple[Any, ...]) -> Node:
    """Return a node with the constraints. In a union they apply to the members that they fit, except null."""
    if not constraints:
        described = node.copy()
        described.metadata += metadata
        return described
    if node.kind == "optional":
        return optional_node(constrain(node.items[0], constraints, metadata))
    if node.kind == "union":
        # A constraint belongs to the members of its kind: `Annotated[int | str, Gt(0), MinLen(1)]`.
        applied = {name for each in node.items for name, _ in constraints if _fits(each, name)}
        for name, _ in constraints:
            if name not in applied:
                raise Unsupported(f"the constraint `{name}` applies to no member of the union")
        members = [
            constrain(each, fitting, metadata)
            if (fitting := [pair for pair in constraints if _fits(each, pair[0])])
            else each
            for each in node.items
        ]
        return union_node(members, node.annotation)
    return _with_checks(node, constraints, metadata)


def _fits(node: Node, name: str) -> bool:
    if name == "predicate":
        return node.kind != "reference"
    if name == "pattern":
        return node.kind == "str"
    if name in ("min_length", "max_length"):
        return node.kind in SIZED
    if name == "tz":
        return node.kind in ("datetime", "time")
    if name in ("max_digits", "decimal_places"):
        return node.kind == "decimal"
    numbers = node.kind in NUMBERS
    return numbers or (name in ORDERS and node.kind in ("datetime", "date", "time", "timedelta"))


def _with_checks(node: Node, constraints: list[tuple[str, Any]], metadata: tuple[Any, ...]) -> Node:
    checks: list[Check] = []
    for name, bound in constraints:
        if not _fits(node, name):
            raise Unsupported(f"the constraint `{name}` does not apply to {node.label}")
        checks.append(_check(node, name, bound))
    convert_value, convert_key = node.convert, node.convert_key

    def convert(value: Any) -> Any:
        converted = convert_value(value)
        for check in checks:
            check(converted)
        return converted

    def convert_constrained_key(name: str) -> Any:
        converted = convert_key(name)  # type: ignore[misc]
        for check in checks:
            check(converted)
        return converted

    constrained = node.copy()
    constrained.unchanged = frozenset()
    constrained.convert = convert
    constrained.convert_key = None if convert_key is None else convert_constrained_key
    constrained.constraints = {**node.constraints, **dict(constraints)}
    constrained.metadata += metadata
    return constrained


def _check(node: Node, name: str, bound: Any) -> Check:
    if name in ORDERS:
        return _order(node, name, bound)
    if name == "multiple_of":
        return _multiple(node, bound)
    if name in ("min_length", "max_length"):
        return _length(node, name, bound)
    if name == "pattern":
        return _pattern(bound)
    if name == "tz":
        return _timezone(bound)
    if name == "predicate":
        return _predicate(bound)
    return _digits(name, bound)


def _refuse(name: str, bound: Any) -> Unsupported:
    return Unsupported(f"the constraint `{name}={text(repr(bound))}` is invalid")


def _is_number(value: Any) -> bool:
    is_decimal = type(value).__module__ == "decimal" and type(value).__name__ == "Decimal"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return bool((is_number or is_decimal) and value == value)  # a NaN is not equal to itself


def _order(node: Node, name: str, bound: Any) -> Check:
    type_name, sentence = ORDERS[name]
    if not (_is_number(bound) if node.kind in NUMBERS else type(bound) is node.annotation):
        raise _refuse(name, bound)
    shown = text(_duration(bound) if node.kind == "timedelta" else bound)
    wrong = (type_name, f"{sentence} {shown}")
    fits: Callable[[Any, Any], Any] = getattr(operator, name)

    def check(value: Any) -> None:
        if not fits(value, bound):
            raise InvalidValue(*wrong)

    if node.kind not in ("datetime", "time"):
        return check

    def check_zone(value: Any) -> None:
        try:
            check(value)
        except TypeError:  # one of them has a time zone, the other has none
            raise _zone_error(bound.utcoffset() is not None) from None

    return check_zone


def _duration(value: datetime.timedelta) -> str:
    return f"{value.total_seconds():g} seconds"


def _multiple(node: Node, factor: Any) -> Check:
    if not _is_number(factor) or not factor > 0 or factor == float("inf"):
        raise _refuse("multiple_of", factor)
    wrong = ("multiple_of", f"Input should be a multiple of {factor}")
    divisor = node.annotation(str(factor)) if node.kind == "decimal" else factor

    def is_multiple(value: Any) -> bool:
        try:
            rest = value % divisor
            if not isinstance(rest, float):
                return not rest
            tolerance = abs(value) / 1e9  # as pydantic: 0.3 is a multiple of 0.1
            return bool(abs(rest) <= tolerance or abs(rest - divisor) <= tolerance)
        except ArithmeticError:  # too large to divide exactly
            return False

    def check(value: Any) -> None:
        if not is_multiple(value):
            raise InvalidValue(*wrong)

    return check


def _length(node: Node, name: str, limit: Any) -> Check:
    if type(limit) is not int or limit < 0:
        raise _refuse(name, limit)
    is_min = name == "min_length"
    shown, bound = SIZED[node.kind], "least" if is_min else "most"
    unit = {"str": "character", "bytes": "byte"}.get(node.kind)
    prefix = {"str": "string_", "bytes": "bytes_"}.get(node.kind, "")
    type_name = f"{prefix}too_{'short' if is_min else 'long'}"

    def check(value: Any) -> None:
        size = len(value)
        if size >= limit if is_min else size <= limit:
            return
        if unit is None:
            raise wrong_length(type_name, shown, bound, limit, size)
        units = unit if limit == 1 else f"{unit}s"
        raise InvalidValue(type_name, f"{shown} should have at {bound} {limit} {units}")

    return check


def _pattern(pattern: Any) -> Check:
    try:
        compiled = re.compile(pattern)
        compiled.search("")
    except (re.error, TypeError, RecursionError, OverflowError):
        raise _refuse("pattern", pattern) from None
    wrong = ("string_pattern_mismatch", f"String should match pattern '{compiled.pattern}'")
    search = compiled.search

    def check(value: Any) -> None:
        if search(value) is None:
            raise InvalidValue(*wrong)

    return check


def _zone_error(is_required: bool) -> InvalidValue:
    if is_required:
        return InvalidValue("timezone_aware", "Input should have timezone info")
    return InvalidValue("timezone_naive", "Input should not have timezone info")


def _timezone(is_required: Any) -> Check:
    if type(is_required) is not bool:
        raise _refuse("tz", is_required)

    def check(value: Any) -> None:
        if (value.tzinfo is not None) is not is_required:
            raise _zone_error(is_required)

    return check


def _predicate(function: Callable[[Any], Any]) -> Check:
    name = getattr(function, "__qualname__", None) or repr(function)
    wrong = ("predicate_failed", f"Predicate '{text(name)}' failed")

    def check(value: Any) -> None:
        try:
            holds = function(value)
        except ValueError as error:
            raise InvalidValue("value_error", f"Value error, {text(error)}") from None
        if not holds:
            raise InvalidValue(*wrong)

    return check


def _digits(name: str, limit: Any) -> Check:
    if type(limit) is not int or limit < 0:
        raise _refuse(name, limit)
    if name == "max_digits":
        wrong = ("decimal_max_digits", f"Decimal input should have no more than {limit} digits in total")
    else:
        wrong = ("decimal_max_places", f"Decimal input should have no more than {limit} decimal places")

    def check(value: Any) -> None:
        _, digits, exponent = value.as_tuple()
        places = max(-exponent, 0)
        size = max(len(digits) + max(exponent, 0), places) if name == "max_digits" else places
        if size > limit:
            raise InvalidValue(*wrong)

    return check
