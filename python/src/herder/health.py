"""Runs the health function of an app when the host asks. A worker imports this module only for an app that has one.

The answer is the reason why the worker is unhealthy, or an empty text.
"""

from __future__ import annotations

from herder import contexts, error_frames, frames, hooks
from herder.errors import HookTimeout
from herder.text import text, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context
    from typing import Any

    from herder.worker import Worker

REASON_LIMIT = 1000  # characters


def run(worker: Worker, base_context: Context, limit: float) -> str:
    """Run the function in a worker without an event loop. Return the reason."""
    function = worker.app._health
    assert function is not None
    try:
        context = contexts.copy_for_call(base_context)
        return reason_of(context.run(hooks.run_with_limit, worker, timer(worker, limit), function))
    except BaseException as error:
        return reason_of_error(error, limit)


def timer(worker: Worker, limit: float) -> hooks.HookTimer:
    """Return the time limit of one run."""
    return hooks.HookTimer(worker, "the health function", limit)


def reason_of(result: Any) -> str:
    """Return why a result of the function means unhealthy, or an empty text."""
    return "the health function returned False" if result is False else ""


def reason_of_error(error: BaseException, limit: float) -> str:
    """Return why an exception of the function means unhealthy, and log its traceback."""
    if issubclass(type(error), HookTimeout):
        reason = f"the health function did not end within {limit:g} s"
    else:
        reason = f"{type_name(error)}: {text(error)}"
        error_frames.log(f"herder: the health function raised an exception:\n{error_frames.format_traceback(error)}")
    return reason[:REASON_LIMIT]


def answer(nonce: int, reason: str) -> bytes:
    """Return the frame that answers a check."""
    return frames.frame(frames.HEALTH, nonce, reason.encode(errors="replace"))
