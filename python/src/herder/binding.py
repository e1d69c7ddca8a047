"""Binds a JSON object to the parameters of a handler. They are read once, when the app is loaded: see `signatures`."""

from __future__ import annotations

from herder.annotations import UNION_TYPE_NAMES, includes, is_any
from herder.argument_errors import (
    MISSING,
    UNEXPECTED,
    InvalidValue,
    collect,
    describe_parameters,
    rejection,
    wrong_types,
)
from herder.call import Call
from herder.errors import CallRejection
from herder.session import Session
from herder.signatures import callable_of, is_async, place_of, read_parameters, wraps_async, yields_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.dependencies import Compiler
    from herder.typed_arguments import ArgumentConverter

ANY_TYPE: frozenset[type[Any]] = frozenset({dict, list, str, int, float, bool, type(None)})
# The JSON types that an annotation accepts, and that need no conversion. All other annotations are compiled by `typed`.
PLAIN_TYPES: dict[Any, tuple[type[Any], ...]] = {
    int: (int,),  # not bool, although it is a subclass of int
    float: (float,),  # `check` converts an int
    str: (str,),
    bool: (bool,),
    list: (list,),
    dict: (dict,),
    None: (type(None),),
    type(None): (type(None),),
}


def plain_types(annotation: Any) -> tuple[type[Any], ...] | None:
    """Return the JSON types that fit a plain annotation: `()` for all, None if the annotation is not plain."""
    try:
        if annotation in PLAIN_TYPES:
            return PLAIN_TYPES[annotation]
    except TypeError:  # it has no hash
        return None
    if annotation is object or is_any(annotation):
        return ()
    if type(annotation).__name__ in UNION_TYPE_NAMES:
        return _plain_union([plain_types(each) for each in annotation.__args__])
    origin = getattr(annotation, "__origin__", None)
    if origin in (list, dict):
        arguments = getattr(annotation, "__args__", None) or ()
        keys = arguments[:-1] if origin is dict else ()
        is_plain = plain_types(arguments[-1]) == () if arguments else True
        return PLAIN_TYPES[origin] if is_plain and keys in ((), (str,)) else None
    return None


def _plain_union(members: list[tuple[type[Any], ...] | None]) -> tuple[type[Any], ...] | None:
    if None in members:
        return None
    return () if () in members else tuple(dict.fromkeys(kind for each in members for kind in each or ()))


JSON_NAMES = {
    dict: "object",
    list: "array",
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    type(None): "null",
}


