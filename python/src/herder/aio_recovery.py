"""Finds and ends the tasks that nothing would wake after an exception in asyncio's own code."""

from __future__ import annotations

import asyncio
from functools import partial

from herder import answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.aio_loop import WorkerEventLoop


def end_stuck_tasks(loop: WorkerEventLoop, error: BaseException) -> None:
    """Find the tasks that nothing would wake, and end them with `error`, which wakes the tasks that wait for them."""
    ready = {id(getattr(handle._callback, "__self__", None)) for handle in list(loop._ready)}
    for task in asyncio.all_tasks(loop):
        if id(task) not in ready and is_stuck(task):
            end(task, error)
        elif is_orphaned_by_gather(task):
            attempt(task._fut_waiter.set_exception, error)  # type: ignore[attr-defined]


def is_stuck(task: asyncio.Task[Any]) -> bool:
    """Whether a task waits for no future, or for one that is done: then only a callback that is ready can wake it.

    Not one that runs now: its code has run the loop.
    """
    waits_for = getattr(task, "_fut_waiter", task)  # a task factory's own type may have no such attribute
    return not task.done() and (waits_for is None or waits_for.done()) and not is_running(task)


def is_running(task: asyncio.Task[Any]) -> bool:
    """Whether the task's coroutine runs. `current_task` knows the innermost only, when tasks run within each other."""
    coroutine = task.get_coro()
    return bool(getattr(coroutine, "cr_running", False) or getattr(coroutine, "gi_running", False))


def is_orphaned_by_gather(task: asyncio.Task[Any]) -> bool:
    """Whether a task was cancelled but its future was not: a `gather` that lost a callback ignores the cancel."""
    waits_for = getattr(task, "_fut_waiter", None)
    return waits_for is not None and not waits_for.done() and getattr(task, "_must_cancel", False)


def end(task: asyncio.Task[Any], error: BaseException) -> None:
    """End a task that nothing would wake, and its coroutine."""
    attempt(partial(asyncio.Future.set_exception, task), error)  # `Task.set_exception` raises
    attempt(task.get_coro().close)  # type: ignore[union-attr,unused-ignore]


def attempt(function: Callable[..., Any], *error: BaseException) -> None:
    """Call `function` with the error, if there is one. What that raises goes to the log."""
    if error and isinstance(error[0], StopIteration):  # futures refuse it
        error = (RuntimeError(f"raised {error[0]!r}"),)
    try:
        function(*error)
    except BaseException as failed:
        answers.log(f"herder: a task that was being cancelled raised an exception:\n{answers.traceback_of(failed)}")


def of_asyncio(names: dict[str, Any]) -> bool:
    """Whether these are the globals of a module of asyncio, or of this package."""
    return str(names.get("__name__")).partition(".")[0] in ("asyncio", "herder")


def of_asyncio_callback(handle: Any, error: BaseException) -> bool:
    """Whether a step of a task, or a callback of asyncio, let `error` through, and it is not the task's own result."""
    callback = handle._callback
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return not (task.done() and not task.cancelled() and task.exception() is error)
    plain = getattr(callback, "func", callback)
    return of_asyncio({"__name__": getattr(plain, "__module__", None)})
