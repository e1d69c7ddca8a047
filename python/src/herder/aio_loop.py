"""The event loop of a worker with async handlers: asyncio's, but an exception at any moment loses no callback.

An application can have an exception raised on the main thread at any moment (see `pipe`). asyncio's own `_run_once`
then loses the callback or the timer that it took from its queue just before. This one takes each of them out and begins
it without a call in between. It also polls the worker's calls descriptor by itself: asyncio registers descriptors in
several steps, and an exception between two of them would leave one out for ever.
"""

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

LONGEST_WAIT = 24 * 3600  # seconds; `poll` takes milliseconds as a C int
MANY_TIMERS = 100  # beyond this number, cancelled timers are dropped once they are half of all


class WorkerEventLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, which also serves the worker's calls descriptor in each iteration."""

    _ready: deque[Any]
    _scheduled: list[Any]
    _timer_cancelled_count: int
    _clock_resolution: float
    _selector: Any
    _process_events: Callable[[Any], None]
    _stopping: bool
    _nest_patched = True  # nest_asyncio leaves such a loop alone; `aio_plain` is for apps that use it
    # Not as somebody may replace them later in the class that asyncio uses:
    _check_running = asyncio.BaseEventLoop._check_running  # type: ignore[attr-defined]
    run_forever = asyncio.BaseEventLoop.run_forever
    run_until_complete = asyncio.BaseEventLoop.run_until_complete

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())  # epoll or kqueue: either has a descriptor that can be polled
        self.poller = select.poll()
        self.poller.register(self._selector.fileno(), select.POLLIN)
        self.on_iteration: Callable[[bool], None] | None = None  # set while calls are served
        self.has_work: Callable[[], bool] = bool  # whether the next iteration has work already
        self.failures: list[tuple[Any, BaseException]] = []  # what callbacks raised; None: raised between callbacks
        self.steps = 0  # callbacks that were begun
        self.unordered = False  # an exception left the heap of timers half sorted

    def reset(self) -> None:
        """Reset the loop so that it can run again, after an exception left `run_forever` at any point."""
        self._thread_id = None
        self._stopping = False
        asyncio._set_running_loop(None)

    def look(self) -> None:
        """Do nothing: as a callback it makes the loop iterate, and each iteration asks `busy`."""

    def _run_once(self) -> None:
        """Run one iteration. While calls are served it raises nothing."""
        try:
            self._poll()
            self._take_due()
            self._run_ready()
        except BaseException as error:
            self.failures += ((None, error),)  # no call here: another exception might follow at once
        if self.on_iteration is None and self.failures:
            self._raise_failures()

    def _raise_failures(self) -> None:
        """Raise what asyncio would raise to the code that waits for an `on_start` hook."""
        failures, self.failures = self.failures, []
        for handle, failure in failures:
            if handle is None or isinstance(failure, (SystemExit, KeyboardInterrupt)):
                raise failure
            self.report(handle, failure)

    def report(self, handle: Any, error: BaseException) -> None:
        """Do what asyncio does with what a callback raised."""
        message = f"Exception in callback {handle!r}"
        self.call_exception_handler({"message": message, "exception": error, "handle": handle})

    def _poll(self) -> None:
        """Wait for something to do, then call `on_iteration` with whether the calls descriptor can be read."""
        others = self._selector.fileno()
        ready = False
        for fd, events in self.poller.poll(self._timeout()):  # level-triggered: what is lost here is reported again
            if fd == others:
                self._process_events(self._selector.select(0))
            elif events != select.POLLOUT:
                ready = True
        if self.on_iteration is not None:
            self.on_iteration(ready)

    def _timeout(self) -> int | None:
        """Return the milliseconds until the first timer; None if there is nothing to wait for but descriptors."""
        self._drop_cancelled()
        if self.has_work() or self._ready or self._stopping or self.failures:
            return 0
        if not self._scheduled:
            return None
        wait: float = min(max(0.0, self._scheduled[0]._when - self.time()), LONGEST_WAIT)
        return math.ceil(wait * 1000)

    def _drop_cancelled(self) -> None:
        """Drop the cancelled timers that come next, or all if there are many; restore the order if it was broken."""
        timers = self._scheduled
        if self.unordered or (len(timers) > MANY_TIMERS and 2 * self._timer_cancelled_count > len(timers)):
            left = [timer for timer in timers if not timer._cancelled]
            heapq.heapify(left)
            self._scheduled = left
            self._timer_cancelled_count = 0
            self.unordered = False
        while self._scheduled and self._scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            self._pop_timer()

    def _pop_timer(self) -> None:
        self.unordered = True  # the comparisons of timers are Python code: an exception may stop them halfway
        heapq.heappop(self._scheduled)
        self.unordered = False

    def _take_due(self) -> None:
        """Append the timers that are due to the callbacks that are ready."""
        end = self.time() + self._clock_resolution
        while self._scheduled and self._scheduled[0]._when < end:
            timer = self._scheduled[0]
            self._ready += (timer,)  # no call from here until `heappop` has removed it from the list
            timer._scheduled = False
            self.unordered = True
            heapq.heappop(self._scheduled)
            self.unordered = False

    def _run_ready(self) -> None:
        """Run the callbacks that are ready now, and not those which they add."""
        ready = self._ready
        for _ in range(len(ready)):
            if not ready:  # a callback has run this loop, or emptied it
                return
            self.steps += 1
            handle = ready[0]
            try:
                del ready[0]  # no call from here until `run` has begun
                if not handle._cancelled:
                    handle._context.run(handle._callback, *handle._args)
            except BaseException as error:
                self.failures += ((handle, error),)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        try:
            return super().call_at(when, callback, *args, context=context)
        except BaseException:
            self.unordered = True
            raise
