"""The running call: its id, its deadline, whether it is cancelled. Main thread and control thread share `Calls`."""

from __future__ import annotations

import sys
import time

# By name here and elsewhere, since gevent replaces functions of the module.
from _thread import allocate_lock as allocate_lock
from _thread import get_ident
from contextvars import ContextVar
from time import sleep  # by name for the same reason

from herder import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.dependency_values import Registry
    from herder.session import Session

if sys.platform == "linux":  # the same clock as below, and faster
    now: Callable[[], int] = time.monotonic_ns
else:

    def now() -> int:
        """Return CLOCK_MONOTONIC, the clock of the host, in nanoseconds."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


RUNNING, WITHDRAWN, FINISHED = frames.RUNNING, frames.WITHDRAWN, frames.FINISHED
DEFAULT_MAX_FRAME = 64 << 20  # without a host, as in `herder.testing.Client`
DEFAULT_MAX_CANCELS = 1024  # marks that are kept although their calls are not read yet or already answered


class Calls:
    """The running call, and the calls that are cancelled or revoked.

    The main thread writes `last_begun`, `running` and `deadline`; the control thread writes the rest.
    """

    __slots__ = (
        "cancelled",
        "closing",
        "deadline",
        "dependencies",
        "forked",
        "headers",
        "last_begun",
        "max_cancels",
        "max_frame",
        "revoking",
        "running",
        "session_of",
        "traces",
    )

    def __init__(self) -> None:
        self.running = 0  # the wire id of the call whose handler runs on the main thread; below 0: the id of a hook
        self.last_begun = 0  # the wire id of the last call that began; calls begin in the order of their ids
        self.deadline = 0
        # The marked calls: True: cancelled and still to be interrupted, False: cancelled, None: revoked. Ordered: the
        # oldest mark is dropped first.
        self.cancelled: dict[int, bool | None] = {}
        self.max_cancels = DEFAULT_MAX_CANCELS
        self.max_frame = DEFAULT_MAX_FRAME  # bytes; bounds what a compressed argument may become
        self.revoking = 0  # the wire id of the call whose revoke the control thread handles at this moment
        self.closing = False
        self.forked = False  # this process is a fork of the worker
        self.headers: dict[int, dict[str, str]] = {}  # of calls that have some; some are kept after the end of the call
        self.traces: dict[int, Any] = {}  # the contexts of OpenTelemetry of such calls
        self.dependencies: Registry | None = None  # the values of dependencies that outlive a call
        self.session_of: Callable[[int], Session | None] = _no_session  # returns the session of a running call

    def cancel(self, wire_id: int, interrupt: bool) -> None:
        """Record that `wire_id` is cancelled. The call may run, wait, or not have been read yet."""
        self.mark(wire_id, interrupt)

    def revoke(self, wire_id: int, state: Callable[[int], int]) -> int:
        """Mark a call as revoked if it has not begun, and return its state. `state` determines the state of a call."""
        # Unlike a cancel, a revoke must not affect a call that has begun, and the host sends a call that is reported as
        # withdrawn to another worker. So the answer must be exact, although the call may begin at any moment. The mark
        # is written before the state is read a second time, for the reason given in `state`. If the call has begun
        # meanwhile, the mark is removed. The loop may have found the mark already: it waits in `refuses` until it is
        # decided whether the mark stays.
        found = state(wire_id)
        if found != WITHDRAWN or wire_id in self.cancelled:
            return found
        self.revoking = wire_id
        try:
            self.mark(wire_id, None)
            found = state(wire_id)
            if found != WITHDRAWN:
                self.cancelled.pop(wire_id, None)
        finally:
            self.revoking = 0
        return found

    def refuses(self, wire_id: int) -> bool:
        """Whether a call that is about to begin must not: it is cancelled or revoked. Called by the loop.

        May be called only after `last_begun` (or what `state` reads in an asyncio worker) includes the call.
        """
        while self.revoking == wire_id:
            sleep(0)  # the control thread needs the GIL to go on
        return wire_id in self.cancelled

    def mark(self, wire_id: int, value: bool | None) -> None:
        """Add or change the mark of a call. Drops the oldest marks if there are too many."""
        self.cancelled[wire_id] = value
        while len(self.cancelled) > self.max_cancels:
            try:
                self.cancelled.pop(next(iter(self.cancelled)), None)
            except RuntimeError:  # the main thread removed an entry between `iter` and `next`
                continue

    def state(self, wire_id: int) -> int:
        """Return the state of a call that has just been marked as cancelled, in a worker with sync handlers."""
        # The order matters on both sides. The control thread writes `cancelled` and then reads `last_begun`. The loop
        # writes `last_begun` and then reads `cancelled`. So at least one of them sees the other's write: if the call
        # has not begun here, the loop will find it in `cancelled` and refuse it. With the opposite order on either
        # side, the host could receive "withdrawn" for a call that then runs. The loop writes `running` before
        # `last_begun`. So a call that has begun here, and does not run, has ended.
        if wire_id > self.last_begun:
            return WITHDRAWN
        return RUNNING if self.running == wire_id else FINISHED

    def is_cancelled(self, wire_id: int) -> bool:
        """Whether the call is cancelled. A revoke is no cancel: it must have no effect on a call that has begun."""
        return self.cancelled.get(wire_id) is not None

    def take_interrupt(self, wire_id: int) -> bool:
        """Return True once for a call that is to be interrupted: its cleanup must not be interrupted again."""
        if not self.cancelled.get(wire_id):
            return False
        self.cancelled[wire_id] = False
        return True


def _no_session(_wire_id: int) -> None:
    return None


class Call:
    """One call, for its handler, which gets it from a parameter with this annotation or from `current_call()`."""

    __slots__ = ("_calls", "_deadline", "id")

    def __init__(self, id: int, deadline: int, calls: Calls) -> None:
        self.id = id
        self._deadline = deadline
        self._calls = calls

    @property
    def deadline(self) -> float | None:
        """The seconds until the call's deadline (negative if it has passed), or None if it has no deadline."""
        return (self._deadline - now()) / 1e9 if self._deadline else None

    @property
    def cancelled(self) -> bool:
        """Whether the call was abandoned or its deadline has passed. Stop soon: the result is not used."""
        return self._calls.is_cancelled(self.id)

    @property
    def session(self) -> Session | None:
        """The session of the call, or None if it has none. Read it during the call: it is None after the end."""
        return self._calls.session_of(self.id)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the pool's `forward_headers` let through, and those of the trace, with names in lower case.

        Several values of one name are joined by ", ", those of "cookie" by "; ". Read them during the call: they may
        be gone after its end.
        """
        return self._calls.headers.get(self.id, {})

    @property
    def traceparent(self) -> str | None:
        """The trace and the span that caused this run (W3C Trace Context), if the call belongs to a trace."""
        return self.headers.get("traceparent")

    @property
    def tracestate(self) -> str | None:
        """The header `tracestate` that belongs to `traceparent`."""
        return self.headers.get("tracestate")

    @property
    def request_id(self) -> str | None:
        """The header `X-Request-Id`, if the caller sent it and the pool forwards it."""
        return self.headers.get("x-request-id")

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that the handler runs: those of its batch with `@app.batch`, otherwise this one."""
        return (self,)

    def __repr__(self) -> str:
        return f"<herder.Call {self.id}>"


calls = Calls()
MAIN_THREAD = get_ident()  # the thread to whose handlers `calls` refers; a worker imports this module on it
task_call: ContextVar[Call | None] = ContextVar("herder_call", default=None)


def current_call() -> Call:
    """Return the call whose handler runs on the main thread, or which started the current task or callback.

    Raises `RuntimeError` outside a call, and in other threads, which may outlive the call: pass them the call as an
    argument. In an app with async handlers it also works in threads that have the context of a call, as with
    `asyncio.to_thread`.
    """
    call = task_call.get()
    if call is not None:
        return call
    if calls.running <= 0 or get_ident() != MAIN_THREAD:
        raise RuntimeError("no call is running in this thread or task")
    return Call(calls.running, calls.deadline, calls)
