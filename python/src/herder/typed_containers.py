"""Nodes of lists, tuples, sets, dictionaries and unions. No state.

Their converters are quick if everything fits: they leave the loops to C code, and build no paths.
"""

from __future__ import annotations

from _thread import _local
from collections import OrderedDict, deque
from itertools import chain

from herder.argument_errors import (
    MISSING,
    WRONG_TYPE,
    InvalidValue,
    UnionLabel,
    collect,
)
from herder.typed_nodes import ANY, NONE, STR, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from herder.typed_nodes import Converter

ARRAY_ERRORS = {
    "list": WRONG_TYPE[list],
    "tuple": ("tuple_type", "Input should be a valid tuple"),
    "set": ("set_type", "Input should be a valid set"),
    "frozenset": ("frozen_set_type", "Input should be a valid frozenset"),
    "deque": ("deque_type", "Input should be a valid deque"),
}
CONSTRUCTORS: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}
KEY = UnionLabel("[key]")  # in the path of an error of a key, as in pydantic
SCALARS = ("int", "float", "bool", "str", "none", "datetime", "date", "time", "timedelta")
FLAT = frozenset({*SCALARS, "literal", "enum", "flag", "bytes", "uuid", "decimal", "path", "address"})  # have no parts
RECORDS = frozenset({"dataclass", "typed_dict", "named_tuple", "pydantic", "msgspec"})


def convert_each(convert: Converter, values: Iterable[Any], keys: list[str] | None = None) -> list[Any]:
    """Convert all values. Raises `InvalidValue` with all errors, each at its index or its key."""
    converted: list[Any] = []
    errors = None
    # After an exception, `converted` has the values before the wrong one, and the iterator continues after it. So no
    # value is converted twice, which matters to code of the application (`__post_init__`), and the loop runs in C.
    remaining = map(convert, values)
    while True:
        try:
            converted.extend(remaining)
            break
        except InvalidValue as error:
            at = len(converted)
            errors = collect(errors, error, at if keys is None else keys[at])
            if errors.is_full:
                break
            converted.append(None)
    if errors is not None:
        raise errors
    return converted


def array_node(kind: str, item: Node, annotation: Any) -> Node:
    """Return the node of an array of any length: `kind` is the Python type that it becomes."""
    wrong_type, convert_item, unchanged = ARRAY_ERRORS[kind], item.convert, item.unchanged
    construct = CONSTRUCTORS.get(kind)

    def to_list(value: Any) -> list[Any]:
        if type(value) is not list:
            raise InvalidValue(*wrong_type)
        if item is ANY or (unchanged and unchanged.issuperset(map(type, value))):
            return value
        return convert_each(convert_item, value)

    def to_other(value: Any) -> Any:
        return construct(to_list(value))  # type: ignore[misc]

    def to_set(value: Any) -> Any:
        converted = to_list(value)
        try:
            return construct(converted)  # type: ignore[misc]
        except TypeError:
            raise _unhashable(converted) from None

    convert = to_list if construct is None else to_set if kind in ("set", "frozenset") else to_other
    hashable = {"tuple": item.hashable, "frozenset": True}.get(kind, False)
    label = f"{kind}[{item.label}, ...]" if kind == "tuple" else f"{kind}[{item.label}]"
    return Node(kind, convert, label=label, annotation=annotation, items=(item,), hashable=hashable)


def _unhashable(values: list[Any]) -> InvalidValue:
    errors = None
    for index, value in enumerate(values):
        try:
            hash(value)
        except TypeError:
            errors = collect(errors, InvalidValue("set_item_not_hashable", "Set items should be hashable"), index)
            if errors.is_full:
                break
    return errors or InvalidValue("set_item_not_hashable", "Set items should be hashable")


