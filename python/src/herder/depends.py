"""`Depends`: marks the parameters of handlers that providers supply. Imported only if the app uses it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    Scope = Literal["call", "session", "worker"]

SCOPES = ("call", "session", "worker")


class Dependency:
    """What `Depends` returns: the provider of a parameter, and how long its value is kept."""

    __slots__ = ("provider", "scope", "use_cache")

    def __init__(self, provider: Callable[..., Any] | None, scope: str, use_cache: bool) -> None:
        self.provider = provider
        self.scope = scope
        self.use_cache = use_cache

    def __repr__(self) -> str:
        name = getattr(self.provider, "__name__", self.provider)
        return f"herder.Depends({'' if self.provider is None else name})"


def Depends(  # noqa: N802 - it is written like a class, as in FastAPI
    provider: Callable[..., Any] | None = None, *, scope: Scope = "call", use_cache: bool = True
) -> Any:
    """Let `provider` supply a parameter: `conn: Annotated[Conn, herder.Depends(get_conn)]`.

    The parameter is then no argument of the command. A provider is a function, plain or `async`, or a class. A function
    that yields its value once is resumed for clean-up after the call. Without `provider`, it is the annotated class.

    A provider may have dependencies itself, and parameters annotated `herder.Call` or `herder.Session`. A call runs a
    provider once, unless `use_cache` is false. With `scope="worker"` or `scope="session"`, the first call that needs
    the value creates it, and it is kept until the worker stops or the session ends.
    """
    if provider is not None and not callable(provider):
        raise TypeError(f"herder.Depends({provider!r}) is invalid: a provider is a function or a class")
    if scope not in SCOPES:
        raise ValueError(f"scope={scope!r} is invalid; expected {', '.join(map(repr, SCOPES))}")
    if scope != "call" and not use_cache:
        raise ValueError(f"use_cache=False is invalid with scope={scope!r}: the calls share one value")
    return Dependency(provider, scope, use_cache)


def find_dependency(annotation: Any, default: Any) -> Dependency | None:
    """Return the dependency in the annotation or the default of a parameter, with its provider; None if it has none."""
    while type(annotation).__name__ == "TypeAliasType":  # `type Conn = Annotated[...]`
        try:
            annotation = annotation.__value__
        except NameError:  # refused later, as the annotation of an argument
            break
    found = [each for each in getattr(annotation, "__metadata__", ()) if type(each) is Dependency]
    if type(default) is Dependency:
        found.append(default)
    if not found:
        return None
    dependency = found[-1]
    if dependency.provider is not None:
        return dependency
    return Dependency(getattr(annotation, "__origin__", annotation), dependency.scope, dependency.use_cache)
