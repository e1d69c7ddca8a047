"""Evaluates the annotations of a handler. They may be strings, and may name what only type checkers import.

`if TYPE_CHECKING: from herder import Session` must not turn a session into an argument that callers can supply.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import sys

from herder.call import Call
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNIONS = ("UnionType", "_UnionGenericAlias", "Union", "UnionStub")
INJECTED: dict[str, Any] = {"Session": Session, "Call": Call}


class _AttributeStub(type):
    """Gives an unknown name attributes: in `h.Session` only type checkers may import `h`."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return INJECTED.get(name, UnknownAnnotation)


class UnknownAnnotation(metaclass=_AttributeStub):
    """An annotation that does not exist at run time: not checked."""

    def __class_getitem__(cls, _item: Any) -> type[UnknownAnnotation]:
        return cls


class UnionStub:
    """A union whose members were strings."""

    def __init__(self, *members: Any) -> None:
        self.__args__ = members

    def __class_getitem__(cls, items: Any) -> UnionStub:
        """Stand for `typing.Union`."""
        return cls(*(items if isinstance(items, tuple) else (items,)))


class OptionalStub:
    """Stands for `typing.Optional`, where only type checkers import that."""

    def __class_getitem__(cls, item: Any) -> UnionStub:
        return UnionStub(item, None)


TYPING = {"Optional": OptionalStub, "Union": UnionStub}


class _LocalNames:
    """Local names for an annotation: those that are neither its module's nor builtins."""

    def __init__(self, home: dict[str, Any]) -> None:
        self.home = home

    def __getitem__(self, name: str) -> Any:
        if name in self.home or hasattr(builtins, name):
            raise KeyError(name)  # looked up there next
        imported = _imports(str(self.home.get("__file__"))).get(name)
        if imported is None:
            return INJECTED.get(name, UnknownAnnotation)
        module, _, original = imported.rpartition(".")
        if original in INJECTED and module.partition(".")[0] in (
            "",
            "herder",
        ):  # "": of the package itself, as `.types`
            return INJECTED[original]
        return TYPING.get(original, UnknownAnnotation)


@functools.lru_cache(16)
def _imports(file: str) -> dict[str, str]:
    """Map the imported names in a file, also those for type checkers only, to what they name: `S: herder.Session`."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            package = f"{node.module}." if isinstance(node, ast.ImportFrom) and not node.level else ""
            found.update({each.asname or each.name: package + each.name for each in node.names})
    return found


def evaluate(annotation: Any, home: dict[str, Any]) -> Any:
    """Evaluate `annotation` with the names `home` of its module; `UnknownAnnotation` for what does not exist at run time."""
    for _ in range(8):  # a string may evaluate to a string
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None)
        if not isinstance(text, str):
            return _hashable(_evaluate_members(annotation, home))
        try:
            annotation = eval(text, home, _LocalNames(home))  # type: ignore[arg-type]
        except Exception:
            return INJECTED.get(text.rpartition(".")[2], UnknownAnnotation)
    return UnknownAnnotation


def _evaluate_members(annotation: Any, home: dict[str, Any]) -> Any:
    """Evaluate the members of a union, which may be strings: `Optional["Session"]`; and the type in `Annotated`."""
    kind = type(annotation).__name__
    if kind == "TypeAliasType":  # `type S = herder.Session | None`
        try:
            return evaluate(annotation.__value__, home)
        except NameError:
            return UnknownAnnotation
    if kind == "_AnnotatedAlias":
        inner = evaluate(annotation.__origin__, home)
        return inner if any(includes(inner, each) for each in INJECTED.values()) else annotation
    members = annotation.__args__ if kind in UNIONS else ()
    if any(isinstance(each, str) or hasattr(each, "__forward_arg__") for each in members):
        return UnionStub(*(evaluate(each, home) for each in members))
    return annotation


def _hashable(annotation: Any) -> Any:
    """Return `UnknownAnnotation` for what can't be a key of a dict, such as `Annotated[int, []]`."""
    try:
        hash(annotation)
    except TypeError:
        return UnknownAnnotation
    return annotation


def includes(annotation: Any, wanted: type) -> bool:
    """Whether the annotation is `wanted`, or a union with it (`herder.Session | None` includes a session)."""
    if annotation is wanted:
        return True
    return any(includes(each, wanted) for each in getattr(annotation, "__args__", None) or ())


def globals_of(function: Any) -> dict[str, Any]:
    """Return the global names for the annotations of a function, or of a class that is a command."""
    function = inspect.unwrap(function)
    if isinstance(function, type):
        makers = (getattr(function, name, None) for name in ("__new__", "__init__"))
        found = next((each for each in makers if hasattr(each, "__globals__")), None)
        module = vars(sys.modules.get(function.__module__, builtins))
        return module if found is None else inspect.unwrap(found).__globals__
    return getattr(function, "__globals__", {})
