"""Runs sync handlers of an asyncio worker in threads, so that they do not block the event loop and its calls.

Imported only for an app with `run_sync="thread"`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextvars import copy_context
from queue import SimpleQueue

from herder.call import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from herder.aio_loop import WorkerEventLoop


class Job:
    """One run of a handler."""

    __slots__ = ("arguments", "context", "function", "loop", "outcome", "waiter")

    def __init__(self, loop: WorkerEventLoop, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self.function = function
        self.arguments = arguments
        self.context: Context = copy_context()  # a copy: the task may be resumed, in its own context, at the same time
        self.loop = loop
        self.waiter: asyncio.Future[None] = loop.create_future()
        self.outcome: tuple[Any, BaseException | None] | None = None  # the result or the exception, when it has ended

    def run(self) -> None:
        """Run the handler and wake the task that waits for it. Called by a thread."""
        try:
            outcome: tuple[Any, BaseException | None] = (self.context.run(self.function, **self.arguments), None)
        except BaseException as error:
            outcome = (None, error)
        if calls.forked:  # the child of a fork in the handler, which must not go on as the worker
            os._exit(0)
        # Before the wake-up: if an exception on the main thread loses the wake-up, the cancelled task finds this.
        self.outcome = outcome
        try:
            self.loop.call_soon_threadsafe(self.waiter.set_result, None)
        except RuntimeError:  # the loop is closed: the worker exits
            pass


class HandlerThreads:
    """The threads for handlers. There are never more than calls that run at once, since idle threads are used first."""

    def __init__(self, loop: WorkerEventLoop) -> None:
        self.loop = loop
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.idle = 0  # threads that wait for a job; only the main thread changes it
        self.started = 0

    async def run(self, function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Any, BaseException | None]:
        """Run `function` in a thread; return its result and its exception, one of which is None.

        A thread cannot be interrupted. So if the task is cancelled, this waits for the end of the handler and then
        raises `CancelledError`: otherwise the call would be answered, and the next call of its session begin, while the
        handler still runs.
        """
        job = Job(self.loop, function, arguments)
        if self.idle:
            self.idle -= 1
        else:
            self.start_thread()  # if it raises, no job is left behind
        self.jobs.put(job)
        cancelled = None
        while job.outcome is None:
            try:
                await asyncio.wait((job.waiter,))
            except asyncio.CancelledError as error:
                cancelled = error
        self.idle += 1
        if cancelled is not None:
            raise cancelled
        return job.outcome

    def start_thread(self) -> None:
        """Start a thread. Raises `RuntimeError` if the system allows no more."""
        self.started += 1
        # A daemon: the exit of a worker does not wait for a handler.
        threading.Thread(target=self.serve, name=f"herder-{self.started}", daemon=True).start()

    def serve(self) -> None:
        """Run jobs. This is the body of a thread."""
        while True:
            self.jobs.get().run()