def fixed_tuple_node(items: tuple[Node, ...]) -> Node:
    """Return the node of `tuple[A, B]`."""
    converters = [item.convert for item in items]
    size = len(items)

    def convert(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise InvalidValue(*ARRAY_ERRORS["tuple"])
        if len(value) == size:
            return tuple(convert_each(_call, zip(converters, value, strict=True)))
        return tuple(convert_positional("Tuple", converters, size, value))

    hashable = True if all(item.hashable for item in items) else None
    if any(item.hashable is False for item in items):
        hashable = False
    label = f"tuple[{', '.join(item.label for item in items)}]"
    return Node("fixed_tuple", convert, label=label, annotation=tuple, items=items, hashable=hashable)


def _call(pair: tuple[Converter, Any]) -> Any:
    return pair[0](pair[1])


def convert_positional(name: str, converters: list[Converter], required: int, value: list[Any]) -> list[Any]:
    """Convert the elements of an array whose positions have different types. The first `required` ones must exist."""
    size = len(converters)
    if len(value) > size:
        raise wrong_length("too_long", name, "most", size, len(value))
    errors = None
    converted: list[Any] = []
    try:
        converted = convert_each(_call, zip(converters, value, strict=False))
    except InvalidValue as error:
        errors = error
    for index in range(len(value), required):
        errors = collect(errors, InvalidValue(*MISSING), index)
    if errors is not None:
        raise errors
    return converted


def wrong_length(type: str, name: str, bound: str, limit: int, size: int, unit: str = "item") -> InvalidValue:
    """Return the error of a container that is too long or too short."""
    items = unit if limit == 1 else f"{unit}s"
    return InvalidValue(type, f"{name} should have at {bound} {limit} {items} after validation, not {size}")


def dict_node(key: Node, item: Node, annotation: Any) -> Node:
    """Return the node of a dictionary. `key` must have `convert_key`."""
    convert_key, convert_item, unchanged = key.convert_key, item.convert, item.unchanged
    plain_keys = key is STR or key is ANY

    def to_dict(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise InvalidValue(*WRONG_TYPE[dict])
        if item is ANY or (unchanged and unchanged.issuperset(map(type, value.values()))):
            return value
        return dict(zip(value, convert_each(convert_item, value.values(), list(value)), strict=True))

    def to_dict_of_keys(value: Any) -> dict[Any, Any]:
        errors = None
        converted: dict[Any, Any] = {}
        try:
            values = to_dict(value)
        except InvalidValue as error:
            if type(value) is not dict:
                raise
            errors, values = error, value
        for name, each in values.items():
            try:
                size = len(converted)
                converted[convert_key(name)] = each  # type: ignore[misc]
                if len(converted) == size:
                    raise InvalidValue("duplicate_key", "Another key has the same value")
            except InvalidValue as error:
                errors = collect(errors, error.within(KEY), name)
                if errors.is_full:
                    break
        if errors is not None:
            raise errors
        return converted

    base = to_dict if plain_keys else to_dict_of_keys

    def to_ordered(value: Any) -> OrderedDict[Any, Any]:
        return OrderedDict(base(value))

    convert: Converter = to_ordered if annotation is OrderedDict else base
    label = f"dict[{key.label},{item.label}]"
    return Node("dict", convert, label=label, annotation=annotation, items=(key, item), hashable=False)


def union_node(members: list[Node], annotation: Any) -> Node:
    """Return the node of a union.

    A value whose JSON type is a member is not converted: `datetime | str` gets every string as a `str`. Otherwise the
    first member counts that the value fits; among objects, the one that knows most of the value's keys.
    """
    members = list(
        dict.fromkeys(chain.from_iterable(each.items if each.kind == "union" else [each] for each in members))
    )
    if ANY in members:
        return ANY
    optional = NONE in members or any(each.kind == "optional" for each in members)
    members = list(dict.fromkeys(_without_null(members)))
    if not members:
        return NONE
    inner = members[0] if len(members) == 1 else _union_of_several(members, annotation)
    return optional_node(inner) if optional else inner


def _without_null(members: list[Node]) -> Iterable[Node]:
    for each in members:
        if each.kind == "optional":
            inner = each.items[0]
            yield from inner.items if inner.kind == "union" else (inner,)
        elif each is not NONE:
            yield each


def optional_node(inner: Node) -> Node:
    """Return the node of `inner | None`."""
    convert_inner = inner.convert

    def convert(value: Any) -> Any:
        return None if value is None else convert_inner(value)

    return Node(
        "optional",
        convert,
        label=inner.label,
        annotation=inner.annotation,
        unchanged=inner.unchanged | NONE.unchanged,
        items=(inner,),
        hashable=inner.hashable,
    )


def _union_of_several(members: list[Node], annotation: Any) -> Node:
    unchanged = frozenset(chain.from_iterable(each.unchanged for each in members))
    ordered = _in_order_of_trial(members)
    choices = [(each.convert, _known_keys(each), members.index(each)) for each in ordered]
    labels = [UnionLabel(each.label) for each in members]
    has_records = sum(each.kind in RECORDS for each in members) > 1

    def convert(value: Any) -> Any:
        if type(value) in unchanged:
            return value
        tried = choices
        if has_records and type(value) is dict:
            # The member that knows most of the keys first: the others would drop what they do not know.
            tried = sorted(choices, key=lambda choice: -len(choice[1] & value.keys()))
        failed: list[InvalidValue | None] = [None] * len(labels)
        for convert_member, _, index in tried:
            try:
                return convert_member(value)
            except InvalidValue as error:
                failed[index] = error
        raise _in_order(failed, labels)

    outcomes = Outcomes()
    is_repeated = sum(each.kind not in FLAT for each in members) > 1
    convert_key = _key_converter(ordered) if all(each.convert_key for each in members) else None
    hashable = None if any(each.hashable is not True for each in members) else True
    label = "|".join(each.label for each in members)
    node = Node(
        "union",
        remember(convert, outcomes) if is_repeated else convert,
        label=label,
        annotation=annotation,
        unchanged=unchanged,
        items=tuple(members),
        convert_key=convert_key,
        hashable=hashable,
    )
    node.outcomes = outcomes if is_repeated else None
    return node


def _in_order_of_trial(members: list[Node]) -> list[Node]:
    # Members that leave the value as it is come first, as those of `unchanged` do: literals, types with constraints.
    ordered = sorted(members, key=lambda each: each.kind != "literal" and each.json_type is None)
    first = next((at for at, each in enumerate(ordered) if each.kind == "datetime"), len(ordered))
    # A date alone is also a datetime, its midnight. So a `date` after it would never be tried.
    dates = [each for each in ordered[first:] if each.kind == "date"]
    return [*ordered[:first], *dates, *(each for each in ordered[first:] if each not in dates)]


class Outcomes(_local):
    """What `remember` keeps: each thread has its own, since handlers may run in several threads at once."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, Any, InvalidValue | None]] = {}

    def __len__(self) -> int:
        return len(self.known)


def remember(convert: Converter, outcomes: Outcomes) -> Converter:
    """Return `convert`, which converts each list and object once, although several members of a union contain it.

    Members that contain the union itself would try every value in it again: a wrong value at the 30th level would be
    tried a billion times. `outcomes` must be empty at the start of a call. It holds the values, so that each has an
    `id` of its own.
    """

    def convert_once(value: Any) -> Any:
        if type(value) is not dict and type(value) is not list:
            return convert(value)
        outcomes_of_thread = outcomes.known
        known = outcomes_of_thread.get(id(value))
        if known is None:
            try:
                known = (value, convert(value), None)
            except InvalidValue as error:
                known = (value, None, error.copy())
            outcomes_of_thread[id(value)] = known
        if known[2] is not None:
            raise known[2].copy()
        return known[1]

    return convert_once


def _known_keys(node: Node) -> frozenset[str]:
    if node.kind in ("pydantic", "msgspec"):
        return frozenset(node.values)
    return frozenset(field.name for field in node.fields)


def _in_order(failed: list[InvalidValue | None], labels: list[UnionLabel]) -> InvalidValue:
    """Return the errors of all members, in the order in which the union names them."""
    errors = None
    for error, label in zip(failed, labels, strict=True):
        if error is not None:
            errors = collect(errors, error, label)
    assert errors is not None
    return errors


def _key_converter(members: list[Node]) -> Callable[[str], Any] | None:
    """Return the converter of keys with several types. Texts of numbers would be ambiguous, as in `int | str`."""
    if any(each.kind in ("int", "enum", "flag", "literal") and each.json_type is not str for each in members):
        return None
    converters = [each.convert_key for each in members]

    def convert(text: str) -> Any:
        errors = None
        for each, node in zip(converters, members, strict=True):
            try:
                return each(text)  # type: ignore[misc]
            except InvalidValue as error:
                errors = collect(errors, error, UnionLabel(node.label))
        raise errors  # type: ignore[misc]

    return convert
