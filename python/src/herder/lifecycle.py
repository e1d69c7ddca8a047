"""The start and the orderly stop of an app: its lifespan, its `on_start` hooks, and its `on_stop` hooks.

A worker imports this module only for an app that has a lifespan or `on_stop` hooks.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from contextvars import Context, copy_context
from functools import partial

from herder import error_frames, signals
from herder.signatures import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

    from herder.app import App
    from herder.worker import Worker


class Lifespan:
    """The context manager of an app: entered once before the `on_start` hooks, left once after the `on_stop` hooks.

    Use `enter` and `leave`, or, for an async one, `enter_async` and `leave_async`, which must run on one event loop.
    """

    def __init__(self, app: App) -> None:
        assert app._lifespan is not None
        self.app = app
        self.manager: Any = app._lifespan(app)
        kind = type(self.manager)
        self.is_async = hasattr(kind, "__aenter__")
        self.is_entered = False
        self.context: Context | None = None  # the context in which it was entered
        self.task: asyncio.Task[None] | None = None
        if not self.is_async and not hasattr(kind, "__enter__"):
            getattr(self.manager, "close", lambda: None)()  # no warning about a coroutine that is not awaited
            raise TypeError(
                f"lifespan={app._lifespan!r} returned an object of type {kind.__name__}, not a context manager:"
                " decorate it with contextlib.asynccontextmanager, or contextlib.contextmanager if it is not async"
            )

    def enter(self, context: Context | None = None) -> None:
        """Enter a sync context manager, in `context` or in the current context."""
        self.context = context
        value = self.manager.__enter__() if context is None else context.run(self.manager.__enter__)
        self.is_entered = True
        self.app._extend_state(value)

    def leave(self) -> None:
        """Leave a sync context manager, in the context in which it was entered."""
        if self.is_entered:
            self.is_entered = False  # before the exit: an exception at any moment must not repeat it
            leave, none = self.manager.__exit__, (None, None, None)
            if self.context is None:
                leave(*none)
            else:
                self.context.run(leave, *none)

    async def enter_async(self) -> None:
        """Enter an async context manager. `context` then has its context variables."""
        import asyncio

        loop = asyncio.get_running_loop()
        self.entered: asyncio.Future[None] = loop.create_future()
        self.leaving: asyncio.Future[None] = loop.create_future()
        # One task enters and leaves it, and waits in between. Cancel scopes and task groups, as of anyio, may only be
        # left by the task that entered them, and a context variable can only be reset in the context of its `set`.
        self.task = asyncio.create_task(self._run())
        await asyncio.wait((self.entered, self.task), return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            self.task.result()
        self.task.add_done_callback(self._on_end)

    async def _run(self) -> None:
        async with self.manager as value:
            self.app._extend_state(value)
            self.context = copy_context()
            self.is_entered = True
            self.entered.set_result(None)
            await self.leaving

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """Log an end that nobody asked for: a task group of the lifespan has cancelled it."""
        if self.is_entered:
            self.is_entered = False
            error = None if task.cancelled() else task.exception()
            text = "" if error is None else f":\n{error_frames.format_traceback(error)}"
            error_frames.log(f"herder: the lifespan ended while the worker was serving{text}")

    async def leave_async(self) -> None:
        """Leave an async context manager."""
        if self.is_entered and self.task is not None:
            self.is_entered = False
            self.leaving.set_result(None)
            await self.task


class Lifecycle:
    """Runs the lifespan and the `on_stop` hooks of a worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.lifespan = None if worker.app._lifespan is None else Lifespan(worker.app)
        # What is left to do at the stop; the last one is next.
        self.parts: list[tuple[str, Callable[[], Any]]] = [("the lifespan", self._leave_lifespan)]
        for hook in worker.app._on_stop:
            self.parts.append((f"the on_stop hook {name_of(hook)}", partial(self._run_hook, hook)))
        self.current = ""  # what runs, for the log
        self.ended = allocate_lock()  # held while the parts run

    @property
    def needs_loop(self) -> bool:
        """Whether the lifespan needs an event loop."""
        return self.lifespan is not None and self.lifespan.is_async

    def enter_lifespan(self) -> None:
        """Enter the lifespan. The hooks and calls that follow have its context variables."""
        lifespan, server = self.lifespan, self.worker.aio
        if lifespan is None:
            return
        if server is None:
            lifespan.enter()
        elif lifespan.is_async:
            server.base_context.run(server.loop.run_until_complete, lifespan.enter_async())
            assert lifespan.context is not None
            server.base_context = lifespan.context
        else:
            lifespan.enter(server.base_context)

    def _run_hook(self, hook: Callable[[], Any]) -> None:
        self.worker.run_hook(hook)

    def _leave_lifespan(self) -> None:
        lifespan, server = self.lifespan, self.worker.aio
        if lifespan is None:
            return
        if lifespan.is_async and server is not None:
            server.loop.run_until_complete(lifespan.leave_async())
        else:
            lifespan.leave()

    def undo_start(self) -> None:
        """Leave the lifespan after a failed start. The `on_stop` hooks do not run: the worker never served."""
        del self.parts[1:]
        self._run_parts()

    def stop(self) -> None:
        """Run the `on_stop` hooks in reverse order and leave the lifespan. Each runs at most once. Logs exceptions.

        The process exits if this takes longer than the limit.
        """
        limit = self.worker.stop_limit
        if limit is not None and self.ended.acquire(False):
            try:
                start_new_thread(self._enforce_limit, (limit,))
            except RuntimeError:  # no more threads can be started: SIGTERM of the host is the limit
                signals.restore_sigterm()
        self._run_parts()
        if self.ended.locked():
            self.ended.release()

    def _enforce_limit(self, limit: float) -> None:
        """End the process when the limit has passed. This is the body of a thread."""
        if self.ended.acquire(timeout=limit):
            self.ended.release()
            return
        if self.worker.calls.forked:
            return
        import faulthandler  # `signals` has imported it

        try:
            faulthandler.dump_traceback(2)
            # Last, since the host keeps the last lines of a worker.
            text = f"herder: {self.current} did not end within {limit:g} s (`stop.grace`); the worker exits\n"
            os.write(2, text.encode(errors="replace"))
        finally:
            os._exit(1)

    def _run_parts(self) -> None:
        while self.parts:
            try:
                self.current, run = self.parts[-1]
                del self.parts[-1]  # before it runs: an exception at any moment must not repeat it
                run()
            except BaseException as error:
                text = error_frames.format_traceback(error)
                error_frames.log(f"herder: {self.current} raised an exception:\n{text}")
            if self.worker.calls.forked:  # the child of a fork in a hook, which must not go on as the worker
                os._exit(0)
