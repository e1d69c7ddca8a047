"""The errors of arguments: what does not fit, and where. Holds no state.

The names and sentences are those of pydantic 2 where it has the same error, so that clients written for FastAPI can
read them. A path is built only for values that do not fit, on the way out of the converters.
"""

from __future__ import annotations

from herder.errors import CallRejection
from herder.text import escape_surrogates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_ERRORS = 50  # of one call
MAX_TEXT = 200  # characters of a message, and of a name in a path
MAX_DEPTH = 64  # names and indices of a path; the first ones are kept
MISSING = ("missing", "Field required")
UNEXPECTED = ("extra_forbidden", "Extra inputs are not permitted")
# The error of a value with the wrong JSON type, for each type that an annotation may demand.
WRONG_TYPE: dict[type[Any], tuple[str, str]] = {
    int: ("int_type", "Input should be a valid integer"),
    float: ("float_type", "Input should be a valid number"),
    bool: ("bool_type", "Input should be a valid boolean"),
    str: ("string_type", "Input should be a valid string"),
    list: ("list_type", "Input should be a valid list"),
    dict: ("dict_type", "Input should be a valid dictionary"),
    type(None): ("none_required", "Input should be None"),
}
UNION_LABELS: dict[type[Any], str] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    list: "list[any]",
    dict: "dict[any,any]",
    type(None): "none",
}


class UnionLabel(str):
    """A part of a path that is no name in the value, as the member of a union. Sentences leave it out."""

    __slots__ = ()


class InvalidValue(Exception):
    """A value that does not fit its annotation. `errors` has the type, message and reversed path of each error."""

    def __init__(self, type: str, message: str) -> None:
        self.errors: list[tuple[str, str, list[str | int]]] = [(type, message, [])]

    def within(self, key: str | int) -> InvalidValue:
        """Add the name or index of the value around this one to each path."""
        for _, _, path in self.errors:
            path.append(key)
        return self

    def copy(self) -> InvalidValue:
        """Return a copy, whose paths can be extended independently."""
        copy = InvalidValue("", "")
        copy.errors = [(type, message, [*path]) for type, message, path in self.errors]
        return copy

    @property
    def is_full(self) -> bool:
        """Whether no more errors are kept. A long list of wrong values would take long to refuse otherwise."""
        return len(self.errors) >= MAX_ERRORS


def collect(errors: InvalidValue | None, error: InvalidValue, key: str | int) -> InvalidValue:
    """Add `error`, which was found at `key`, to the errors of the same container."""
    error.within(key)
    if errors is None:
        return error
    errors.errors += error.errors[: MAX_ERRORS - len(errors.errors)]
    return errors


def wrong_types(kinds: tuple[type[Any], ...]) -> InvalidValue:
    """Return the error of a value that has none of the JSON types `kinds`, as for a union of them."""
    members = [kind for kind in kinds if kind is not type(None)] or [type(None)]
    if len(members) == 1:
        return InvalidValue(*WRONG_TYPE[members[0]])
    errors = None
    for kind in members:
        errors = collect(errors, InvalidValue(*WRONG_TYPE[kind]), UnionLabel(UNION_LABELS[kind]))
    assert errors is not None
    return errors


def rejection(command: str, invalid: InvalidValue, expected: str) -> CallRejection:
    """Return the answer for a call of `command`. `expected` describes the parameters of the handler."""
    listed = [
        {"loc": [_shown(key) for key in path[: -MAX_DEPTH - 1 : -1]], "msg": _shorten(message), "type": type}
        for type, message, path in invalid.errors[:MAX_ERRORS]
    ]
    return CallRejection("bad_arguments", f"{command}: {_sentence(invalid, expected)}", errors=listed)


def _sentence(invalid: InvalidValue, expected: str) -> str:
    errors = invalid.errors
    missing = [path[0] for type, _, path in errors if type == MISSING[0] and len(path) == 1]
    unexpected = [path[0] for type, _, path in errors if type == UNEXPECTED[0] and len(path) == 1]
    if unexpected:  # first, since a wrong name also explains why an argument is missing
        text, told = f"unexpected argument {_quoted(unexpected)}; {expected}", len(unexpected)
    elif missing:
        text, told = f"missing argument {_quoted(missing)}; {expected}", len(missing)
    else:
        _, message, path = errors[0]
        text, told = f"{path_text(path)}: {_shorten(message)}", 1
    rest = len(errors) - told
    if not rest:
        return text
    more = f"at least {rest}" if invalid.is_full else str(rest)
    return f"{text} (and {more} more error{'' if rest == 1 else 's'})"


def path_text(path: list[str | int]) -> str:
    """Return a reversed path as text: `order.lines[0].price`."""
    text = ""
    for key in path[: -MAX_DEPTH - 1 : -1]:
        if isinstance(key, int):
            text += f"[{key}]"
        elif not isinstance(key, UnionLabel):
            name = _shorten(key)
            text += (f".{name}" if text else name) if name.isidentifier() else f"[{name!r}]"
    return text


def _quoted(names: list[str | int]) -> str:
    return ", ".join(repr(_shown(name)) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def _shown(key: str | int) -> str | int:
    return key if isinstance(key, int) else _shorten(key)


def _shorten(text: str) -> str:
    """Return `text` as an exact `str` of valid Unicode, shortened."""
    return escape_surrogates(text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "...")[:MAX_TEXT]


def describe_parameters(names: Any, required: frozenset[str], has_kwargs: bool) -> str:
    """Describe the parameters of a handler: `it takes a, b (optional)`."""
    if not names:
        return "it takes any other arguments" if has_kwargs else "it takes no arguments"
    return "it takes " + ", ".join(name if name in required else f"{name} (optional)" for name in names)
