"""From a JSON object to a handler's parameters. Everything about a signature is read once, when the app is loaded.

Reads functions by their code object: `inspect` costs a bare worker 2 MiB and is only taken for callables without one.
"""

from __future__ import annotations

import sys

from herder.call import Call
from herder.errors import Refusal
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

POSITIONAL_ONLY = "{}: parameter {!r} is positional only, but arguments come by name"
GENERATOR, COROUTINE, ASYNC_GENERATOR, VAR_ARGUMENTS, VAR_KEYWORDS = 0x20, 0x80, 0x200, 0x04, 0x08

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
    inner = function
    while hasattr(inner, "__wrapped__"):  # functools.wraps: what counts is what it wraps
        inner = inner.__wrapped__
    method = getattr(inner, "__func__", None)
    plain = method or inner
    if not hasattr(plain, "__code__"):
        return _by_inspect(inner)
    code = plain.__code__
    if code.co_posonlyargcount > (method is not None):
        raise TypeError(POSITIONAL_ONLY.format(plain.__qualname__, code.co_varnames[code.co_posonlyargcount - 1]))
    positional = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    required = set(positional[: len(positional) - len(plain.__defaults__ or ())])
    required.update(name for name in keyword_only if name not in (plain.__kwdefaults__ or {}))
    names = (positional[1:] if method else positional) + keyword_only
    annotations = _annotations(plain)
    taken = {name: _evaluated(annotations.get(name), plain) for name in names}
    return Parameters(taken, frozenset(required.intersection(names)), bool(code.co_flags & VAR_KEYWORDS))


def _by_inspect(function: Callable[..., Any]) -> Parameters:
    """A partial, an object with `__call__`, a builtin."""
    import inspect

    names, required, open = {}, set(), False
    home = function if hasattr(function, "__globals__") else type(function).__call__
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise TypeError(POSITIONAL_ONLY.format(function, parameter.name))
        if parameter.kind is parameter.VAR_KEYWORD:
            open = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            annotation = None if parameter.annotation is parameter.empty else parameter.annotation
            names[parameter.name] = _evaluated(annotation, getattr(function, "func", home))
            if parameter.default is parameter.empty:
                required.add(parameter.name)
    return Parameters(names, frozenset(required), open)


def _annotations(function: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):  # annotations are evaluated lazily there, and a name may be for type checkers only
        import annotationlib

        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return getattr(function, "__annotations__", {})


class _Unknown:
    """An annotation that does not exist at run time: not checked."""


def _evaluated(annotation: Any, function: Any) -> Any:
    if annotation is None:
        return _Unknown
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None)
    if text is None:
        return annotation
    try:
        return eval(text, getattr(function, "__globals__", {}))
    except Exception:
        # Imported for type checkers only: `if TYPE_CHECKING: from herder import Session`.
        return {"Session": Session, "Call": Call}.get(text.rpartition(".")[2], _Unknown)


def accepted(annotation: Any) -> frozenset[type]:
    """The JSON types that fit `annotation`. What is not known fits everything."""
    if annotation in CHECKED:
        return CHECKED[annotation]
    if type(annotation).__name__ in ("UnionType", "_UnionGenericAlias", "Union"):
        return frozenset(each for every in annotation.__args__ for each in accepted(every))
    origin = getattr(annotation, "__origin__", None)
    return CHECKED[origin] if origin in (list, dict) else ANYTHING


def _hashable(annotation: Any) -> Any:
    """`Annotated[int, []]` and the like can't be looked up: unknown."""
    try:
        hash(annotation)
    except TypeError:
        return _Unknown
    return annotation


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

    __slots__ = ("call", "call_as", "idempotent", "is_async", "name", "session_as", "slow", "taken", "takes", "wanted")

    def __init__(self, name: str, function: Callable[..., Any], idempotent: bool) -> None:
        self.name = name
        self.idempotent = idempotent
        read = parameters(function)
        kinds = {parameter: _hashable(annotation) for parameter, annotation in read.names.items()}
        self.session_as = next((parameter for parameter, kind in kinds.items() if _is(kind, Session)), None)
        self.call_as = next((parameter for parameter, kind in kinds.items() if _is(kind, Call)), None)
        injected = {self.session_as, self.call_as}
        self.takes = {parameter: accepted(kind) for parameter, kind in kinds.items() if parameter not in injected}
        self.wanted = read.required - injected
        self.taken = injected - {None} if read.open else None  # with **kwargs: all but these
        flags = flags_of(function)
        self.is_async = bool(flags & (COROUTINE | ASYNC_GENERATOR))
        self.call = _callable(function, flags)
        self.slow = 1  # above zero: answers that wait are sent before it runs; unknown counts as slow

    def check(self, arguments: Any) -> None:
        """Whether `arguments` fit. Raises `Refusal` with a message for whoever sent them."""
        if type(arguments) is not dict:
            given = JSON_NAMES.get(type(arguments), type(arguments).__name__)
            raise Refusal("malformed", f"the arguments must be an object, not {given}")
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
            raise Refusal("bad_arguments", f"{self.name}: missing argument {missing}; {self._expected()}")

    def check_session(self, present: bool) -> None:
        """Whether a handler with a session got one."""
        if self.session_as is not None and not present:
            text = (
                f"{self.name} needs a session: name one in the header `Herder-Session` (in Rust, with `.session(..)`)"
            )
            raise Refusal("bad_arguments", text)

    def _unexpected(self, name: Any) -> Refusal:
        return Refusal("bad_arguments", f"{self.name}: unexpected argument {name!r}; {self._expected()}")

    def _mistyped(self, name: str, value: Any) -> Refusal:
        given = JSON_NAMES.get(type(value), type(value).__name__)
        wanted = _described(self.takes[name])
        return Refusal("bad_arguments", f"{self.name}: argument {name!r} must be {wanted}, not {given}")

    def _expected(self) -> str:
        if not self.takes:
            return "it takes none" if self.taken is None else "it takes any others"
        return "it takes " + ", ".join(name if name in self.wanted else f"{name} (optional)" for name in self.takes)


def _is(annotation: Any, wanted: type) -> bool:
    """Whether the annotation is `wanted`, or a union with it (`herder.Session | None` still asks for one)."""
    return annotation is wanted or wanted in (getattr(annotation, "__args__", None) or ())


def flags_of(function: Any) -> int:
    """The code flags of a function, a method, a partial or a callable object: async, generator."""
    plain = getattr(function, "__func__", getattr(function, "func", function))
    code = getattr(plain, "__code__", None) or getattr(type(plain).__call__, "__code__", None)
    return code.co_flags if code is not None else 0


def _callable(function: Callable[..., Any], flags: int) -> Callable[..., Any]:
    """What the loop calls. Always a Python frame of its own: an interrupt is raised only above the loop's frame."""
    if flags & GENERATOR:
        return lambda **arguments: list(function(**arguments))
    if flags & ASYNC_GENERATOR:

        async def collect(**arguments: Any) -> list[Any]:
            return [item async for item in function(**arguments)]

        return collect
    if hasattr(function, "__code__"):
        return function
    return lambda **arguments: function(**arguments)
