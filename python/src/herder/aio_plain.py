"""The event loop of an asyncio worker when Herder's own can't be used: asyncio's, with readers and callbacks only.

`aio_loop.WorkerEventLoop` replaces `_run_once` and polls the descriptor of asyncio's selector. Some packages replace
that method too (nest_asyncio, to run a loop within itself), or use a selector that has no descriptor (gevent). This
loop relies on public methods instead, so that it works with whatever replaces parts of asyncio. It has what
`aio.Server` uses of `WorkerEventLoop`. What asyncio loses when an exception comes at a bad moment is lost here too.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys
from contextvars import copy_context

from herder.aio_loop import WorkerEventLoop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

REPLACED = ("_check_running", "_run_once", "run_forever", "run_until_complete")  # by packages that nest runs


def make_loop() -> WorkerEventLoop:
    """Return the loop for this process. Called after the application's module was imported."""
    if is_patched() or not has_descriptor():
        return PlainLoop()  # type: ignore[return-value]
    return WorkerEventLoop()


def is_patched() -> bool:
    """Whether somebody has replaced methods of asyncio's loop, or is likely to: nest_asyncio has been imported."""
    if "nest_asyncio" in sys.modules:
        return True
    methods = [getattr(asyncio.SelectorEventLoop, name, None) for name in REPLACED]
    return not all(str(getattr(method, "__module__", None)).startswith("asyncio.") for method in methods)


def has_descriptor() -> bool:
    """Whether the default selector has a descriptor that can be polled."""
    selector = selectors.DefaultSelector()
    try:
        return isinstance(selector.fileno(), int)  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, OSError, ValueError):
        return False
    finally:
        selector.close()


class PlainLoop(asyncio.SelectorEventLoop):
    """asyncio's loop. It calls `on_iteration` when the calls descriptor is ready, and when `has_work` may be true."""

    def __init__(self) -> None:
        super().__init__()
        self.poller = Watch(self)
        self.on_iteration: Callable[[bool], None] | None = None  # set while calls are served
        self.has_work: Callable[[], bool] = bool
        self.failures: list[tuple[Any, BaseException]] = []
        self.base = copy_context()  # of no call
        self.asked = self.watched_events = 0  # turns that were asked for, and those of them that need no turn of their own
        self.readable = False  # the next turn is to read
        self.in_iteration = False
        self.steps = 0  # turns: what runs in between is not counted

    def reset(self) -> None:
        """Reset the loop so that it can run again, after an exception left `run_forever` at any point."""
        self._thread_id = None
        self._stopping = False
        asyncio._set_running_loop(None)
        self.in_iteration = False
        self.look()

    def look(self) -> None:
        """Have a turn in the next iteration. Not at once: a context can't be entered again by a nested run."""
        if self.on_iteration is not None:
            number = self.asked + 1
            self.call_soon(self.run_iteration, number, context=self.base.copy())
            self.asked = number

    def read_soon(self) -> None:
        """Have a turn that reads."""
        self.readable = True
        self.look()

    def run_iteration(self, number: int) -> None:
        """Call `on_iteration`, and again in the next iteration if that left something to do."""
        if number <= self.watched_events:
            return
        self.watched_events = self.asked
        self.steps += 1
        if self.on_iteration is None or self.in_iteration:  # a sync handler has run this loop: no turn in a turn
            self.poller.unregister()  # it would be ready again and again
            return
        readable, self.readable = self.readable, False
        self.in_iteration = True
        try:
            self.on_iteration(readable)
            again = self.has_work()
        except BaseException as error:
            self.failures += ((None, error),)
            again = True
        finally:
            self.in_iteration = False
        if again:
            self.look()

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """As asyncio's. The end of a task may let a call begin, or another hook."""
        task = super().create_task(coro, **options)
        task.add_done_callback(self.task_done)
        return task

    def call_exception_handler(self, context: Any) -> None:
        """As asyncio's, but the next turn handles first what a callback raised: a task may have lost its next step."""
        handle, error = context.get("handle"), context.get("exception")
        if self.on_iteration is None or handle is None or error is None:
            super().call_exception_handler(context)
        else:
            self.failures += ((handle, error),)
            self.look()

    def report(self, handle: Any, error: BaseException) -> None:
        """Do what asyncio does with what a callback raised."""
        message = f"Exception in callback {handle!r}"
        super().call_exception_handler({"message": message, "exception": error, "handle": handle})

    def task_done(self, _task: asyncio.Task[Any]) -> None:
        """Have a turn after the other callbacks of the task."""
        self.look()


class Watch:
    """The calls descriptor as a loop's reader and writer, with the methods of `select.poll`."""

    def __init__(self, loop: PlainLoop) -> None:
        self.loop = loop
        self.fd = -1
        self.events: int | None = 0  # None: an exception came while they were changed

    def register(self, fd: int, events: int) -> None:
        """Watch for these events only; again is fine."""
        if events == self.events:
            return
        self.fd, self.events = fd, None
        if events & select.POLLIN:
            self.loop.add_reader(fd, self.loop.read_soon)
        else:
            self.loop.remove_reader(fd)
        if events & select.POLLOUT:
            self.loop.add_writer(fd, self.loop.look)
        else:
            self.loop.remove_writer(fd)
        self.events = events

    def unregister(self, _fd: int = -1) -> None:
        """Watch for nothing."""
        if self.fd >= 0:
            self.register(self.fd, 0)
