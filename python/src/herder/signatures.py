"""Reads functions: their parameters, whether they need an event loop, and how they are called. Holds no state.

Signatures are read once, when the app is loaded.
"""

from __future__ import annotations

import functools
import inspect
import sys

from herder.annotations import annotation_globals, describes_default, evaluate, includes
from herder.call import Call
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.depends import Dependency

NO_ANNOTATION = inspect.Parameter.empty
STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
# What Herder calls: the name of each kind of function, and the arguments that it gets.
HOOKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "on_start": ("on_start hook", ()),
    "on_stop": ("on_stop hook", ()),
    "on_session_start": ("on_session_start hook", ("session",)),
    "on_session_end": ("on_session_end hook", ("session", "reason")),
    "health": ("health function", ()),
    "lifespan": ("lifespan", ("app",)),
}


class Parameters:
    """The parameters of a callable: annotations by name, and the names without a default.

    Those with `herder.Depends` are only in `dependencies`.
    """

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope  # the names that annotations may use
        self.names: dict[str, Any] = {}
        self.defaults: dict[str, Any] = {}
        self.dependencies: dict[str, Dependency] = {}  # the other parameters: no arguments of the callable
        self.kwargs_name = ""  # the name of `**kwargs`
        self.kwargs: Any = object  # its annotation
        self.returns: Any = NO_ANNOTATION  # that of the result, not evaluated

    @property
    def required(self) -> frozenset[str]:
        """The names of the parameters without a default."""
        return frozenset(self.names.keys() - self.defaults.keys())

    @property
    def has_kwargs(self) -> bool:
        """Whether the callable accepts any other names."""
        return bool(self.kwargs_name)


def read_parameters(function: Callable[..., Any]) -> Parameters:
    """Read the signature of `function`. Raises `TypeError` if it cannot be called with keyword arguments."""
    found = Parameters(annotation_globals(running_function(inspect.unwrap(function))))
    name = getattr(function, "__qualname__", function)
    try:
        signature = signature_of(function)
    except (TypeError, ValueError) as error:  # of some builtins
        raise TypeError(f"{error}; wrap it in a function") from None
    found.returns = signature.return_annotation
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"{name}: parameter {parameter.name!r} is positional-only, but arguments are passed by name; wrap it in"
                " a function"
            )
        annotation = parameter.annotation
        annotation = object if annotation is NO_ANNOTATION else evaluate(annotation, found.scope)
        depends = sys.modules.get("herder.depends")  # an annotation that is a string may just have loaded it
        dependency = depends and depends.find_dependency(annotation, parameter.default)
        if parameter.kind in STARS and (dependency or includes(annotation, Call) or includes(annotation, Session)):
            raise TypeError(
                f"{name}: `{STARS[parameter.kind]}{parameter.name}` is invalid: herder.Depends, herder.Session and"
                " herder.Call supply one parameter each; write it without `*`"
            )
        if dependency:
            found.dependencies[parameter.name] = dependency
        elif parameter.kind is parameter.VAR_KEYWORD:
            found.kwargs_name, found.kwargs = parameter.name, annotation
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            found.names[parameter.name] = annotation
            if parameter.default is not parameter.empty:
                _check_default(function, parameter.name, parameter.default)
                found.defaults[parameter.name] = parameter.default
    return found


def _check_default(function: Any, name: str, default: Any) -> None:
    """Raise `TypeError` for a description of a default, `x: int = Field(5)`: the handler would get the description."""
    kind = type(default)
    if describes_default(default):
        package = kind.__module__.partition(".")[0]
        raise TypeError(
            f"{getattr(function, '__qualname__', function)}: the default of {name!r} is a {kind.__name__} of {package},"
            f" and the handler would get that object; write `{name}: Annotated[int, herder.Meta(ge=1)] = 5`"
        )


