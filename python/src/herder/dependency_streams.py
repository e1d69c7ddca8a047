"""Runs the providers of a generator handler whose items are sent as a stream. Their clean-up follows the last step.

Imported only for an app with generator handlers that have dependencies.
"""

# As in `dependencies`, no interrupt is raised in a frame of this file.

from __future__ import annotations

from herder import signals
from herder.dependencies import value_of, value_of_async
from herder.dependency_values import clean_up, clean_up_in_loop
from herder.streams import as_async, is_async_generator, is_generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import Any

    from herder.dependencies import Plan
    from herder.dependency_values import Opened


def wrap(
    plan: Plan,
    function: Callable[..., Any],
    is_async: bool,
    call_parameter: str | None,
    session_parameter: str | None,
) -> Callable[..., Any]:
    """Return a generator function that runs the providers, then the generator of the handler, and cleans up.

    It takes the arguments that `Plan.wrap` names. It is async if `is_async`: the handler or a provider is.
    """
    take_supplied = plan.supplier(call_parameter, session_parameter)

    def stream(**arguments: Any) -> Generator[Any, None, None]:
        error: BaseException | None = None
        opened: Opened = []
        try:
            values = take_supplied(arguments)
            for number, (provider, needs) in enumerate(plan.steps):
                values[number] = value_of(provider, needs, values, opened)
            for name, each in plan.parameters:
                arguments[name] = values[each]
            result = function(**arguments)
            if is_generator(result):
                yield from result  # closes it if this generator is closed
            else:  # the result of a wrapper (`functools.wraps`) around a generator function
                yield result
        except BaseException as raised:
            error = raised
        while opened:
            error = clean_up(*opened.pop(), error)
        if error is not None:
            try:
                raise error
            finally:
                error = None  # its traceback refers to this frame: a cycle otherwise

    async def stream_async(**arguments: Any) -> AsyncGenerator[Any, None]:
        error: BaseException | None = None
        opened: Opened = []
        is_at_yield = False
        items: Any = None
        try:
            values = take_supplied(arguments)
            for number, (provider, needs) in enumerate(plan.steps):
                if provider.is_async:
                    values[number] = await value_of_async(provider, needs, values, opened)
                else:
                    values[number] = value_of(provider, needs, values, opened)
            for name, each in plan.parameters:
                arguments[name] = values[each]
            result = function(**arguments)
            items = result if is_async_generator(result) else as_async(result)
            async for item in items:
                is_at_yield = True
                yield item
                is_at_yield = False
        except GeneratorExit as raised:
            if not is_at_yield:  # not closed by `aclose`: the event loop is closed, and nothing can be awaited any more
                raise
            error = await close(items, raised)
        except BaseException as raised:
            error = raised
        while opened:
            error = await clean_up_in_loop(*opened.pop(), error)
        if error is not None:
            try:
                raise error
            finally:
                error = None  # as above

    return stream_async if is_async else stream


async def close(items: Any, error: BaseException) -> BaseException:
    """Close the generator of a handler. Return the error of the call: `error`, or what the handler raises instead."""
    try:
        await items.aclose()
    except BaseException as raised:
        return raised
    return error


signals.protected_files.add(wrap.__code__.co_filename)
