"""Evaluates the annotations of a handler, which may be strings and may use names that only type checkers import.

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

UNION_TYPE_NAMES = ("UnionType", "_UnionGenericAlias", "Union", "UnionStub")
INJECTED_TYPES: dict[str, Any] = {"Session": Session, "Call": Call}


class _AttributeStub(type):
    """Gives an unknown name attributes: `h` in `h.Session` may be imported for type checkers only."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return INJECTED_TYPES.get(name, UnknownAnnotation)


class UnknownAnnotation(metaclass=_AttributeStub):
    """Replaces an annotation that does not exist at run time. Arguments for it are not checked."""

    def __class_getitem__(cls, _item: Any) -> type[UnknownAnnotation]:
        return cls


class UnionStub:
    """A union whose members were strings, or a replacement of `typing.Union`."""

    def __init__(self, *members: Any) -> None:
        self.__args__ = members

    def __class_getitem__(cls, items: Any) -> UnionStub:
        """Return the union of `items`."""
        return cls(*(items if isinstance(items, tuple) else (items,)))


class OptionalStub:
    """Replaces `typing.Optional` where that is imported for type checkers only."""

    def __class_getitem__(cls, item: Any) -> UnionStub:
        return UnionStub(item, None)


TYPING_STUBS = {"Optional": OptionalStub, "Union": UnionStub}


class _LocalNames:
    """Resolves the names in an annotation that are neither globals of its module nor builtins."""

    def __init__(self, module_globals: dict[str, Any]) -> None:
        self.module_globals = module_globals

    def __getitem__(self, name: str) -> Any:
        if name in self.module_globals or hasattr(builtins, name):
            raise KeyError(name)  # `eval` looks there next
        imported = _imports(str(self.module_globals.get("__file__"))).get(name)
        if imported is None:
            return INJECTED_TYPES.get(name, UnknownAnnotation)
        module, _, original = imported.rpartition(".")
        # "" is a relative import, as within this package.
        if original in INJECTED_TYPES and module.partition(".")[0] in ("", "herder"):
            return INJECTED_TYPES[original]
        return TYPING_STUBS.get(original, UnknownAnnotation)


@functools.lru_cache(16)
def _imports(file: str) -> dict[str, str]:
    """Map each name that a file imports to its origin (`S: herder.Session`), including names for type checkers only."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    imports = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            package = f"{node.module}." if isinstance(node, ast.ImportFrom) and not node.level else ""
            imports.update({each.asname or each.name: package + each.name for each in node.names})
    return imports


def evaluate(annotation: Any, module_globals: dict[str, Any]) -> Any:
    """Evaluate `annotation` with the globals of its module. Return `UnknownAnnotation` if a name does not exist."""
    for _ in range(8):  # a string may evaluate to another string
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None)
        if not isinstance(text, str):
            return _hashable(_evaluate_members(annotation, module_globals))
        try:
            annotation = eval(text, module_globals, _LocalNames(module_globals))  # type: ignore[arg-type]
        except Exception:
            return INJECTED_TYPES.get(text.rpartition(".")[2], UnknownAnnotation)
    return UnknownAnnotation


def _evaluate_members(annotation: Any, module_globals: dict[str, Any]) -> Any:
    """Evaluate the members of a union, which may be strings (`Optional["Session"]`), and the type in `Annotated`."""
    kind = type(annotation).__name__
    if kind == "TypeAliasType":  # `type S = herder.Session | None`
        try:
            return evaluate(annotation.__value__, module_globals)
        except NameError:
            return UnknownAnnotation
    if kind == "_AnnotatedAlias":
        inner = evaluate(annotation.__origin__, module_globals)
        return inner if any(includes(inner, each) for each in INJECTED_TYPES.values()) else annotation
    members = annotation.__args__ if kind in UNION_TYPE_NAMES else ()
    if any(isinstance(each, str) or hasattr(each, "__forward_arg__") for each in members):
        return UnionStub(*(evaluate(each, module_globals) for each in members))
    return annotation


def _hashable(annotation: Any) -> Any:
    """Return `annotation`, or `UnknownAnnotation` if it cannot be hashed, as `Annotated[int, []]`."""
    try:
        hash(annotation)
    except TypeError:
        return UnknownAnnotation
    return annotation


def includes(annotation: Any, injected: type) -> bool:
    """Whether the annotation is `injected`, or a union with it (`herder.Session | None` includes a session)."""
    if annotation is injected:
        return True
    return any(includes(each, injected) for each in getattr(annotation, "__args__", None) or ())


def annotation_globals(function: Any) -> dict[str, Any]:
    """Return the globals in which the annotations of a function, or of a class that is a command, are evaluated."""
    function = inspect.unwrap(function)
    if isinstance(function, type):
        constructors = (getattr(function, name, None) for name in ("__new__", "__init__"))
        constructor = next((each for each in constructors if hasattr(each, "__globals__")), None)
        module = vars(sys.modules.get(function.__module__, builtins))
        return module if constructor is None else inspect.unwrap(constructor).__globals__
    return getattr(function, "__globals__", {})
