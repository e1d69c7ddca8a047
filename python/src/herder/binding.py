"""Binds a JSON object to the parameters of a handler. Signatures are read once, when the app is loaded."""

from __future__ import annotations

import functools
import inspect
import sys

from herder.annotations import UNION_TYPE_NAMES, annotation_globals, evaluate, includes
from herder.call import Call
from herder.errors import CallRejection
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ANY_TYPE: frozenset[type] = frozenset({dict, list, str, int, float, bool, type(None)})
TYPES_BY_ANNOTATION: dict[Any, frozenset[type]] = {
    int: frozenset({int}),  # not bool, although it is a subclass of int
    float: frozenset({float, int}),
    str: frozenset({str}),
    bool: frozenset({bool}),
    list: frozenset({list}),
    dict: frozenset({dict}),
    None: frozenset({type(None)}),
    type(None): frozenset({type(None)}),
}


class Parameters:
    """The parameters of a callable: annotations by name, the required names, and whether it has `**kwargs`."""

    def __init__(self, names: dict[str, Any], required: frozenset[str], has_kwargs: bool) -> None:
        self.names = names
        self.required = required
        self.has_kwargs = has_kwargs


def read_parameters(function: Callable[..., Any]) -> Parameters:
    """Read the signature of `function`. Raises `TypeError` if it cannot be called with keyword arguments."""
    names, required, has_kwargs = {}, set(), False
    module_globals = annotation_globals(_unwrap(inspect.unwrap(function)))
    for parameter in _signature(function).parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            name = getattr(function, "__qualname__", function)
            raise TypeError(
                f"{name}: parameter {parameter.name!r} is positional-only, but arguments are passed by name"
            )
        if parameter.kind is parameter.VAR_KEYWORD:
            has_kwargs = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            names[parameter.name] = evaluate(parameter.annotation, module_globals)
            if parameter.default is parameter.empty:
                required.add(parameter.name)
    return Parameters(names, frozenset(required), has_kwargs)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # annotations are evaluated late, and names for type checkers do not exist then
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _unwrap(function: Any) -> Any:
    """Return the function that runs: that of a partial, a static method or an object with `func`; else `__call__`.

    `inspect.isroutine` does not work here: it also accepts decorators that are classes with `__get__`.
    """
    for _ in range(32):  # bounded, since an object may be its own `func`
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


def json_types(annotation: Any) -> frozenset[type]:
    """Return the types of JSON values that fit `annotation`. An unknown annotation accepts all."""
    if annotation in TYPES_BY_ANNOTATION:
        return TYPES_BY_ANNOTATION[annotation]
    if type(annotation).__name__ in UNION_TYPE_NAMES:
        return frozenset(kind for member in annotation.__args__ for kind in json_types(member))
    origin = getattr(annotation, "__origin__", None)
    return TYPES_BY_ANNOTATION[origin] if origin in (list, dict) else ANY_TYPE


JSON_NAMES = {
    dict: "object",
    list: "array",
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    type(None): "null",
}


def _describe_types(types: frozenset[type]) -> str:
    names = [name for kind, name in JSON_NAMES.items() if kind in types]
    if float in types and int in types:
        names = ["number" if name == "float" else name for name in names if name != "int"]
    return " or ".join(names)


