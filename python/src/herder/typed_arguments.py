"""Binds the arguments of a call whose parameters are more than plain JSON types: each is converted by its node.

`ArgumentConverter` is made when the app is loaded, and only for a command that needs it.
"""

from __future__ import annotations

from herder.argument_errors import UNEXPECTED, InvalidValue, collect, describe_parameters, rejection
from herder.typed import Compiler, Scope
from herder.typed_nodes import ANY, NO_DEFAULT, Field, Node, Unsupported, all_nodes
from herder.typed_records import fields_converter
from herder.typed_source import handler_caller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.errors import CallRejection
    from herder.signatures import Parameters
    from herder.typed_nodes import Converter


class ArgumentConverter:
    """The parameters of a command: their nodes, and the conversion of the arguments of a call."""

    def __init__(self, command: str, parameters: Parameters, injected: frozenset[str]) -> None:
        """Compile the annotations, except those of `injected`. Raises `UnsupportedParameter`."""
        self.command = command
        self.injected = injected  # the parameters that Herder supplies: their values are passed on
        self.supplied = injected - parameters.dependencies.keys()  # those whose values are among the arguments
        compiler, scope = Compiler(), Scope(parameters.scope)
        self.fields = tuple(
            Field(
                name,
                _compile(compiler, name, each, scope),
                name in parameters.required,
                parameters.defaults.get(name, NO_DEFAULT),
            )
            for name, each in parameters.names.items()
            if name not in injected
        )
        self.kwargs: Node | None = None
        if parameters.has_kwargs:
            self.kwargs = _compile(compiler, parameters.kwargs_name, parameters.kwargs, scope)
        self.names = frozenset(field.name for field in self.fields)
        self.expected = describe_parameters(
            [field.name for field in self.fields], parameters.required, parameters.has_kwargs
        )
        self.convert_fields = fields_converter(self.fields)
        nodes = all_nodes([*(field.node for field in self.fields), *([self.kwargs] if self.kwargs else [])])
        self.outcomes = [each.outcomes for each in nodes if each.outcomes is not None]

    def wrap(self, function: Callable[..., Any], is_async: bool) -> Callable[..., Any]:
        """Return a function that converts its arguments and calls `function` with them.

        The arguments are converted when the handler runs, not when the call is read: code of the application in it
        (`__post_init__`, validators) can be interrupted then, and its exceptions are those of the handler.
        """
        convert = self.convert
        if self.kwargs is None:
            supplied = (Field(name, ANY, True, NO_DEFAULT) for name in self.supplied)
            return handler_caller(self.command, function, (*self.fields, *supplied), is_async, self)

        def call(**arguments: Any) -> Any:
            return function(**convert(arguments))

        async def call_async(**arguments: Any) -> Any:
            return await function(**convert(arguments))

        return call_async if is_async else call

    def convert(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Convert arguments by name. Raises `CallRejection` with all errors."""
        self.forget()  # an exception at any moment may have left some outcomes of another call
        errors: InvalidValue | None = None
        try:
            return self.bind(arguments)
        except InvalidValue as error:
            errors = error
        except RecursionError as error:
            errors = self.too_deep(error, arguments)
            if errors is None:
                raise
        finally:
            self.forget()
        raise self.rejection(errors)

    def forget(self) -> None:
        """Forget what unions remember."""
        for outcomes in self.outcomes:
            outcomes.known.clear()

    def too_deep(self, error: RecursionError, arguments: dict[str, Any]) -> InvalidValue | None:
        """Return the error of a value that is nested too deeply; None if the application caused the exception."""
        if not _raised_here(error):
            return None
        deepest = max(arguments, key=lambda name: depth(arguments[name]))
        return InvalidValue("nested_too_deeply", "Input is nested too deeply").within(deepest)

    def rejection(self, errors: InvalidValue) -> CallRejection:
        """Return the answer for a call with these errors."""
        return rejection(self.command, errors, self.expected)

    def bind(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Convert arguments by name. Raises `InvalidValue` with all errors."""
        errors = None
        found: dict[str, Any] = {}
        try:
            found = self.convert_fields(arguments)
            if len(found) == len(arguments):
                return found
        except InvalidValue as error:
            errors = error
        found.update((name, arguments[name]) for name in self.injected if name in arguments)
        if self.kwargs is None:
            errors = self.unexpected(errors, arguments)
        else:
            errors = self.extra(self.kwargs.convert, errors, arguments, found)
        if errors is not None:
            raise errors
        return found

    def unexpected(self, errors: InvalidValue | None, arguments: dict[str, Any]) -> InvalidValue | None:
        """Add the errors of arguments that are no parameters."""
        for name in arguments:
            if name not in self.names and name not in self.injected:
                errors = collect(errors, InvalidValue(*UNEXPECTED), name)
        return errors

    def extra(
        self, convert: Converter, errors: InvalidValue | None, arguments: dict[str, Any], found: dict[str, Any]
    ) -> InvalidValue | None:
        """Convert the arguments for `**kwargs` into `found`, and add their errors."""
        for name, value in arguments.items():
            if name not in self.names and name not in self.injected:
                try:
                    found[name] = convert(value)
                except InvalidValue as error:
                    errors = collect(errors, error, name)
        return errors


def depth(value: Any) -> int:
    """Return the number of levels of a JSON value. Does not recurse."""
    levels, inner = 0, [value]
    while inner:
        inner = [
            each
            for outer in inner
            if isinstance(outer, (list, dict))
            for each in (outer.values() if isinstance(outer, dict) else outer)
        ]
        levels += 1
    return levels


def _raised_here(error: BaseException) -> bool:
    """Whether the innermost frame of an exception is Herder's, not the application's."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and tb.tb_frame.f_globals.get("__package__") == __package__


class UnsupportedParameter(TypeError):
    """A parameter whose annotation cannot be honoured."""


def _compile(compiler: Compiler, name: str, annotation: Any, scope: Scope) -> Node:
    try:
        return compiler.compile(annotation, scope)
    except Unsupported as refused:
        where = "".join(f" ({place})" for place in refused.where[-1:])
        raise UnsupportedParameter(f"parameter `{name}`{where}: {refused}") from None
    except RecursionError:
        raise UnsupportedParameter(f"parameter `{name}`: the type contains itself with ever new arguments") from None
