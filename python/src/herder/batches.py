"""Commands whose handler runs several calls at once (`@app.batch`). Imported only by apps that have one."""

from __future__ import annotations

import inspect

from herder.annotations import evaluate
from herder.argument_errors import InvalidValue, rejection
from herder.binding import Command, plain_types
from herder.call import Call, task_call
from herder.signatures import Parameters, place_of, read_parameters, with_own_frame, wraps_async, yields_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from herder.typed_arguments import ArgumentConverter

LISTS = frozenset({"list", "List", "Sequence", "Collection", "Iterable"})
OBJECTS = frozenset(
    {"dataclass", "typed_dict", "named_tuple", "pydantic", "msgspec", "dict", "union", "any", "reference"}
)
ITEM = "item"  # the name of the arguments of a call, as one value
CALL_PARAMETER = "\0call"  # not the name of an argument


class Batch(Call):
    """The calls of one invocation of a handler with `@app.batch`, as `current_call()` returns them there.

    It is cancelled once all its calls are. It has no session and no headers: its `calls` have.
    """

    __slots__ = ("_batch",)

    def __init__(self, calls: Sequence[Call]) -> None:
        super().__init__(calls[0].id, 0, calls[0]._calls)
        self._batch = tuple(calls)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls of the items, in their order."""
        return self._batch

    @property
    def deadline(self) -> float | None:
        """The seconds until the latest deadline of the calls, or None if one of them has none."""
        deadlines = [call.deadline for call in self._batch]
        return None if None in deadlines else max(each for each in deadlines if each is not None)

    @property
    def cancelled(self) -> bool:
        """Whether all calls were abandoned or are past their deadlines. Stop soon: no result is used."""
        return all(call.cancelled for call in self._batch)

    @property
    def session(self) -> None:
        """None: each of the calls has its own."""
        return

    @property
    def headers(self) -> dict[str, str]:
        """No headers: each of the calls has its own."""
        return {}

    def __repr__(self) -> str:
        return f"<herder.Batch of {len(self._batch)} calls>"


class Outcome:
    """The result of one call of a batch, or its error."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value = value
        self.error = error

    def unwrap(self) -> Any:
        """Return the result. Raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


class BatchCommand(Command):
    """A command whose handler takes a list with the arguments of each call, and returns a list with their results.

    `call(**arguments)` runs a single call, as a batch of one.
    """

    __slots__ = ("batch", "converter", "handler", "item_annotation", "run")

    def __init__(self, name: str, function: Callable[..., Any], idempotent: bool, limits: tuple[int, int]) -> None:
        place = place_of(function)
        if yields_items(function):
            raise TypeError(f"command {name!r}{place}: a generator cannot run batches; return a list instead")
        self.item_annotation, parameter = _item_annotation(name, place, function)
        super().__init__(name, _any_arguments, idempotent)
        self.parameters.returns = read_parameters(function).returns
        self.parameters.scope = read_parameters(function).scope
        self.batch = limits  # the maximum number of calls, and the longest wait in microseconds
        self.converter: ArgumentConverter | None = None  # of the arguments of a call, as one value; None: any object
        if plain_types(self.item_annotation) not in ((), (dict,)):
            self.converter = _converter(name, place, self.item_annotation, self.parameters.scope)
        plain_handler = with_own_frame(function)
        self.handler: Callable[[list[Any]], Any] = lambda items: plain_handler(**{parameter: items})
        self.is_async = wraps_async(function)
        self.awaits = False
        self.run: Callable[[Sequence[Call], list[dict[str, Any]]], Any] = (
            self._run_async if self.is_async else self._run
        )
        self.call_parameter = CALL_PARAMETER
        self.reserved, self.injects = frozenset({CALL_PARAMETER}), True
        self.call = self._call_async if self.is_async else self._call

    def _call(self, **arguments: Any) -> Any:
        call = arguments.pop(CALL_PARAMETER)
        return self._run([call], [arguments])[0].unwrap()

    async def _call_async(self, **arguments: Any) -> Any:
        call = arguments.pop(CALL_PARAMETER)
        return (await self._run_async([call], [arguments]))[0].unwrap()

    def _run(self, calls: Sequence[Call], arguments: list[dict[str, Any]]) -> list[Outcome]:
        """Run the handler for these calls. Raises its exception, which is that of each call."""
        outcomes, items, running = self._convert(calls, arguments)
        return self._fill(outcomes, self.handler(items) if running else [])

    async def _run_async(self, calls: Sequence[Call], arguments: list[dict[str, Any]]) -> list[Outcome]:
        """Run an async handler for these calls. Raises its exception, which is that of each call."""
        outcomes, items, running = self._convert(calls, arguments)
        result: Any = []
        if running:
            result = self.handler(items)
            if inspect.isawaitable(result):
                result = await result
        return self._fill(outcomes, result)

    def _convert(
        self, calls: Sequence[Call], arguments: list[dict[str, Any]]
    ) -> tuple[list[Outcome | None], list[Any], list[Call]]:
        """Convert the arguments of each call. Return an outcome for each one that does not fit, and the other items."""
        outcomes: list[Outcome | None] = []
        items, running = [], []
        for call, given in zip(calls, arguments, strict=True):
            try:
                items.append(given if self.converter is None else self._convert_item(self.converter, given))
            except Exception as error:  # of the arguments, or raised by a validator of the application
                outcomes.append(Outcome(error=error))
            else:
                outcomes.append(None)
                running.append(call)
        if running:
            task_call.set(Batch(running))
        return outcomes, items, running

    def _convert_item(self, converter: ArgumentConverter, given: dict[str, Any]) -> Any:
        """Convert the arguments of a call. Raises `CallRejection`, with paths that begin in the arguments."""
        converter.forget()
        try:
            return converter.bind({ITEM: given})[ITEM]
        except InvalidValue as error:
            invalid = error
        except RecursionError as error:
            found = converter.too_deep(error, {ITEM: given})
            if found is None:
                raise
            invalid = found
        finally:
            converter.forget()
        for _, _, path in invalid.errors:
            if path and path[-1] == ITEM:
                path.pop()
        raise rejection(self.name, invalid, f"it takes {_name(self.item_annotation)}")

    def _fill(self, outcomes: list[Outcome | None], results: Any) -> list[Outcome]:
        """Add the results of the handler to the outcomes. Raises an error unless they are a list of that length."""
        count = outcomes.count(None)
        batch = "1 call" if count == 1 else f"{count} calls"
        if not isinstance(results, (list, tuple)):
            raise TypeError(
                f"{self.name} returned an object of type {type(results).__name__} for a batch of {batch};"
                " expected a list with one result for each call"
            )
        if len(results) != count:
            raise ValueError(
                f"{self.name} returned {len(results)} results for a batch of {batch}; expected a list with one"
                " result for each call, in their order (an exception instance for a call that fails)"
            )
        remaining = iter(results)
        return [_outcome(next(remaining)) if each is None else each for each in outcomes]


def _any_arguments(**arguments: Any) -> None:
    """Stand for the signature of a batched handler, whose arguments are checked by the type of its items."""


def _outcome(result: Any) -> Outcome:
    # Not `isinstance`: that runs code of the object, for its `__class__`.
    return Outcome(error=result) if issubclass(type(result), BaseException) else Outcome(result)


def _item_annotation(name: str, place: str, function: Callable[..., Any]) -> tuple[Any, str]:
    """Return the type of the items, and the name of the parameter. Raises `TypeError` for another signature."""
    parameters = read_parameters(function)
    if parameters.dependencies:
        raise TypeError(
            f"command {name!r}{place}: a handler with @app.batch can have no herder.Depends, since it runs several"
            " calls at once; use `app.state` or a lifespan"
        )
    if len(parameters.names) != 1 or parameters.has_kwargs:
        raise TypeError(
            f"command {name!r}{place}: a handler with @app.batch takes exactly one parameter, the list of the items;"
            " `herder.current_call().calls` has the session and the headers of each call"
        )
    parameter, annotation = next(iter(parameters.names.items()))
    if annotation is object or annotation is list or annotation is inspect.Parameter.empty:
        return object, parameter
    origin = getattr(annotation, "__origin__", None)
    arguments: Any = getattr(annotation, "__args__", None) or ()
    if getattr(origin, "__name__", "") not in LISTS or len(arguments) != 1:
        raise TypeError(
            f"command {name!r}{place}: parameter `{parameter}` must be annotated as a list of the items, such as"
            f" `list[dict]` or `list[Item]`, not {annotation!r}"
        )
    return evaluate(arguments[0], parameters.scope), parameter


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or repr(annotation)


def _converter(name: str, place: str, annotation: Any, scope: dict[str, Any]) -> ArgumentConverter:
    """Return what converts the arguments of a call. Raises `TypeError` if they cannot have this type."""
    from herder.typed_arguments import ArgumentConverter, UnsupportedParameter

    parameters = Parameters(scope)
    parameters.names[ITEM] = annotation
    try:
        converter = ArgumentConverter(name, parameters, frozenset())
    except UnsupportedParameter as refused:
        raise TypeError(f"command {name!r}{place}: {refused}") from None
    node = converter.fields[0].node
    if node.kind not in OBJECTS:
        raise TypeError(
            f"command {name!r}{place}: an item has the arguments of a call by name, so its type must be an object: a"
            f" dict, a dataclass, a TypedDict, or a model of pydantic or msgspec, not {node.label}"
        )
    return converter
