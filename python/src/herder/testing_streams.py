"""The streams of `herder.testing.Client`: the items of generator handlers, one step at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from contextvars import Context

END: Any = object()  # in place of an item after the last one


def step_through(items: Generator[Any, None, Any], context: Context) -> Generator[Any, None, None]:
    """Yield the items of a sync generator, each step of which runs in `context`. Close it when this is closed."""
    try:
        while (item := context.run(next, items, END)) is not END:
            yield item
    finally:
        context.run(items.close)


def step_through_loop(
    items: AsyncGenerator[Any, None], context: Context, run: Callable[[Callable[[], Any]], Any]
) -> Generator[Any, None, None]:
    """Do the same for an async generator. `run` runs an async function in an event loop."""
    pump = Pump(items, context)
    try:
        while (item := run(pump.next)) is not END:
            yield item
    finally:
        run(pump.close)


async def step_through_task(items: AsyncGenerator[Any, None], context: Context) -> AsyncGenerator[Any, None]:
    """Do the same in a running event loop."""
    pump = Pump(items, context)
    try:
        while (item := await pump.next()) is not END:
            yield item
    finally:
        await pump.close()


class Pump:
    """Runs an async generator in a task, which has a context of its own. Takes a step for each item that is asked for.

    One task for all steps: Python 3.10 could run each step only in a further copy of the context.
    """

    def __init__(self, items: AsyncGenerator[Any, None], context: Context) -> None:
        self.items = items
        self.context = context
        self.task: asyncio.Task[None] | None = None
        self.request: asyncio.Future[bool]  # whether to take another step
        self.response: asyncio.Future[Any]

    async def next(self) -> Any:
        """Return the next item, or `END`. Raises the exception of the generator."""
        loop = asyncio.get_running_loop()
        self.response = loop.create_future()
        if self.task is None:
            self.request = loop.create_future()
            self.task = self.context.run(loop.create_task, self.run())
        self.request.set_result(True)
        return await self.response

    async def run(self) -> None:
        """Take a step for each request. This is the coroutine of the task."""
        try:
            while await self.request:
                self.request = asyncio.get_running_loop().create_future()
                item = await next_or_end(self.items)
                self.response.set_result(item)
        except BaseException as error:
            if self.response.done():  # nobody asks for an item
                raise
            self.response.set_exception(error)
        finally:
            await self.items.aclose()

    async def close(self) -> None:
        """Close the generator. Raises its exception, unless `next` has raised it."""
        if self.task is None or self.task.done():
            return
        if self.response.done():
            self.request.set_result(False)
        else:  # `next` was cancelled, and a step runs
            self.task.cancel()
        await asyncio.wait((self.task,))
        if not self.task.cancelled():
            self.task.result()


async def next_or_end(items: AsyncGenerator[Any, None]) -> Any:
    """Return the next item of an async generator, or `END`."""
    async for item in items:
        return item
    return END