def check_hook(kind: str, function: Any) -> None:
    """Raise `TypeError` if a hook cannot be called with its arguments, or if a call would not run it."""
    what, arguments = HOOKS[kind]
    if not callable(function):
        raise TypeError(f"the {what} {function!r} is invalid; expected a function")
    name = name_of(function)
    try:
        signature = signature_of(function)
    except (TypeError, ValueError):  # of some builtins
        return
    allowed, reason = f"{name}({', '.join(arguments)})", None
    if kind != "lifespan" and is_generator(running_function(function)):
        allowed, reason = "a function without `yield`", "a call of a generator function runs nothing of it"
    elif any(type(each.default).__module__ == "herder.depends" for each in signature.parameters.values()):
        reason = "herder.Depends applies to commands and providers only"
    else:
        try:
            signature.bind(*arguments)
        except TypeError as error:
            reason = str(error)
    if reason is not None:
        raise TypeError(
            f"the {what} {name}({_shown(signature)}){place_of(function)} is invalid: {reason}; allowed: {allowed}"
        )


def _shown(signature: inspect.Signature) -> str:
    """Return the names of parameters. A default may be an object of the application."""
    parameters = signature.parameters.values()
    names = [
        f"{STARS.get(each.kind, '')}{each.name}{'' if each.default is each.empty else '=..'}" for each in parameters
    ]
    return ", ".join(names)


def name_of(function: Any) -> str:
    """Return the name of a function, for messages."""
    return getattr(function, "__qualname__", None) or repr(function)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function."""
    if sys.version_info >= (3, 14):  # annotations are evaluated late, and names for type checkers do not exist then
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def running_function(function: Any) -> Any:
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


def place_of(function: Any) -> str:
    """Return the file and line of a function as ` (file:line)`."""
    code = getattr(running_function(inspect.unwrap(function)), "__code__", None)
    return "" if code is None else f" ({code.co_filename}:{code.co_firstlineno})"


def is_async(function: Any) -> bool:
    """Whether a function, a method, a partial or a callable object needs an event loop."""
    plain = running_function(function)
    return inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)


def yields_items(function: Any) -> bool:
    """Whether a function is a generator, sync or async, or a wrapper of one (`functools.wraps`) that is not async."""
    if is_generator(running_function(function)):
        return True
    return is_generator(inspect.unwrap(function)) and not is_async(function)


def is_generator(function: Any) -> bool:
    """Whether a function is a generator, sync or async."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def wraps_async(function: Any) -> bool:
    """Whether a function is async, or a wrapper of an async one (`functools.wraps`), which may return a coroutine."""
    return (
        is_async(function) or is_async(inspect.unwrap(function)) or is_async(inspect.unwrap(running_function(function)))
    )


async def _collect(items: Any) -> list[Any]:
    return [item async for item in items]


def _collect_items(result: Any) -> Any:
    """Return the items if the result is a generator."""
    if inspect.isgenerator(result):
        return list(result)
    return _collect(result) if inspect.isasyncgen(result) else result


def callable_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that the loop calls. It always has its own Python frame.

    The signal handler raises no interrupt while the loop's frame is the innermost one, so a builtin function that the
    loop called directly could not be interrupted.
    """
    running = running_function(function)
    if inspect.isgeneratorfunction(running):

        def collect_items(**arguments: Any) -> list[Any]:
            return list(function(**arguments))

        return collect_items
    if inspect.isasyncgenfunction(running):

        async def collect(**arguments: Any) -> list[Any]:
            return await _collect(function(**arguments))

        return collect
    if is_generator(inspect.unwrap(function)):  # a wrapper around it

        def collect_result(**arguments: Any) -> Any:
            return _collect_items(function(**arguments))

        return collect_result
    return with_own_frame(function)


def with_own_frame(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs in a Python frame of its own, which can be interrupted."""
    if hasattr(function, "__code__"):
        return function

    def call(**arguments: Any) -> Any:
        return function(**arguments)

    return call
