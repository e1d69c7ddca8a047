"""Runs `on_session_end` hooks of an asyncio worker: sync hooks in an iteration of the loop, async hooks as tasks."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextvars import ContextVar
from functools import partial

from herder import contexts, error_frames, hooks
from herder.aio_calls import run_steps
from herder.errors import HookTimeout
from herder.session import Session
from herder.signatures import is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from herder.aio_calls import Pending
    from herder.aio_loop import WorkerEventLoop
    from herder.worker import Worker


# Set in the context of a hook, which its tasks and callbacks inherit.
session_end_var: ContextVar[AsyncSessionEnd | None] = ContextVar("herder_ending", default=None)


async def as_coroutine(steps: Any) -> Any:
    """Wrap the generator `steps` into a coroutine, which asyncio can run as a task."""
    return await steps


def run_outside_loop(
    loop: WorkerEventLoop, timer: hooks.HookTimer, context: Context, hook: Callable[..., Any], *arguments: Any
) -> Any:
    """Run a sync hook with its time limit. No event loop is set as running, as in a worker without asyncio."""
    try:
        with timer as running:
            asyncio._set_running_loop(None)
            try:
                timer.calls.running = running.id
                return context.run(hook, *arguments)
            finally:
                timer.calls.running = 0
    finally:
        asyncio._set_running_loop(loop)


async def await_with_limit(loop: WorkerEventLoop, timer: hooks.HookTimer, hook: Any) -> Any:
    """Await an async hook. Cancel it after its time limit; if it ignores the cancel, leave it running."""
    task = None
    try:
        with timer as running:
            task = loop.create_task(as_coroutine(run_steps(hook, running.id, timer.calls)))
            done, _ = await asyncio.wait({task}, timeout=timer.limit)
            if not done:
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=timer.limit)
                if not done or task.cancelled():
                    raise HookTimeout(f"the hook exceeded its time limit of {timer.limit:g} s")
            return task.result()
    except GeneratorExit:
        raise
    except BaseException:
        if task is not None:
            task.cancel()  # in case this task was cancelled and not the hook's
        raise


class AsyncSessionEnd:
    """An ended session, and how many of its hooks were started."""

    __slots__ = ("begun", "epoch", "reason", "session")

    def __init__(self, session: Session, epoch: int, reason: str) -> None:
        self.session = session
        self.epoch = epoch
        self.reason = reason
        self.begun = 0


class SessionEndQueue:
    """The ended sessions whose hooks have not all run."""

    # Each session is in exactly one of `runnable`, `waiting` and `tasks`. It is moved without a call in between, so
    # that an exception can neither lose it nor run its hooks twice.

    def __init__(self, worker: Worker, loop: WorkerEventLoop, unanswered: dict[int, Pending]) -> None:
        self.worker = worker
        self.loop = loop
        self.base_context: Context  # the context after the `on_start` hooks
        self.unanswered = unanswered
        self.runnable: deque[AsyncSessionEnd] = deque()
        self.waiting: dict[AsyncSessionEnd, None] = {}  # for calls of the session; ordered
        self.tasks: dict[AsyncSessionEnd, asyncio.Task[Any]] = {}  # the running async hooks

    def __bool__(self) -> bool:
        return bool(self.runnable or self.waiting or self.tasks)

    def make_runnable(self, session: str | None = None) -> None:
        """Make `session`, or all ended sessions, runnable if no call of the session is unanswered."""
        for session_end in list(self.waiting):
            if session in (None, session_end.session.id) and not self.has_calls(session_end):
                self.runnable += (session_end,)  # no call between this and the removal
                del self.waiting[session_end]

    def has_calls(self, session_end: AsyncSessionEnd) -> bool:
        """Whether the session has unanswered calls of the ended epoch or of an earlier one."""
        id, epoch = session_end.session.id, session_end.epoch
        return any(each.session == id and each.epoch <= epoch for each in list(self.unanswered.values()))

    def resume_lost_sessions(self) -> None:
        """Check all ended sessions again, after an exception that may have lost a callback."""
        self.make_runnable()
        for session_end, task in list(self.tasks.items()):
            if task.done():
                self.hook_done(session_end, task)

    def cancel_hook_of(self, handle: Any, error: BaseException) -> None:
        """Cancel the hook to which a callback of asyncio belongs, since an exception may have lost that callback."""
        session_end = handle._context.get(session_end_var)
        task = None if session_end is None else self.tasks.get(session_end)
        if session_end is not None and task is not None and not task.done():
            error_frames.log_hook_error(session_end.session.id, error)
            task.cancel()

    def run_next_hook(self) -> None:
        """Run the next hook of the first runnable session, or drop its state if all hooks have run."""
        session_end = self.runnable[0]
        all_hooks = self.worker.end_hooks(session_end.session.id, session_end.epoch)
        if session_end.begun == len(all_hooks):
            self.worker.sessions.drop(session_end.session.id, session_end.epoch)
            del self.runnable[0]
            return
        hook = all_hooks[session_end.begun]
        session_end.begun += 1  # before the hook: an exception at any moment must not repeat it
        try:
            self.start_hook(session_end, hook)
        except BaseException as error:
            error_frames.log_hook_error(session_end.session.id, error)
        self.end_fork()

    def start_hook(self, session_end: AsyncSessionEnd, hook: Callable[..., Any]) -> None:
        """Run a sync hook, or start the task of an async hook. The next hook of the session runs after that."""
        context = contexts.copy_for_call(self.base_context)
        context.run(session_end_var.set, session_end)
        if is_async(hook):
            result = hook(session_end.session, session_end.reason)
        else:
            timer = hooks.session_end_timer(self.worker, session_end.session.id)
            result = run_outside_loop(self.loop, timer, context, hook, session_end.session, session_end.reason)
        if not asyncio.iscoroutine(result):
            return
        task = context.run(self.loop.create_task, self.await_hook(session_end, result))
        task.add_done_callback(partial(self.hook_done, session_end))
        self.tasks[session_end] = task  # no call between this and the removal
        del self.runnable[0]

    async def await_hook(self, session_end: AsyncSessionEnd, hook: Any) -> None:
        """Await an async hook. Log its exceptions."""
        try:
            await await_with_limit(self.loop, hooks.session_end_timer(self.worker, session_end.session.id), hook)
        except GeneratorExit:
            raise
        except BaseException as error:
            error_frames.log_hook_error(session_end.session.id, error)
        self.end_fork()

    def hook_done(self, session_end: AsyncSessionEnd, task: asyncio.Task[Any]) -> None:
        """Make the session runnable again after its async hook has ended."""
        if not task.cancelled() and (error := task.exception()) is not None:
            error_frames.log_hook_error(session_end.session.id, error)
        if self.tasks.get(session_end) is task:
            self.runnable += (session_end,)  # no call between this and the removal
            del self.tasks[session_end]

    def end_fork(self) -> None:
        """End the process if it is the child of a fork in a hook. It must not go on as the worker."""
        if self.worker.calls.forked:
            os._exit(0)
