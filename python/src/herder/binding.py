"""From a JSON object to a handler's parameters. Everything about a signature is read once, when the app is loaded."""

from __future__ import annotations

import functools
import inspect
import sys

from herder.annotations import UNIONS, evaluate, globals_of, includes
from herder.call import Call
from herder.errors import CallRejection
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ANYTHING: frozenset[type] = frozenset({dict, list, str, int, float, bool, type(None)})
CHECKED: dict[Any, frozenset[type]] = {
    int: frozenset({int}),  # a bool is no int here, whatever Python thinks
    float: frozenset({float, int}),
    str: frozenset({str}),
    bool: frozenset({bool}),
    list: frozenset({list}),
    dict: frozenset({dict}),
    None: frozenset({type(None)}),
    type(None): frozenset({type(None)}),
}


class Parameters:
    """What a callable takes: names with annotations, which are required, and whether others are taken too (`open`)."""

    def __init__(self, names: dict[str, Any], required: frozenset[str], open: bool) -> None:
        self.names = names
        self.required = required
        self.open = open


def parameters(function: Callable[..., Any]) -> Parameters:
    """Read the signature of `function`. Raises `TypeError` for one that can't be called by names."""
    names, required, open = {}, set(), False
    home = globals_of(_unwrap(inspect.unwrap(function)))
    for parameter in _signature(function).parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            name = getattr(function, "__qualname__", function)
            raise TypeError(f"{name}: parameter {parameter.name!r} is positional-only, but arguments are passed by name")
        if parameter.kind is parameter.VAR_KEYWORD:
            open = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            names[parameter.name] = evaluate(parameter.annotation, home)
            if parameter.default is parameter.empty:
                required.add(parameter.name)
    return Parameters(names, frozenset(required), open)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # annotations are evaluated lazily there, and a name may be for type checkers only
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _unwrap(function: Any) -> Any:
    """Return what runs: the function of a partial, a static method or an object with `func`; else `__call__`.

    `inspect.isroutine` would not do: for it, decorators that are classes with `__get__` are routines.
    """
    for _ in range(32):  # an object may be its own `func`
        if inspect.isfunction(function) or inspect.ismethod(function) or isinstance(function, type):
            return function
        if isinstance(function, (staticmethod, classmethod)):
            function = function.__func__
        elif isinstance(function, functools.partial):
            function = function.func
        elif callable(inner := getattr(function, "__dict__", {}).get("func")):
            function = inner
        else:
            break
    return type(function).__call__


def accepted(annotation: Any) -> frozenset[type]:
    """The JSON types that fit `annotation`. What is not known fits everything."""
    if annotation in CHECKED:
        return CHECKED[annotation]
    if type(annotation).__name__ in UNIONS:
        return frozenset(each for every in annotation.__args__ for each in accepted(every))
    origin = getattr(annotation, "__origin__", None)
    return CHECKED[origin] if origin in (list, dict) else ANYTHING


JSON_NAMES = {
    dict: "object",
    list: "array",
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    type(None): "null",
}


def _described(types: frozenset[type]) -> str:
    names = [name for kind, name in JSON_NAMES.items() if kind in types]
    if float in types and int in types:
        names = ["number" if name == "float" else name for name in names if name != "int"]
    return " or ".join(names)


class Command:
    """One command: the function to call, and what has to be true of its arguments."""

    __slots__ = ("call", "call_parameter", "idempotent", "is_async", "name", "session_parameter", "taken", "takes", "wanted")

    def __init__(self, name: str, function: Callable[..., Any], idempotent: bool) -> None:
        self.name = name
        self.idempotent = idempotent
        read = parameters(function)
        kinds = read.names
        self.session_parameter = _injected_parameter(name, kinds, Session)
        self.call_parameter = _injected_parameter(name, kinds, Call)
        injected = {self.session_parameter, self.call_parameter}
        self.takes = {parameter: accepted(kind) for parameter, kind in kinds.items() if parameter not in injected}
        self.wanted = read.required - injected
        self.taken = injected - {None} if read.open else None  # with **kwargs: all but these
        self.is_async = is_async(function)
        self.call = _callable(function)

    def check(self, arguments: Any) -> None:
        """Whether `arguments` fit. Raises `CallRejection` with a message for whoever sent them."""
        if type(arguments) is not dict:
            given = JSON_NAMES.get(type(arguments), type(arguments).__name__)
            raise CallRejection("malformed", f"the arguments must be an object, not {given}")
        takes = self.takes
        for name, value in arguments.items():
            kinds = takes.get(name)
            if kinds is None:
                if self.taken is None or name in self.taken or type(name) is not str:
                    raise self._unexpected(name)
            elif type(value) not in kinds and kinds is not ANYTHING:
                raise self._mistyped(name, value)
        if not self.wanted <= arguments.keys():
            missing = ", ".join(repr(name) for name in takes if name in self.wanted and name not in arguments)
            raise CallRejection("bad_arguments", f"{self.name}: missing argument {missing}; {self._expected()}")

    def check_session(self, present: bool) -> None:
        """Whether a handler with a session got one."""
        if self.session_parameter is not None and not present:
            text = (
                f"{self.name} needs a session: set the header `Herder-Session` (in Rust, call `.session(..)`)"
            )
            raise CallRejection("bad_arguments", text)

    def _unexpected(self, name: Any) -> CallRejection:
        return CallRejection("bad_arguments", f"{self.name}: unexpected argument {name!r}; {self._expected()}")

    def _mistyped(self, name: str, value: Any) -> CallRejection:
        given = JSON_NAMES.get(type(value), type(value).__name__)
        wanted = _described(self.takes[name])
        return CallRejection("bad_arguments", f"{self.name}: argument {name!r} must be {wanted}, not {given}")

    def _expected(self) -> str:
        if not self.takes:
            return "it takes no arguments" if self.taken is None else "it takes any other arguments"
        return "it takes " + ", ".join(name if name in self.wanted else f"{name} (optional)" for name in self.takes)


def _injected_parameter(command: str, kinds: dict[str, Any], wanted: type) -> str | None:
    """The parameter that asks for `wanted`. Raises `TypeError` for two: callers could supply one of them."""
    names = [name for name, kind in kinds.items() if includes(kind, wanted)]
    if len(names) > 1:
        raise TypeError(f"{command}: only one parameter may have the type herder.{wanted.__name__}, found: {', '.join(names)}")
    return names[0] if names else None


def is_async(function: Any) -> bool:
    """Whether a function, a method, a partial or a callable object has to run in an event loop."""
    plain = _unwrap(function)
    return inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)


def _callable(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the loop calls. Always a Python frame of its own: an interrupt is raised only above the loop's frame."""
    if inspect.isgeneratorfunction(_unwrap(function)):
        return lambda **arguments: list(function(**arguments))
    if inspect.isasyncgenfunction(_unwrap(function)):

        async def collect(**arguments: Any) -> list[Any]:
            return [item async for item in function(**arguments)]

        return collect
    if hasattr(function, "__code__"):
        return function
    return lambda **arguments: function(**arguments)
