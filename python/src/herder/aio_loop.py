"""The event loop of a worker with async handlers: asyncio's, but an exception at any moment loses no callback."""

# An application can cause an exception on the main thread at any moment (see `descriptor_io`). asyncio's `_run_once`
# then loses the callback or timer that it has just removed from its queue. This loop removes each of them and starts it
# without a call in between. It also polls the calls descriptor directly: asyncio registers descriptors in several
# steps, and an exception between two of them would leave a descriptor unregistered for ever.

from __future__ import annotations

import asyncio
import heapq
import math
import select
import selectors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any

LONGEST_WAIT = 24 * 3600  # seconds; `poll` accepts milliseconds as a C int
MANY_TIMERS = 100  # with more timers than this, the cancelled ones are removed when they are more than half


class WorkerEventLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, which also polls the calls descriptor in each iteration."""

    _ready: deque[Any]
    _scheduled: list[Any]
    _timer_cancelled_count: int
    _clock_resolution: float
    _selector: Any
    _process_events: Callable[[Any], None]
    _stopping: bool
    _closed: bool
    _debug: bool
    _task_factory: Any
    _nest_patched = True  # so nest_asyncio does not patch this loop; apps that use it get `aio_plain`
    # Bound here, so that a package which replaces them later in asyncio's classes does not change this loop.
    _check_running = asyncio.BaseEventLoop._check_running  # type: ignore[attr-defined]
    run_forever = asyncio.BaseEventLoop.run_forever
    run_until_complete = asyncio.BaseEventLoop.run_until_complete

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())  # epoll or kqueue, whose own descriptors can be polled
        self.poller = select.poll()
        self.poller.register(self._selector.fileno(), select.POLLIN)
        self.on_iteration: Callable[[bool], None] | None = None  # set while calls are handled
        self.has_work: Callable[[], bool] = bool  # whether the next iteration must not wait; `bool()` is False
        self.failures: list[tuple[Any, BaseException]] = []  # exceptions with their callback; None: outside a callback
        self.steps = 0  # the number of callbacks that were started
        self.timers_unordered = False  # an exception may have left the heap of timers unordered
        self.call_type: type = type(None)  # done callbacks of this type are not started if they are `settled`

    def reset(self) -> None:
        """Reset the loop so that it can run again, after an exception left `run_forever` at any point."""
        self._thread_id = None
        self._stopping = False
        asyncio._set_running_loop(None)

    def wake_up(self) -> None:
        """Do nothing. As a callback it causes an iteration, which calls `on_iteration`."""

    def _run_once(self) -> None:
        """Run one iteration. While calls are handled it raises nothing."""
        try:
            self._poll()
            if self._scheduled:
                self._take_due()
            self._run_ready()
        except BaseException as error:
            self.failures += ((None, error),)  # no call here: another exception could be raised in it
        if self.on_iteration is None and self.failures:
            self._raise_failures()

    def _raise_failures(self) -> None:
        """Raise the exceptions that asyncio would raise, to the code that waits for an `on_start` hook."""
        failures, self.failures = self.failures, []
        for handle, failure in failures:
            if handle is None or isinstance(failure, (SystemExit, KeyboardInterrupt)):
                raise failure
            self.report(handle, failure)

    def report(self, handle: Any, error: BaseException) -> None:
        """Report an exception of a callback as asyncio does."""
        message = f"Exception in callback {handle!r}"
        self.call_exception_handler({"message": message, "exception": error, "handle": handle})

    def _poll(self) -> None:
        """Wait for an event, then call `on_iteration` with whether the calls descriptor is readable."""
        selector_fd = self._selector.fileno()
        ready = False
        # `poll` is level-triggered: an event that an exception loses here is reported again in the next iteration.
        for fd, events in self.poller.poll(self._timeout()):
            if fd == selector_fd:
                self._process_events(self._selector.select(0))
            elif events != select.POLLOUT:
                ready = True
        if self.on_iteration is not None:
            self.on_iteration(ready)

    def _timeout(self) -> int | None:
        """Return the milliseconds until the first timer, or None to wait for descriptors only."""
        if self._scheduled:
            self._drop_cancelled()
        if self.has_work() or self._ready or self._stopping or self.failures:
            return 0
        if not self._scheduled:
            return None
        wait: float = min(max(0.0, self._scheduled[0]._when - self.time()), LONGEST_WAIT)
        return math.ceil(wait * 1000)

    def _drop_cancelled(self) -> None:
        """Remove the cancelled timers at the front, or all if there are many. Restore the order if necessary."""
        timers = self._scheduled
        if self.timers_unordered or (len(timers) > MANY_TIMERS and 2 * self._timer_cancelled_count > len(timers)):
            remaining = [timer for timer in timers if not timer._cancelled]
            heapq.heapify(remaining)
            self._scheduled = remaining
            self._timer_cancelled_count = 0
            self.timers_unordered = False
        while self._scheduled and self._scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            self._pop_timer()

    def _pop_timer(self) -> None:
        # `heappop` removes the timer first and then compares others, which is Python code. An exception there leaves
        # the heap unordered; `_drop_cancelled` repairs it.
        self.timers_unordered = True
        heapq.heappop(self._scheduled)
        self.timers_unordered = False

    def _take_due(self) -> None:
        """Append the due timers to the ready callbacks."""
        end = self.time() + self._clock_resolution
        while self._scheduled and self._scheduled[0]._when < end:
            timer = self._scheduled[0]
            # No call from here until `heappop` has removed the timer: it must be in exactly one of the two lists.
            # So this does not call `_pop_timer`.
            self._ready += (timer,)
            timer._scheduled = False
            self.timers_unordered = True
            heapq.heappop(self._scheduled)
            self.timers_unordered = False

    def _run_ready(self) -> None:
        """Run the callbacks that are ready now, but not those that they add."""
        ready = self._ready
        for _ in range(len(ready)):
            if not ready:  # a callback has run this loop itself
                return
            self.steps += 1
            handle = ready[0]
            try:
                # No call between the removal and the start of the callback. An exception in between would lose it.
                del ready[0]
                if not handle._cancelled:
                    handle._context.run(handle._callback, *handle._args)
            except BaseException as error:
                self.failures += ((handle, error),)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """Schedule a callback as asyncio does, in one function instead of four."""
        if self._debug or self._closed:
            return super().call_soon(callback, *args, context=context)
        # A task of a call schedules its done callback when it ends. That usually has nothing to do, since the call is
        # answered, and would cost an iteration of the loop. The task does not use the handle.
        if type(callback) is self.call_type and callback.settled:  # type: ignore[attr-defined]
            return None  # type: ignore[return-value]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Schedule a timer as asyncio does."""
        try:
            return super().call_at(when, callback, *args, context=context)
        except BaseException:  # raised while `heappush` compared timers
            self.timers_unordered = True
            raise
