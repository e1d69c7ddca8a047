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
        return INJECTED_TYPES.get(name) or unknown(f"{cls.__name__}.{name}", cls.reason)


class UnknownAnnotation(metaclass=_AttributeStub):
    """Replaces an annotation that does not exist at run time. The app is refused if an argument has it."""

    reason = ""

    def __class_getitem__(cls, _item: Any) -> type[UnknownAnnotation]:
        return cls


def unknown(name: str, reason: str) -> type[UnknownAnnotation]:
    """Return a replacement for the annotation `name`, with the reason why it does not exist."""
    made: type[UnknownAnnotation] = _AttributeStub(name, (UnknownAnnotation,), {"reason": reason})  # type: ignore
    return made


def unknown_reason(annotation: Any) -> str | None:
    """Return why the annotation does not exist, or None if it does."""
    return f"`{annotation.__name__}` {annotation.reason}" if isinstance(annotation, _AttributeStub) else None


def unknown_part(value: Any, depth: int = 3) -> str | None:
    """Return why a name in metadata of `Annotated` does not exist, as in `Meta(ge=LIMIT)`; None if all names do."""
    kind = type(value)
    if kind is _AttributeStub or type(kind) is _AttributeStub:
        return unknown_reason(value if kind is _AttributeStub else kind)
    if not depth or issubclass(kind, type):
        return None
    parts = [*value] if kind in (list, tuple) else [*getattr(value, "__dict__", {}).values()]
    if kind is functools.partial:
        parts += [value.func, value.args, [*value.keywords.values()]]
    for base in kind.__mro__:
        names = vars(base).get("__slots__", ())
        parts += [getattr(value, name, None) for name in ([names] if isinstance(names, str) else names)]
    return next((found for each in parts if (found := unknown_part(each, depth - 1))), None)


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


TYPING_STUBS = {"Any": object, "Optional": OptionalStub, "Union": UnionStub}
DESCRIPTIONS = frozenset({"pydantic.fields.FieldInfo", "dataclasses.Field", "msgspec._core.Field"})
ONLY_FOR_CHECKERS = "exists for type checkers only; import it outside `if TYPE_CHECKING`"


class _LocalNames:
    """Resolves the names in an annotation that are neither globals of its module nor builtins."""

    def __init__(self, module_globals: dict[str, Any]) -> None:
        self.module_globals = module_globals

    def __getitem__(self, name: str) -> Any:
        if name in self.module_globals or hasattr(builtins, name):
            raise KeyError(name)  # `eval` looks there next
        imported = _imports(str(self.module_globals.get("__file__"))).get(name)
        if imported is None:
            return INJECTED_TYPES.get(name) or unknown(name, "is not defined in the module of the function")
        module, _, original = imported.rpartition(".")
        # "" is a relative import, as within this package.
        if original in INJECTED_TYPES and module.partition(".")[0] in ("", "herder"):
            return INJECTED_TYPES[original]
        if module in ("typing", "typing_extensions") and original in TYPING_STUBS:
            return TYPING_STUBS[original]
        return unknown(name, ONLY_FOR_CHECKERS)


@functools.lru_cache(16)
def _imports(file: str) -> dict[str, str]:
    """Map each name that a file imports to its origin (`S: herder.Session`), including names for type checkers only."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    imports: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            package = f"{node.module}." if isinstance(node, ast.ImportFrom) and not node.level else ""
            imports.update({each.asname or each.name: package + each.name for each in node.names})
    return imports


def evaluate(annotation: Any, module_globals: dict[str, Any]) -> Any:
    """Evaluate `annotation` with the globals of its module. Return an `UnknownAnnotation` if a name does not exist."""
    for _ in range(8):  # a string may evaluate to another string
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None)
        if not isinstance(text, str):
            return _evaluate_members(annotation, module_globals)
        try:
            annotation = eval(text, module_globals, _LocalNames(module_globals))  # type: ignore[arg-type]
        except Exception as error:
            return INJECTED_TYPES.get(text.rpartition(".")[2]) or unknown(text, f"cannot be evaluated: {error}")
    return unknown(str(annotation), "is a string in a string")


def _evaluate_members(annotation: Any, module_globals: dict[str, Any]) -> Any:
    """Evaluate the members of a union, which may be strings (`Optional["Session"]`), and the type in `Annotated`."""
    kind = type(annotation).__name__
    if kind == "TypeAliasType":  # `type S = herder.Session | None`
        try:
            value = evaluate(annotation.__value__, module_globals)
        except NameError as error:
            return unknown(str(annotation), f"cannot be evaluated: {error}")
        return value if any(includes(value, each) for each in INJECTED_TYPES.values()) else annotation
    if kind == "_AnnotatedAlias" and not is_dependency(annotation):
        inner = evaluate(annotation.__origin__, module_globals)
        return inner if any(includes(inner, each) for each in INJECTED_TYPES.values()) else annotation
    members = annotation.__args__ if kind in UNION_TYPE_NAMES else ()
    if any(isinstance(each, str) or hasattr(each, "__forward_arg__") for each in members):
        return UnionStub(*(evaluate(each, module_globals) for each in members))
    return annotation


def includes(annotation: Any, injected: type[Any]) -> bool:
    """Whether the annotation is `injected`, or a union with it (`herder.Session | None` includes a session)."""
    if annotation is injected:
        return True
    if type(annotation).__name__ not in UNION_TYPE_NAMES and not hasattr(annotation, "__metadata__"):
        return False  # `list[herder.Session]` is a list, which Herder does not supply
    return any(includes(each, injected) for each in annotation.__args__)


def is_dependency(annotation: Any) -> bool:
    """Whether the annotation is `Annotated` with a `herder.Depends`. Does not import that."""
    return any(type(each).__module__ == "herder.depends" for each in getattr(annotation, "__metadata__", ()))


def is_any(annotation: Any) -> bool:
    """Whether the annotation is `typing.Any`, or that of typing_extensions for Python 3.10."""
    name = getattr(annotation, "_name", None) or getattr(annotation, "__name__", None)
    return name == "Any" and getattr(annotation, "__module__", None) in ("typing", "typing_extensions")


def describes_default(default: Any) -> bool:
    """Whether the default is a description, as in `x: int = Field(5)`, which only the classes of its library read."""
    kind = type(default)
    return f"{kind.__module__}.{kind.__name__}" in DESCRIPTIONS or kind.__module__ == "fastapi.params"


def annotation_globals(function: Any) -> dict[str, Any]:
    """Return the names with which the annotations of a function, or of a class that is a command, are evaluated."""
    function = inspect.unwrap(function)
    names = _module_globals(function)
    # Those of `def first[T](items: list[T])`.
    parameters = {each.__name__: each for each in getattr(function, "__type_params__", ())}
    return {**names, **parameters} if parameters else names


def _module_globals(function: Any) -> dict[str, Any]:
    if isinstance(function, type):
        constructors = (getattr(function, name, None) for name in ("__new__", "__init__"))
        constructor = next((each for each in constructors if hasattr(each, "__globals__")), None)
        module = vars(sys.modules.get(function.__module__, builtins))
        return module if constructor is None else inspect.unwrap(constructor).__globals__
    return getattr(function, "__globals__", {})
