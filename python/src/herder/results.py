"""Encodes results as JSON, with the app's encoders and the forms of `result_forms` for types that JSON does not have.

The C code of `json` writes a result, and asks `Rules` for each value that it does not know. After a failure, `Walk`
goes through the result again, in Python: it finds the place of the failure, and it converts keys, for which the C code
never asks.
"""

from __future__ import annotations

import os
import re
import sys

from herder.call import calls
from herder.codec import make_iterencode, unencodable
from herder.errors import NoForm
from herder.result_forms import declares, find_form, mro_of, type_path
from herder.text import MAX_NESTING, SHARED_RECURSION_LIMIT, escape_surrogates, text, type_name, with_recursion_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Form = Callable[[Any], Any]

SCALARS = (str, int, float, type(None))
JSON_TYPES = (*SCALARS, list, tuple, dict)  # with their subclasses: what the C code writes by itself
PLAIN_TYPES = frozenset({*JSON_TYPES, bool})
MAX_FORMS = 32  # how often in a row the form of a value may be a value that needs a form
MAX_KNOWN_TYPES = 1024  # types whose form is kept: a handler may create types without end
MAX_STEPS = 16  # of a path, at each of its ends
MAX_KEY = 64  # characters of a key in a path
NUMBER_OR_TEXT = r'"[^"\\]*(?:\\.[^"\\]*)*"|NaN|-?Infinity'
_recursion_limit = sys.getrecursionlimit


def make_encode(encoders: dict[type[Any], Form], nan_as_null: bool) -> Callable[[Any], bytes]:
    """Return the function that encodes the results of an app. It raises `CallRejection` if a result has no form."""
    encoder = Encoder(Rules(encoders), nan_as_null)
    if nan_as_null or encoder.rules.has_overrides:
        return encoder.encode
    iterencode = encoder.iterencode

    def encode(value: Any) -> bytes:  # as `Encoder.encode`, without its calls: this runs for each result
        try:
            if SHARED_RECURSION_LIMIT and _recursion_limit() > MAX_NESTING:
                return encoder.encode(value)
            return "".join(iterencode(value, 0)).encode()
        except BaseException as error:
            return encoder.encode_again(value, error)

    return encode


class Encoder:
    """Encodes the results of an app."""

    def __init__(self, rules: Rules, nan_as_null: bool) -> None:
        self.rules = rules
        self.nan_as_null = nan_as_null
        self.markers: dict[int, object] = {}
        self.iterencode = make_iterencode(self.markers, rules.form, nan_as_null)

    def encode(self, value: Any) -> bytes:
        """Encode a result."""
        if self.rules.has_overrides:
            return self.encode_again(value, None)
        try:
            return with_recursion_limit(MAX_NESTING, self.write, value)
        except BaseException as error:
            return self.encode_again(value, error)

    def encode_again(self, value: Any, error: BaseException | None) -> bytes:
        """Encode a result by a walk, because of `error` or of encoders for types that the C code writes by itself.

        The walk either finds the place of the error, or converts keys. If it does neither, the result has `error`.
        """
        self.markers.clear()  # the encoder leaves the values that it was in, and would report them as a cycle later
        walk = Walk(self.rules, self.nan_as_null)
        try:
            if error is not None and (not isinstance(error, Exception) or isinstance(error, MemoryError)):
                raise error
            plain = with_recursion_limit(MAX_NESTING, walk.plain, value)
            if error is not None and not walk.converted_keys:
                raise error
            error = None
            return with_recursion_limit(MAX_NESTING, self.write, plain)
        except NoForm as found:
            raise unencodable(found if found is error else NoForm(f"{walk.place()}: {found}")) from None
        except BaseException as other:  # if it is another one: a cycle, too many levels, or a value that changes
            raise unencodable(error or other) from None
        finally:
            self.markers.clear()

    def write(self, value: Any) -> bytes:
        """Encode a value whose keys are those of JSON."""
        document = "".join(self.iterencode(value, 0))
        if self.nan_as_null and ("NaN" in document or "Infinity" in document):
            document = re.sub(NUMBER_OR_TEXT, lambda found: found[0] if found[0][0] == '"' else "null", document)
        return document.encode()


