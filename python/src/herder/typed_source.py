"""Writes the functions that convert records and arguments as Python source, as `dataclasses` does for `__init__`.

A loop over the fields takes twice as long. For `Order`, with `id: int`, `due: date` and `note: str | None = None`:

    def convert(value):
        if type(value) is not dict:
            raise InvalidValue(*wrong)
        try:
            v0 = value['id']
            v1 = value['due']
        except KeyError:
            v1 = ABSENT
        if v1 is ABSENT:
            return step_by_step(value)
        v2 = value.get('note', d2)
        errors = None
        if type(v0) is not int:
            try:
                v0 = c0(v0)
            except InvalidValue as error:
                errors = collect(errors, error, 'id')
        try:
            v1 = c1(v1)
        except InvalidValue as error:
            errors = collect(errors, error, 'due')
        if v2 is not None and type(v2) is not str:
            ...
        if errors is not None:
            raise errors
        try:
            return construct(v0, v1, v2)
        except (ValueError, AssertionError) as error:
            raise refused(error) from None

`step_by_step` is the loop. It serves objects that lack a required field, which is known before a value is converted: so
no value is converted twice, which matters to code of the application. A function is compiled when it first runs, so the
start of a worker does not become slower. `linecache` has the source, so tracebacks can show it.
"""

from __future__ import annotations

import builtins
import linecache
from itertools import count
from types import FunctionType

from herder.argument_errors import InvalidValue, collect
from herder.error_frames import GENERATED
from herder.text import text
from herder.typed_nodes import JSON_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.typed_arguments import ArgumentConverter
    from herder.typed_nodes import Field

    Parameters = list[tuple[str, Any, bool]]
    Step = Callable[[Any], Any]

ABSENT = object()  # replaces the value of a key that the object does not have
NONE = type(None)
_numbers = count(1)


def dataclass_converter(cls: Any, fields: tuple[Field, ...], wrong: tuple[str, str], step_by_step: Step) -> Step:
    """Return the converter of a dataclass. `wrong` is the error of a value that is no object."""

    def write() -> Source:
        parameters = constructor_parameters(cls, fields)
        source = Source(fields, parameters)
        source.names |= {"construct": cls, "wrong": wrong, "refused": refused, "step_by_step": step_by_step}
        source.add("def convert(value):", "    if type(value) is not dict:", "        raise InvalidValue(*wrong)")
        source.look_up("value", "return step_by_step(value)")
        source.convert_all()
        source.add("    if errors is not None:", "        raise errors")
        source.add("    try:", f"        return {source.call('construct')}")
        source.add("    except (ValueError, AssertionError) as error:", "        raise refused(error) from None")
        return source

    return compiled_at_first_run(cls.__name__, write)


def refused(error: BaseException) -> InvalidValue:
    """Return the error of a value that `__post_init__` refuses."""
    if issubclass(type(error), ValueError):
        return InvalidValue("value_error", f"Value error, {text(error)}")
    return InvalidValue("assertion_error", f"Assertion failed, {text(error)}")


def handler_caller(
    command: str, function: Callable[..., Any], fields: tuple[Field, ...], is_async: bool, converter: ArgumentConverter
) -> Callable[..., Any]:
    """Return a function that converts its arguments and calls the handler `function` with them."""
    wait = "await " if is_async else ""

    def write() -> Source:
        source = Source(fields, parameters_of(function, fields))
        source.names |= {"function": function, "step_by_step": converter.convert, "forget": converter.forget}
        source.names |= {name: getattr(converter, name) for name in ("unexpected", "too_deep", "rejection")}
        forget = ["forget()"] if converter.outcomes else []
        source.add(f"{'async ' if is_async else ''}def convert(**arguments):")
        source.look_up("arguments", f"return {wait}function(**step_by_step(arguments))")
        source.add(*(f"    {line}" for line in [f"size = {len(fields)}", *forget, "try:"]))
        source.depth = 2
        source.convert_all(counted=True)
        source.add("        if len(arguments) != size:", "            errors = unexpected(errors, arguments)")
        source.add("    except RecursionError as error:", "        errors = too_deep(error, arguments)")
        source.add("        if errors is None:", "            raise")
        if forget:
            source.add("    finally:", "        forget()")
        source.add("    if errors is not None:", "        raise rejection(errors)")
        source.add(f"    return {wait}{source.call('function')}")
        return source

    return compiled_at_first_run(command, write, is_async)