class Command:
    """One command: the function to call, and the rules for its arguments."""

    batch: tuple[int, int] | None = None  # see `batches.BatchCommand`

    __slots__ = (
        "accepted_types",
        "arguments",
        "awaits",
        "call",
        "call_parameter",
        "complete_count",
        "concurrency",
        "idempotent",
        "in_thread",
        "injects",
        "is_async",
        "name",
        "parameters",
        "required",
        "reserved",
        "session_parameter",
        "stream",
        "timeout_ms",
        "types_of",
    )

    def __init__(
        self, name: str, function: Callable[..., Any], idempotent: bool, compiler: Callable[[], Compiler] | None = None
    ) -> None:
        self.name = name
        self.idempotent = idempotent
        self.parameters = parameters = read_parameters(function)
        self.session_parameter = _injected_parameter(name, parameters.names, Session)
        self.call_parameter = _injected_parameter(name, parameters.names, Call)
        self.is_async = is_async(function)
        self.awaits = not self.is_async and wraps_async(function)  # whether the result may be a coroutine
        self.call = callable_of(function)
        # Returns the generator of a handler that is one, for a caller that takes a stream.
        self.stream: Callable[..., Any] | None = function if yields_items(function) else None
        if parameters.dependencies and compiler is not None:
            self._add_dependencies(function, compiler())
        supplied = frozenset(each for each in (self.session_parameter, self.call_parameter) if each is not None)
        injected = supplied | parameters.dependencies.keys()  # what callers cannot supply
        plain = {each: plain_types(kind) for each, kind in parameters.names.items() if each not in injected}
        self.accepted_types = {each: frozenset(kinds) if kinds else ANY_TYPE for each, kinds in plain.items()}
        self.types_of = self.accepted_types.get
        self.required: frozenset[str] = parameters.required - injected
        # With so many arguments none is missing. -1: unknown, since `**kwargs` accepts more names.
        self.complete_count = -1 if parameters.has_kwargs else len(self.accepted_types)
        self.injects = bool(supplied)  # whether the loop adds a `Session` or a `Call` to the arguments
        # None: no other arguments. Otherwise the handler has `**kwargs` and accepts all names but these.
        self.reserved = injected if parameters.has_kwargs else None
        # The app sets these three.
        self.in_thread = False  # whether it runs in a thread
        self.concurrency: int | None = None  # how many calls of it may run at once in this worker
        self.timeout_ms: int | None = None
        self.arguments: ArgumentConverter | None = None  # what converts the arguments, unless all types are plain
        if None in plain.values() or plain_types(parameters.kwargs) != ():
            self._convert_arguments(function, injected)

    def _add_dependencies(self, function: Callable[..., Any], compiler: Compiler) -> None:
        """Let the call run the providers of its dependencies. They may need the session or the call as well."""
        from herder.dependencies import CALL_PARAMETER, SESSION_PARAMETER
        from herder.dependency_values import InvalidDependency

        try:
            plan = compiler.plan(self.parameters)
        except InvalidDependency as refused:
            raise TypeError(f"command {self.name!r}{place_of(function)}: {refused}") from None
        if plan.needs_session and self.session_parameter is None:
            self.session_parameter = SESSION_PARAMETER
        if plan.needs_call and self.call_parameter is None:
            self.call_parameter = CALL_PARAMETER
        self.call = plan.wrap(self.call, self.is_async, self.awaits, self.call_parameter, self.session_parameter)
        if plan.is_async:  # awaits the coroutine itself
            self.is_async, self.awaits = True, False
        if self.stream is not None:
            from herder import dependency_streams

            waits = self.is_async or self.awaits
            self.stream = dependency_streams.wrap(plan, self.stream, waits, self.call_parameter, self.session_parameter)

    def _convert_arguments(self, function: Callable[..., Any], injected: frozenset[str]) -> None:
        """Let the call convert its arguments. `check` only refuses the names of injected parameters then."""
        from herder.typed_arguments import ArgumentConverter, UnsupportedParameter

        try:
            self.arguments = ArgumentConverter(self.name, self.parameters, injected)
        except UnsupportedParameter as refused:
            raise TypeError(f"command {self.name!r}{place_of(function)}: {refused}") from None
        self.call = self.arguments.wrap(self.call, self.is_async)
        if self.stream is not None:
            self.stream = self.arguments.wrap(self.stream, is_async=False)  # it returns a generator at once
        # All names are unknown then, and accepted as those of `**kwargs` are.
        self.accepted_types = dict.fromkeys(self.accepted_types, ANY_TYPE)
        self.required, self.complete_count, self.reserved = frozenset(), -1, injected
        self.types_of = self.accepted_types.get

    def check(self, arguments: Any) -> None:
        """Check `arguments`. Raises `CallRejection`, whose message is for the caller."""
        if type(arguments) is not dict:
            given = JSON_NAMES.get(type(arguments), type(arguments).__name__)
            raise CallRejection("malformed", f"the arguments must be an object, not {given}")
        types_of = self.types_of
        if self.arguments is not None:  # all other checks are part of the conversion
            if not self.reserved or self.reserved.isdisjoint(arguments):
                return
            raise self._rejection(arguments)
        for name, value in arguments.items():
            kinds = types_of(name)
            if kinds is None:
                if self.reserved is None or name in self.reserved or type(name) is not str:
                    raise self._rejection(arguments)
            elif kinds is not ANY_TYPE and type(value) not in kinds:
                arguments[name] = self._to_float(arguments, kinds, value)
        # Every name is accepted. So if there are as many as the handler accepts, none is missing.
        if len(arguments) != self.complete_count and not self.required <= arguments.keys():
            raise self._rejection(arguments)

    def _to_float(self, arguments: dict[str, Any], kinds: frozenset[type[Any]], value: Any) -> float:
        """Convert an int where only a float fits. Raises `CallRejection` for any other value."""
        if type(value) is int and float in kinds:
            try:
                return float(value)
            except OverflowError:
                pass
        raise self._rejection(arguments)

    def check_session(self, present: bool) -> None:
        """Raise `CallRejection` if the handler has a session parameter and the call has no session."""
        if self.session_parameter is not None and not present:
            text = (
                f"{self.name} needs a session: over HTTP the header `Herder-Session`, or what `server.session_header`"
                " names; in MCP the argument `herder_session`; in `herder call` `--session`; in Rust `.session(..)`"
            )
            raise CallRejection("bad_arguments", text)

    def inject(self, arguments: dict[str, Any], call: Call, session: Session | None) -> None:
        """Add the session and the call to the arguments of a handler that takes them. Raises `CallRejection`."""
        self.check_session(session is not None)
        if self.session_parameter is not None:
            arguments[self.session_parameter] = session
        if self.call_parameter is not None:
            arguments[self.call_parameter] = call

    def _rejection(self, arguments: dict[str, Any]) -> CallRejection:
        """Return the answer for arguments that do not fit, with all errors."""
        errors = None
        for name, kinds in self.accepted_types.items():
            if name not in arguments:
                if name in self.required:
                    errors = collect(errors, InvalidValue(*MISSING), name)
            elif not _fits(arguments[name], kinds):
                plain = plain_types(self.parameters.names[name]) or ()
                errors = collect(errors, wrong_types(plain), name)
        for name in arguments:
            is_known = self.accepted_types.get(name) is not None if self.reserved is None else name not in self.reserved
            if not is_known:
                errors = collect(errors, InvalidValue(*UNEXPECTED), str(name))
        assert errors is not None
        expected = describe_parameters(self.accepted_types, self.parameters.required, self.parameters.has_kwargs)
        return rejection(self.name, errors, expected)


def _fits(value: Any, kinds: frozenset[type[Any]]) -> bool:
    """Whether a value has one of the JSON types `kinds`, or can be converted to a float where that is one of them."""
    if type(value) is not int or float not in kinds:
        return kinds is ANY_TYPE or type(value) in kinds  # of any type: a buffer, too
    return int in kinds or value.bit_length() < 1024 or _is_float(value)


def _is_float(value: int) -> bool:
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _injected_parameter(command: str, annotations: dict[str, Any], injected: type[Any]) -> str | None:
    """Return the parameter of the type `injected`. Raises `TypeError` for two: callers could supply one of them."""
    names = [name for name, kind in annotations.items() if includes(kind, injected)]
    if len(names) > 1:
        found = ", ".join(names)
        raise TypeError(f"{command}: only one parameter may have the type herder.{injected.__name__}, found: {found}")
    return names[0] if names else None