class Rules:
    """Which form the values of a type have."""

    def __init__(self, encoders: dict[type[Any], Form]) -> None:
        self.encoders = encoders
        # The C code writes these types without asking, so every result needs a walk.
        self.has_overrides = any(issubclass(kind, JSON_TYPES) for kind in encoders)
        self.known: dict[type[Any], Form | None] = {}

    def form(self, value: Any) -> Any:
        """Return the form of a value. Raises `NoForm`, or what code of the application raises."""
        kind = type(value)
        form = self.known.get(kind) or self.form_of(kind)
        result = value if form is None else form(value)
        if calls.forked:  # the child of a fork in an encoder: it must not go on as the worker
            os._exit(0)
        return result

    def form_of(self, kind: type[Any]) -> Form | None:
        """Return the function from a value of the type to its form, or None if JSON has the type."""
        if kind in PLAIN_TYPES:
            return None
        try:
            return self.known[kind]
        except KeyError:
            pass
        try:
            form = self.find(kind)
        except (NoForm, RecursionError, MemoryError):
            raise
        except Exception as error:  # the attributes of the type are not what they seem to be
            raise failed_form(kind, error) from None
        if len(self.known) >= MAX_KNOWN_TYPES:
            self.known.clear()
        self.known[kind] = form
        return form

    def find(self, kind: type[Any]) -> Form | None:
        """Find the form of a type: an encoder of the app, `__json__`, or a form of this package."""
        bases = mro_of(kind)
        for base in bases:
            if base in self.encoders and base is not object:
                return self.encoders[base]
        if issubclass(kind, JSON_TYPES):
            return None
        if declares(bases, "__json__"):
            return _own_form
        form = find_form(kind, self.to_json) or self.encoders.get(object)
        if form is None:
            raise NoForm(unknown_type(kind))
        return form

    def to_json(self, value: Any) -> Any:
        """Return a value with all values in it in their forms. NaN is kept: the encoder decides about it later."""
        return Walk(self, nan_as_null=True).plain(value)


def _own_form(value: Any) -> Any:
    kind: Any = type(value)
    return kind.__json__(value)


def unknown_type(kind: type[Any]) -> str:
    """Return why a value of an unknown type cannot be encoded, and what to do."""
    path = type_path(kind)
    advice = ADVICE.get(path) or f"convert it, or register @app.encoder({path})"
    return f"a value of type {short_name(kind)} cannot be encoded as JSON; {advice}"


ADVICE = {
    "generator": "return a list of its items",
    "map": "return a list of its items",
    "filter": "return a list of its items",
    "zip": "return a list of its items",
    "async_generator": "return a list of its items",
    "coroutine": "it was not awaited",
    "type": "return an object of it",
}


