"""The event loop of an asyncio worker where `WorkerEventLoop` cannot be used. It relies on asyncio's public methods."""

# `aio_loop.WorkerEventLoop` replaces `_run_once` and polls the descriptor of asyncio's selector. Some packages replace
# that method too (nest_asyncio, to run a loop within itself), or use a selector without a descriptor (gevent). This
# loop works with all of them, and has the attributes of `WorkerEventLoop` that `aio.Server` uses. It protects less: a
# callback that asyncio loses because of an exception at a bad moment is lost here too.

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

# The methods that packages for nested runs of a loop replace.
PATCHED_METHODS = ("_check_running", "_run_once", "run_forever", "run_until_complete")


def make_loop() -> WorkerEventLoop:
    """Return the loop for this process. Must be called after the application's module is imported."""
    if asyncio_is_patched() or not selector_has_descriptor():
        return PlainLoop()  # type: ignore[return-value]
    return WorkerEventLoop()


def asyncio_is_patched() -> bool:
    """Whether methods of asyncio's loop are replaced, or will probably be: nest_asyncio is imported."""
    if "nest_asyncio" in sys.modules:
        return True
    methods = [getattr(asyncio.SelectorEventLoop, name, None) for name in PATCHED_METHODS]
    return not all(str(getattr(method, "__module__", None)).startswith("asyncio.") for method in methods)


def selector_has_descriptor() -> bool:
    """Whether the default selector has a descriptor."""
    selector = selectors.DefaultSelector()
    try:
        return isinstance(selector.fileno(), int)  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, OSError, ValueError):
        return False
    finally:
        selector.close()


class PlainLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, which calls `on_iteration` if the calls descriptor is ready or `has_work` may be true."""

    def __init__(self) -> None:
        super().__init__()
        self.poller = DescriptorWatcher(self)
        self.on_iteration: Callable[[bool], None] | None = None  # set while calls are handled
        self.has_work: Callable[[], bool] = bool
        self.failures: list[tuple[Any, BaseException]] = []
        self.base_context = copy_context()  # the context of no call
        # Each request for an iteration has a number. One iteration covers all requests up to then.
        self.requested_iterations = self.covered_requests = 0
        self.readable = False  # whether the next iteration reads
        self.in_iteration = False
        self.steps = 0  # the number of iterations; the callbacks between them are not counted

    def reset(self) -> None:
        """Reset the loop so that it can run again, after an exception left `run_forever` at any point."""
        self._thread_id = None
        self._stopping = False
        asyncio._set_running_loop(None)
        self.in_iteration = False
        self.wake_up()

    def wake_up(self) -> None:
        """Request a call of `run_iteration`."""
        if self.on_iteration is not None:
            number = self.requested_iterations + 1
            # A copy of the context: a nested run of the loop could not enter the same context a second time.
            self.call_soon(self.run_iteration, number, context=self.base_context.copy())
            self.requested_iterations = number

    def read_soon(self) -> None:
        """Request an iteration that reads."""
        self.readable = True
        self.wake_up()

    def run_iteration(self, number: int) -> None:
        """Call `on_iteration`. Request another iteration if there is more work."""
        if number <= self.covered_requests:
            return
        self.covered_requests = self.requested_iterations
        self.steps += 1
        # Either no calls are handled any more, or a sync handler runs this loop within `on_iteration`, which must not
        # be entered twice. The descriptor may stay ready and would cause one callback after another.
        if self.on_iteration is None or self.in_iteration:
            self.poller.unregister()
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
            self.wake_up()

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Create a task as asyncio does. When it ends, another call or hook may be able to start."""
        task = super().create_task(coro, **options)
        task.add_done_callback(self.task_done)
        return task

    def call_exception_handler(self, context: Any) -> None:
        """Record an exception of a callback for `Server.recover`: a task may have lost its next step."""
        handle, error = context.get("handle"), context.get("exception")
        if self.on_iteration is None or handle is None or error is None:
            super().call_exception_handler(context)
        else:
            self.failures += ((handle, error),)
            self.wake_up()

    def report(self, handle: Any, error: BaseException) -> None:
        """Report an exception of a callback as asyncio does."""
        message = f"Exception in callback {handle!r}"
        super().call_exception_handler({"message": message, "exception": error, "handle": handle})

    def task_done(self, _task: asyncio.Task[Any]) -> None:
        """Request an iteration when a task has ended."""
        self.wake_up()


class DescriptorWatcher:
    """Watches the calls descriptor as a reader and writer of the loop, with the methods of `select.poll`."""

    def __init__(self, loop: PlainLoop) -> None:
        self.loop = loop
        self.fd = -1
        self.events: int | None = 0  # None while they change, and after an exception during a change

    def register(self, fd: int, events: int) -> None:
        """Set the events to watch for."""
        if events == self.events:
            return
        self.fd, self.events = fd, None
        if events & select.POLLIN:
            self.loop.add_reader(fd, self.loop.read_soon)
        else:
            self.loop.remove_reader(fd)
        if events & select.POLLOUT:
            self.loop.add_writer(fd, self.loop.wake_up)
        else:
            self.loop.remove_writer(fd)
        self.events = events

    def unregister(self, _fd: int = -1) -> None:
        """Stop watching."""
        if self.fd >= 0:
            self.register(self.fd, 0)
