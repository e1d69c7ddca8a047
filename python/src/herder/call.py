"""The running call: its id, its deadline, whether it was cancelled. `Calls` is what main and control thread share."""

from __future__ import annotations

import sys
import time
from _thread import get_ident  # by name, here and elsewhere: gevent replaces what is in the module
from contextvars import ContextVar

from herder import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "linux":  # the same clock there, and cheaper to ask
    now: Callable[[], int] = time.monotonic_ns
else:

    def now() -> int:
        """CLOCK_MONOTONIC in nanoseconds, as the host reads it."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


RUNNING, WITHDRAWN, FINISHED = frames.RUNNING, frames.WITHDRAWN, frames.FINISHED
REMEMBERED = 1024  # at least so many cancels kept for calls that are not there: not read yet, or answered already


class Calls:
    """Which call runs and which were cancelled.

    The main thread writes `begun`, `running` and `deadline`, the control thread the rest.
    """

    __slots__ = ("begun", "cancelled", "closing", "deadline", "forked", "remembered", "running")

    def __init__(self) -> None:
        self.running = 0  # the wire id whose handler runs on the main thread, or a hook's number, below 0
        self.begun = 0  # the wire id of the last call that began; they begin in the order of their ids
        self.deadline = 0
        self.cancelled: dict[int, bool] = {}  # True: still to be interrupted. Ordered: the oldest is forgotten first
        self.remembered = REMEMBERED
        self.closing = False
        self.forked = False  # this is a fork of the worker, not the worker

    def cancel(self, wire_id: int, interrupt: bool) -> None:
        """Remember that `wire_id` was cancelled: it may run, wait, or not have been read yet."""
        self.cancelled[wire_id] = interrupt
        while len(self.cancelled) > self.remembered:
            try:
                self.cancelled.pop(next(iter(self.cancelled)), None)
            except RuntimeError:  # the main thread took one out in the meantime
                continue

    def state(self, wire_id: int) -> int:
        """Where a call is that was marked as cancelled just now, in a worker with sync handlers.

        The loop writes `running` and `begun` and then looks at `cancelled`; the control thread marks the call first and
        looks afterwards. So a call that is found not to have begun is refused by the loop.
        """
        if self.running == wire_id:
            return RUNNING
        return WITHDRAWN if wire_id > self.begun else FINISHED

    def interrupts(self, wire_id: int) -> bool:
        """Whether `wire_id` is to be interrupted and was not yet: True once, so that its cleanup is left in peace."""
        if not self.cancelled.get(wire_id):
            return False
        self.cancelled[wire_id] = False
        return True


class Call:
    """One call, as its handler sees it."""

    __slots__ = ("_calls", "_deadline", "id")

    def __init__(self, id: int, deadline: int, calls: Calls) -> None:
        self.id = id
        self._deadline = deadline
        self._calls = calls

    @property
    def deadline(self) -> float | None:
        """Seconds left until the call's deadline (below zero: it has passed), or None when it has none."""
        return (self._deadline - now()) / 1e9 if self._deadline else None

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone or the deadline has passed: stop soon, nobody waits for the result."""
        return self.id in self._calls.cancelled

    def __repr__(self) -> str:
        return f"<herder.Call {self.id}>"


calls = Calls()
MAIN = get_ident()  # whose handlers `calls` tells of; a worker imports this on its main thread
task_call: ContextVar[Call | None] = ContextVar("herder_call", default=None)


def current_call() -> Call:
    """Return the call whose handler runs here: on the main thread, or in the tasks and callbacks that it started.

    Raises `RuntimeError` outside of a call, and in other threads, which may outlive the call: pass the call to them as
    an argument. Only in an app with async handlers does it work in a thread with the context of a call, such as one of
    `asyncio.to_thread`.
    """
    call = task_call.get()
    if call is not None:
        return call
    if calls.running <= 0 or get_ident() != MAIN:
        raise RuntimeError("no call is running in this thread or task")
    return Call(calls.running, calls.deadline, calls)
