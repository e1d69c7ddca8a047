"""Finds and ends tasks that no callback will resume, after an exception in asyncio's own code."""

from __future__ import annotations

import asyncio
from functools import partial

from herder import error_frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.aio_loop import WorkerEventLoop


def end_stuck_tasks(loop: WorkerEventLoop, error: BaseException) -> None:
    """End the tasks that no callback will resume with `error`. The tasks that wait for them are resumed by that."""
    ready = {id(getattr(handle._callback, "__self__", None)) for handle in list(loop._ready)}
    for task in asyncio.all_tasks(loop):
        if id(task) not in ready and is_stuck(task):
            fail_task(task, error)
        elif is_orphaned_by_gather(task):
            call_safely(task._fut_waiter.set_exception, error)  # type: ignore[attr-defined]


def is_stuck(task: asyncio.Task[Any]) -> bool:
    """Whether a task waits for no future, or for one that is done, so that only a ready callback could resume it."""
    # A task that runs now also waits for no future. It is not stuck: its code has run the loop.
    waits_for = getattr(task, "_fut_waiter", task)  # the type of a custom task factory may lack the attribute
    return not task.done() and (waits_for is None or waits_for.done()) and not is_running(task)


def is_running(task: asyncio.Task[Any]) -> bool:
    """Whether the task's coroutine runs now. With nested runs of a loop, `current_task` returns only the innermost."""
    coroutine = task.get_coro()
    return bool(getattr(coroutine, "cr_running", False) or getattr(coroutine, "gi_running", False))


def is_orphaned_by_gather(task: asyncio.Task[Any]) -> bool:
    """Whether a cancelled task waits for a future that is not cancelled: a `gather` that lost a callback."""
    waits_for = getattr(task, "_fut_waiter", None)
    return waits_for is not None and not waits_for.done() and getattr(task, "_must_cancel", False)


def fail_task(task: asyncio.Task[Any], error: BaseException) -> None:
    """End a stuck task with `error`, and close its coroutine."""
    call_safely(partial(asyncio.Future.set_exception, task), error)  # `Task.set_exception` raises
    call_safely(task.get_coro().close)  # type: ignore[union-attr,unused-ignore]


def call_safely(function: Callable[..., Any], *error: BaseException) -> None:
    """Call `function`, with the error if there is one. Log its exceptions."""
    if error and isinstance(error[0], StopIteration):  # a future does not accept StopIteration
        error = (RuntimeError(f"raised {error[0]!r}"),)
    try:
        function(*error)
    except BaseException as failed:
        traceback = error_frames.format_traceback(failed)
        error_frames.log(f"herder: a task that was being cancelled raised an exception:\n{traceback}")


def is_asyncio_code(names: dict[str, Any]) -> bool:
    """Whether `names` are the globals of a module of asyncio or of this package."""
    return str(names.get("__name__")).partition(".")[0] in ("asyncio", "herder")


def is_asyncio_callback(handle: Any, error: BaseException) -> bool:
    """Whether `error` was raised in a callback of asyncio, or in a step of a task without being the task's result."""
    callback = handle._callback
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return not (task.done() and not task.cancelled() and task.exception() is error)
    function = getattr(callback, "func", callback)
    return is_asyncio_code({"__name__": getattr(function, "__module__", None)})
