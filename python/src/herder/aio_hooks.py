"""Runs `on_session_end` hooks of an asyncio worker: sync ones between two steps of the loop, async ones as tasks."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextvars import ContextVar
from functools import partial

from herder import answers, contexts, hooks
from herder.aio_calls import run_steps
from herder.binding import is_async
from herder.errors import HookTimeout
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context
    from typing import Any

    from herder.aio_calls import Pending
    from herder.aio_loop import WorkerEventLoop
    from herder.worker import Worker


task_ending: ContextVar[AsyncSessionEnd | None] = ContextVar("herder_ending", default=None)  # in hooks and what they start


async def as_coroutine(steps: Generator[Any, Any, Any]) -> Any:
    """Wrap the generator `steps` into a coroutine, which asyncio can run as a task."""
    return await steps  # type: ignore[misc]


class AsyncSessionEnd:
    """A session that has ended, and how many of its hooks were begun."""

    __slots__ = ("begun", "epoch", "reason", "session")

    def __init__(self, session: Session, epoch: int, reason: str) -> None:
        self.session = session
        self.epoch = epoch
        self.reason = reason
        self.begun = 0


class SessionEndQueue:
    """Ended sessions whose hooks have not all run. Each is in one of three collections; no call interrupts a move."""

    def __init__(self, worker: Worker, loop: WorkerEventLoop, unanswered: dict[int, Pending]) -> None:
        self.worker = worker
        self.loop = loop
        self.base: Context  # what `on_start` left
        self.unanswered = unanswered
        self.runnable: deque[AsyncSessionEnd] = deque()
        self.waiting: dict[AsyncSessionEnd, None] = {}  # they wait for calls of the session; in order
        self.tasks: dict[AsyncSessionEnd, asyncio.Task[Any]] = {}  # an async hook runs

    def __bool__(self) -> bool:
        return bool(self.runnable or self.waiting or self.tasks)

    def release(self, session: str | None = None) -> None:
        """Make ended sessions without an unfinished call runnable: this session, or all of them."""
        for ending in list(self.waiting):
            if session in (None, ending.session.id) and not self.has_calls(ending):
                self.runnable += (ending,)  # no call between these two
                del self.waiting[ending]

    def has_calls(self, ending: AsyncSessionEnd) -> bool:
        """Whether the session still has calls of the epoch that ended, or of an earlier one."""
        id, epoch = ending.session.id, ending.epoch
        return any(each.session == id and each.epoch <= epoch for each in list(self.unanswered.values()))

    def resume_lost_sessions(self) -> None:
        """Check all ended sessions, after an exception that may have lost a callback."""
        self.release()
        for ending, task in list(self.tasks.items()):
            if task.done():
                self.hook_done(ending, task)

    def cancel_hook_of(self, handle: Any, error: BaseException) -> None:
        """End the hook to which a callback of asyncio belongs: an exception hit it, and it may have been lost."""
        ending = handle._context.get(task_ending)
        task = None if ending is None else self.tasks.get(ending)
        if ending is not None and task is not None and not task.done():
            answers.log_hook(ending.session.id, error)
            task.cancel()

    def run_next(self) -> None:
        """Run the next hook of the session that is next."""
        ending = self.runnable[0]
        every = self.worker.app._on_session_end
        if ending.begun == len(every):
            self.worker.sessions.drop(ending.session.id, ending.epoch)
            del self.runnable[0]
            return
        hook = every[ending.begun]
        ending.begun += 1  # it is not run again, even if it fails
        try:
            self.begin(ending, hook)
        except BaseException as error:
            answers.log_hook(ending.session.id, error)
        self.end_fork()

    def begin(self, ending: AsyncSessionEnd, hook: Callable[..., Any]) -> None:
        """Run a sync hook to its end, or make a task of an async one. The next hook runs after that."""
        context = contexts.copy_for_call(self.base)
        context.run(task_ending.set, ending)
        result = hook(ending.session, ending.reason) if is_async(hook) else self.run_sync(context, hook, ending)
        if not asyncio.iscoroutine(result):
            return
        task = context.run(self.loop.create_task, self.await_hook(ending, result))
        task.add_done_callback(partial(self.hook_done, ending))
        self.tasks[ending] = task  # no call between these two
        del self.runnable[0]

    def run_sync(self, context: Context, hook: Callable[..., Any], ending: AsyncSessionEnd) -> Any:
        """Run a sync hook with its limit and with no event loop running, as in a worker without asyncio."""
        calls = self.worker.calls
        try:
            with hooks.HookTimer(self.worker, ending.session.id) as running:
                asyncio._set_running_loop(None)
                try:
                    calls.running = running.id
                    return context.run(hook, ending.session, ending.reason)
                finally:
                    calls.running = 0
        finally:
            asyncio._set_running_loop(self.loop)

    async def await_hook(self, ending: AsyncSessionEnd, hook: Any) -> None:
        """Await an async hook with its limit: it is cancelled after that, and left running if it ignores the cancel."""
        calls, limit = self.worker.calls, self.worker.hook_limit
        task = None
        try:
            with hooks.HookTimer(self.worker, ending.session.id) as running:
                task = self.loop.create_task(as_coroutine(run_steps(hook, running.id, calls)))
                done, _ = await asyncio.wait({task}, timeout=limit)
                if not done:
                    task.cancel()
                    done, _ = await asyncio.wait({task}, timeout=limit)
                    if not done or task.cancelled():
                        raise HookTimeout(f"the hook exceeded its time limit of {limit:g} s")
                task.result()
        except GeneratorExit:
            raise
        except BaseException as error:
            if task is not None:
                task.cancel()  # if this task was cancelled, and not the hook
            answers.log_hook(ending.session.id, error)
        self.end_fork()

    def hook_done(self, ending: AsyncSessionEnd, task: asyncio.Task[Any]) -> None:
        """Make the session runnable again when its async hook has ended."""
        if not task.cancelled() and (error := task.exception()) is not None:
            answers.log_hook(ending.session.id, error)
        if self.tasks.get(ending) is task:
            self.runnable += (ending,)  # no call between these two
            del self.tasks[ending]

    def end_fork(self) -> None:
        """End the process if a hook forked and returned in the child too: the child is not the worker."""
        if self.worker.calls.forked:
            os._exit(0)