class Source:
    """The lines of a function, and the names that they use."""

    def __init__(self, fields: tuple[Field, ...], parameters: Parameters | None) -> None:
        """`parameters` are those of the function that gets the values: see `parameters_of`."""
        self.fields = fields
        self.parameters = parameters
        self.defaults = {name: default for name, default, _ in parameters or ()}
        self.depth = 1  # of the indentation of conversions
        self.lines: list[str] = []
        self.names: dict[str, Any] = {f"c{at}": field.node.convert for at, field in enumerate(fields)}

    def add(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines

    def is_required(self, field: Field) -> bool:
        """Whether the values must contain the field. Without known defaults, an absent field cannot be replaced."""
        return field.required or self.parameters is None

    def look_up(self, values: str, otherwise: str) -> None:
        """Look up the fields in the dict `values`. If a required one is missing, run the line `otherwise`."""
        required = [(at, field) for at, field in enumerate(self.fields) if self.is_required(field)]
        if required:
            self.add("    try:", *(f"        v{at} = {values}[{field.name!r}]" for at, field in required))
            # The last one marks that one is missing, since `otherwise` must not run while a `KeyError` is handled.
            last = f"v{required[-1][0]}"
            self.add("    except KeyError:", f"        {last} = ABSENT")
            self.add(f"    if {last} is ABSENT:", f"        {otherwise}")
        for at, field in enumerate(self.fields):
            if not self.is_required(field):
                self.names[f"d{at}"] = default = self.defaults[field.name]
                # A default that fits needs no test of its own.
                absent = f"d{at}" if type(default) in field.node.unchanged and values == "value" else "ABSENT"
                self.add(f"    v{at} = {values}.get({field.name!r}, {absent})")

    def convert_all(self, counted: bool = False) -> None:
        """Convert all values, and collect the errors. `counted`: `size` becomes the number of those that are given."""
        indent = "    " * self.depth
        self.add(f"{indent}errors = None")
        for at, field in enumerate(self.fields):
            condition = self.misfit(at)
            if not self.is_required(field) and (counted or type(self.defaults[field.name]) not in field.node.unchanged):
                self.add(f"{indent}if v{at} is ABSENT:", f"{indent}    v{at} = d{at}")
                if counted:
                    self.add(f"{indent}    size -= 1")
                if condition != "False":
                    self.add(f"{indent}elif {condition}:")
            elif condition != "False":
                self.add(f"{indent}if {condition}:")
            if condition != "False":
                self.add(f"{indent}    try:", f"{indent}        v{at} = c{at}(v{at})")
                self.add(f"{indent}    except InvalidValue as error:")
                self.add(f"{indent}        errors = collect(errors, error, {field.name!r})")

    def misfit(self, at: int) -> str:
        """Return the condition under which a value must be converted, as `type(v0) is not int`."""
        types = self.fields[at].node.unchanged
        if types == JSON_TYPES:
            return "False"
        tests = [f"v{at} is not None"] if NONE in types else []
        tests += sorted(f"type(v{at}) is not {kind.__name__}" for kind in types if kind is not NONE)
        return " and ".join(tests) or "True"

    def call(self, function: str) -> str:
        """Return the call of `function` with all values: by position where its parameters are known, else by name."""
        numbers = {field.name: at for at, field in enumerate(self.fields)}
        by_name = self.parameters is None
        given: list[str] = []
        for name, _, is_keyword in self.parameters or [(name, ABSENT, True) for name in numbers]:
            by_name = by_name or is_keyword or name not in numbers  # others have defaults
            if name in numbers:
                given.append(_named(name, f"v{numbers[name]}") if by_name else f"v{numbers[name]}")
        return f"{function}({', '.join(given)})"

    def compile(self, label: str, names: dict[str, Any]) -> FunctionType:
        """Compile the function `convert`, whose globals are `names`. `linecache` has its source then."""
        # The name of a command may be any text.
        file = f"{GENERATED}{label if label.isidentifier() else 'command'} {next(_numbers)}>"
        document = "\n".join([*self.lines, ""])
        names.update(self.names, InvalidValue=InvalidValue, collect=collect, ABSENT=ABSENT)
        exec(compile(document, file, "exec"), names)
        linecache.cache[file] = (len(document), None, document.splitlines(True), file)
        compiled: FunctionType = names["convert"]
        return compiled


def _named(name: str, value: str) -> str:
    """Return an argument by name. Python normalizes other names than those of ASCII if they are written as such."""
    return f"{name}={value}" if name.isascii() and name.isidentifier() else f"**{{{name!r}: {value}}}"


def _first_run(*values: Any, **arguments: Any) -> Any:
    """Is the code of a function that is not compiled yet."""
    return compile_function()(*values, **arguments)  # type: ignore[name-defined]  # noqa: F821


async def _first_run_async(**arguments: Any) -> Any:
    return await compile_function()(**arguments)  # type: ignore[name-defined]  # noqa: F821


def compiled_at_first_run(label: str, write: Callable[[], Source], is_async: bool = False) -> Callable[..., Any]:
    """Return the function whose source `write` returns. It is the same object before and after it is compiled."""
    # The package is that of the innermost frame of a `RecursionError`: see `typed_arguments._raised_here`.
    names: dict[str, Any] = {"__builtins__": builtins, "__name__": __name__, "__package__": __package__}
    function = FunctionType((_first_run_async if is_async else _first_run).__code__, names, "convert")

    def compile_function() -> FunctionType:
        # If an exception comes in between, or another thread, this runs again.
        function.__code__ = write().compile(label, names).__code__
        return function

    names["compile_function"] = compile_function
    return function


def parameters_of(function: Any, fields: tuple[Field, ...]) -> Parameters | None:
    """Return name, default (or `ABSENT`) and whether it is keyword-only of each parameter of a function.

    An argument that is omitted is the same as its default. None: it is no function of Python, or it does not name each
    of `fields`, as most decorators. Arguments must then be passed by name, and only those that are given.
    """
    if type(function) is not FunctionType:
        return None
    code = function.__code__
    size = code.co_argcount
    names = code.co_varnames[: size + code.co_kwonlyargcount]
    values = function.__defaults__ or ()
    defaults = {**dict(zip(names[size - len(values) : size], values, strict=True)), **(function.__kwdefaults__ or {})}
    found = [(name, defaults.get(name, ABSENT), at >= size) for at, name in enumerate(names)]
    known = {name: default for name, default, _ in found}
    if all(field.name in known and (field.required or known[field.name] is not ABSENT) for field in fields):
        return found
    return None


def constructor_parameters(cls: Any, fields: tuple[Field, ...]) -> Parameters | None:
    """Return the parameters of a class without `self`, or None if another function than `__init__` gets them too."""
    if type(cls).__call__ is not type.__call__ or cls.__new__ is not object.__new__:
        return None
    found = parameters_of(cls.__init__, fields)
    return None if found is None else found[1:]