class Walk:
    """One pass over a result, which converts all values and keys to those of JSON."""

    def __init__(self, rules: Rules, nan_as_null: bool) -> None:
        self.rules = rules
        self.nan_as_null = nan_as_null
        self.converted_keys = False
        self.path: list[Any] = []  # where the walk is: the index in a list, or the key in a dict, as a tuple of one
        self.active: set[int] = set()  # the ids of the values that the walk is in

    def plain(self, value: Any) -> Any:
        """Return a value in types that JSON has. After an exception, `path` leads to its cause."""
        origins: list[Any] = []  # keeps the ids in `active` from being used again
        while self.rules.form_of(type(value)) is not None:
            if len(origins) == MAX_FORMS:
                raise NoForm(
                    f"a value of type {type_name(value)} cannot be encoded as JSON: its form needs a form itself"
                )
            origins.append(value)
            self.enter(value)
            value = self.apply(value)
        if issubclass(type(value), dict):
            value = self.object(value)
        elif issubclass(type(value), (list, tuple)):
            value = self.array(value)
        else:
            self.check(value)
        self.active.difference_update(map(id, origins))
        return value

    def apply(self, value: Any) -> Any:
        """Return the form of a value. Raises `NoForm` for an exception of the application."""
        try:
            form = self.rules.form(value)
        except (NoForm, RecursionError, MemoryError):
            raise
        except Exception as error:
            raise failed_form(type(value), error) from None
        if form is value:
            raise NoForm(
                f"a value of type {type_name(value)} cannot be encoded as JSON: its encoder returned it unchanged"
            )
        return form

    def array(self, values: Any) -> list[Any]:
        """Convert a list or a tuple."""
        self.enter(values)
        self.path.append(0)
        result: list[Any] = []
        for self.path[-1], value in enumerate(values):
            result.append(self.plain(value))
        self.path.pop()
        self.active.discard(id(values))
        return result

    def object(self, pairs: Any) -> dict[Any, Any]:
        """Convert a dict."""
        self.enter(pairs)
        result: dict[Any, Any] = {}
        for key, value in pairs.items():
            plain = self.key(key)
            if plain in result:
                raise NoForm(f"two keys have the form {text(plain, MAX_KEY)!r}")
            self.path.append((plain,))
            result[plain] = self.plain(value)
            self.path.pop()
        self.active.discard(id(pairs))
        return result

    def key(self, key: Any) -> Any:
        """Return a key in a type that JSON writes as a key. Raises `NoForm` if it has no such form."""
        form = key
        for _ in range(MAX_FORMS):
            kind = type(form)
            try:
                has_form = self.rules.form_of(kind) is not None
            except NoForm:  # says nothing of keys
                break
            if has_form:
                form = self.apply(form)
                self.converted_keys = True
            elif issubclass(kind, SCALARS):
                self.check(form)
                return form
            else:
                break
        raise NoForm(f"keys must be str, int, float, bool or None, not {type_name(key)}")

    def check(self, value: Any) -> None:
        """Check a value without parts."""
        kind = type(value)
        if issubclass(kind, int):
            try:
                int.__repr__(value)
            except ValueError as error:  # more digits than Python converts
                raise NoForm(text(error)) from None
        # `inf - inf` is NaN, which is true. The `-` of numpy would warn.
        if issubclass(kind, float) and float.__sub__(value, value) and not self.nan_as_null:
            raise NoForm('NaN and infinities cannot be encoded as JSON; return None, or create the app with nan="null"')
        if issubclass(kind, str) and escape_surrogates(value) != value:
            raise NoForm("a string contains an unpaired surrogate, which is not valid text")

    def enter(self, value: Any) -> None:
        """Record that the walk is in `value`. Raises `ValueError` if it is already."""
        if id(value) in self.active:
            raise ValueError("Circular reference detected")
        self.active.add(id(value))

    def place(self) -> str:
        """Return the path as Python would write it: `result.lines[0].price`."""
        steps = [step(each) for each in (self.path[:MAX_STEPS], self.path[MAX_STEPS:][-MAX_STEPS:]) for each in each]
        if len(self.path) > 2 * MAX_STEPS:
            steps.insert(MAX_STEPS, "...")
        return "result" + "".join(steps)


def step(part: Any) -> str:
    """Return one step of a path as text."""
    if type(part) is int:
        return f"[{part}]"
    name = text(part[0], MAX_KEY)
    if not issubclass(type(part[0]), str):
        return f"[{name}]"
    return f".{name}" if name.isidentifier() else f"[{name!r}]"


def failed_form(kind: type[Any], error: Exception) -> NoForm:
    """Return the error for a value whose form could not be found because of an exception."""
    return NoForm(f"a value of type {short_name(kind)} cannot be encoded as JSON: {type_name(error)}: {text(error)}")


def short_name(kind: type[Any]) -> str:
    """Return the name of a type without its module."""
    return type_path(kind).rpartition(".")[2]