class Command:
    """One command: the function to call, and the rules for its arguments."""

    __slots__ = (
        "accepted_types",
        "call",
        "call_parameter",
        "complete_count",
        "idempotent",
        "injects",
        "is_async",
        "name",
        "required",
        "reserved",
        "session_parameter",
        "types_of",
    )

    def __init__(self, name: str, function: Callable[..., Any], idempotent: bool) -> None:
        self.name = name
        self.idempotent = idempotent
        signature = read_parameters(function)
        annotations = signature.names
        self.session_parameter = _injected_parameter(name, annotations, Session)
        self.call_parameter = _injected_parameter(name, annotations, Call)
        injected = {self.session_parameter, self.call_parameter}
        self.accepted_types = {each: json_types(kind) for each, kind in annotations.items() if each not in injected}
        self.types_of = self.accepted_types.get
        self.required = signature.required - injected
        # With so many arguments none is missing. -1: unknown, since `**kwargs` accepts more names.
        self.complete_count = -1 if signature.has_kwargs else len(self.accepted_types)
        self.injects = injected != {None}  # whether the loop adds a `Session` or a `Call` to the arguments
        # None: no other arguments. Otherwise the handler has `**kwargs` and accepts all names but these.
        self.reserved = injected - {None} if signature.has_kwargs else None
        self.is_async = is_async(function)
        self.call = _callable(function)

    def check(self, arguments: Any) -> None:
        """Check `arguments`. Raises `CallRejection`, whose message is for the caller."""
        if type(arguments) is not dict:
            given = JSON_NAMES.get(type(arguments), type(arguments).__name__)
            raise CallRejection("malformed", f"the arguments must be an object, not {given}")
        types_of = self.types_of
        for name, value in arguments.items():
            kinds = types_of(name)
            if kinds is None:
                if self.reserved is None or name in self.reserved or type(name) is not str:
                    raise self._unexpected(name)
            elif kinds is not ANY_TYPE and type(value) not in kinds:
                raise self._mistyped(name, value)
        # Every name is accepted. So if there are as many as the handler accepts, none is missing.
        if len(arguments) != self.complete_count and not self.required <= arguments.keys():
            raise self._missing(arguments)

    def check_session(self, present: bool) -> None:
        """Raise `CallRejection` if the handler has a session parameter and the call has no session."""
        if self.session_parameter is not None and not present:
            text = f"{self.name} needs a session: set the header `Herder-Session` (in Rust, call `.session(..)`)"
            raise CallRejection("bad_arguments", text)

    def _unexpected(self, name: Any) -> CallRejection:
        return CallRejection("bad_arguments", f"{self.name}: unexpected argument {name!r}; {self._expected()}")

    def _missing(self, arguments: dict[str, Any]) -> CallRejection:
        missing = ", ".join(
            repr(name) for name in self.accepted_types if name in self.required and name not in arguments
        )
        return CallRejection("bad_arguments", f"{self.name}: missing argument {missing}; {self._expected()}")

    def _mistyped(self, name: str, value: Any) -> CallRejection:
        given = JSON_NAMES.get(type(value), type(value).__name__)
        allowed = _describe_types(self.accepted_types[name])
        return CallRejection("bad_arguments", f"{self.name}: argument {name!r} must be {allowed}, not {given}")

    def _expected(self) -> str:
        if not self.accepted_types:
            return "it takes no arguments" if self.reserved is None else "it takes any other arguments"
        names = self.accepted_types
        return "it takes " + ", ".join(name if name in self.required else f"{name} (optional)" for name in names)


def _injected_parameter(command: str, annotations: dict[str, Any], injected: type) -> str | None:
    """Return the parameter of the type `injected`. Raises `TypeError` for two: callers could supply one of them."""
    names = [name for name, kind in annotations.items() if includes(kind, injected)]
    if len(names) > 1:
        found = ", ".join(names)
        raise TypeError(f"{command}: only one parameter may have the type herder.{injected.__name__}, found: {found}")
    return names[0] if names else None


def is_async(function: Any) -> bool:
    """Whether a function, a method, a partial or a callable object needs an event loop."""
    plain = _unwrap(function)
    return inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)


def _callable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that the loop calls. It always has its own Python frame.

    The signal handler raises no interrupt while the loop's frame is the innermost one, so a builtin function that the
    loop called directly could not be interrupted.
    """
    if inspect.isgeneratorfunction(_unwrap(function)):
        return lambda **arguments: list(function(**arguments))
    if inspect.isasyncgenfunction(_unwrap(function)):

        async def collect(**arguments: Any) -> list[Any]:
            return [item async for item in function(**arguments)]

        return collect
    if hasattr(function, "__code__"):
        return function
    return lambda **arguments: function(**arguments)
