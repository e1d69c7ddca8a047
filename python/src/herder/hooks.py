"""Runs `on_session_end` hooks with a limit, since calls may wait behind them.

A hook that runs longer is interrupted. One that still blocks the main thread after the same time again ends the worker:
nothing else would.
"""

from __future__ import annotations

import os
import signal
import time
from _thread import allocate_lock, get_ident, start_new_thread
from contextvars import copy_context

from herder import answers, contexts
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.worker import Worker

RESIGNAL_INTERVAL = 0.01  # seconds between two signals, when the first one met Herder's own code and not the hook


class PendingSessionEnd:
    """A session that has ended: runs each hook once and then drops the session's state, whatever the hooks raise."""

    def __init__(self, worker: Worker, epoch: int, reason: str, session: str) -> None:
        self.worker = worker
        self.epoch = epoch
        self.reason = reason
        self.session = session
        self.hooks = iter(worker.app._on_session_end)
        self.base = copy_context()

    def run(self) -> None:
        """Run the hooks that have not run. What they raise goes to the log."""
        worker = self.worker
        session = Session(self.session, self.epoch, worker.sessions)
        for hook in self.hooks:
            try:
                contexts.copy_for_call(self.base).run(run, worker, hook, session, self.reason)
            except BaseException as error:
                answers.log_hook(self.session, error)
            if worker.calls.forked:  # the hook forked and this is the child, coming back: it is not the worker
                os._exit(0)
        worker.sessions.drop(self.session, self.epoch)


def run(worker: Worker, hook: Callable[..., Any], session: Session, reason: str) -> None:
    """Run a hook on the main thread to its end. Raises what it raises, and `HookTimeout` when it was interrupted."""
    with HookTimer(worker, session.id) as running:
        worker.calls.running = running.id
        try:
            worker.run_hook(hook, session, reason)
        finally:
            worker.calls.running = 0


class HookTimer:
    """Watches one run of a hook from a thread of its own, from `__enter__` to `__exit__`.

    Entered and left on the main thread. The hook's number stands in `Calls.running` while it runs there. An
    exception from outside may end `__enter__` or `__exit__` early, so the thread also ends by itself.
    """

    count = 0

    def __init__(self, worker: Worker, session: str) -> None:
        HookTimer.count -= 1
        self.id = HookTimer.count  # below 0: no wire id
        self.session = session
        self.calls = worker.calls
        self.limit = worker.hook_limit
        self.main = get_ident()
        self.over = allocate_lock()

    def __enter__(self) -> HookTimer:
        if self.limit is not None:
            self.over.acquire()
            try:
                start_new_thread(self.watch, (self.limit,))
            except RuntimeError:  # no more threads may be started: better without a limit than not at all
                pass
        return self

    def __exit__(self, *_: object) -> None:
        if self.limit is not None:
            self.over.release()
            self.calls.cancelled.pop(self.id, None)

    def watch(self, limit: float) -> None:
        """Interrupt the hook once the limit is over; end the worker if that does not help."""
        if self.over.acquire(timeout=limit):
            return
        self.say(f"exceeded its time limit of {limit:g} s and is interrupted")
        self.calls.cancel(self.id, True)
        end = time.monotonic() + limit
        while not self.over.acquire(timeout=RESIGNAL_INTERVAL):
            if self.calls.running != self.id:
                if time.monotonic() >= end + limit:
                    return
                continue
            if time.monotonic() >= end:
                self.end_worker()
            if self.calls.cancelled.get(self.id):
                signal.pthread_kill(self.main, signal.SIGUSR2)

    def end_worker(self) -> None:
        """Exit: the main thread is in code that cannot be interrupted."""
        if not self.calls.forked:
            import faulthandler

            try:
                self.say("cannot be interrupted; the worker exits")
                faulthandler.dump_traceback(2)
            finally:
                os._exit(1)

    def say(self, text: str) -> None:
        """A line in the log. The limit holds also where the application has closed standard error."""
        try:
            os.write(2, f"herder: on_session_end for session {self.session!r} {text}\n".encode(errors="replace"))
        except OSError:
            pass
