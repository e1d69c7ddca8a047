"""Runs `on_session_end` hooks with a time limit, since calls may wait until a hook has ended.

A hook that exceeds the limit is interrupted. If it still blocks the main thread after the limit has passed again, the
worker exits.
"""

from __future__ import annotations

import os
import signal
import time
from _thread import allocate_lock, get_ident, start_new_thread
from contextvars import copy_context

from herder import contexts, error_frames
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.worker import Worker

RESIGNAL_INTERVAL = 0.01  # seconds between signals while an interrupt is not delivered


class PendingSessionEnd:
    """An ended session: runs each hook once and then drops the session's state, even if hooks raise."""

    def __init__(self, worker: Worker, epoch: int, reason: str, session: str) -> None:
        self.worker = worker
        self.epoch = epoch
        self.reason = reason
        self.session = session
        self.hooks = iter(worker.app._on_session_end)  # an iterator: a hook is not repeated after an exception
        self.base_context = copy_context()

    def run(self) -> None:
        """Run the hooks that have not run yet. Their exceptions are logged."""
        worker = self.worker
        session = Session(self.session, self.epoch, worker.sessions)
        for hook in self.hooks:
            try:
                contexts.copy_for_call(self.base_context).run(run_with_limit, worker, hook, session, self.reason)
            except BaseException as error:
                error_frames.log_hook_error(self.session, error)
            # The hook has forked and this is the child, which returned from the hook. It must not go on as the worker.
            if worker.calls.forked:
                os._exit(0)
        worker.sessions.drop(self.session, self.epoch)


def run_with_limit(worker: Worker, hook: Callable[..., Any], session: Session, reason: str) -> None:
    """Run a hook on the main thread. Raises its exceptions, and `HookTimeout` if it exceeds the limit."""
    with HookTimer(worker, session.id) as running:
        worker.calls.running = running.id
        try:
            worker.run_hook(hook, session, reason)
        finally:
            worker.calls.running = 0


class HookTimer:
    """Limits the time of one run of a hook. A separate thread runs from `__enter__` until `__exit__`.

    Both are called on the main thread. `Calls.running` is the hook's id while the hook runs there.
    """

    count = 0

    def __init__(self, worker: Worker, session: str) -> None:
        HookTimer.count -= 1
        self.id = HookTimer.count  # below 0, so it is no wire id
        self.session = session
        self.calls = worker.calls
        self.limit = worker.hook_limit
        self.main_thread = get_ident()
        self.finished = allocate_lock()  # held until the hook has ended

    def __enter__(self) -> HookTimer:
        if self.limit is not None:
            self.finished.acquire()
            try:
                start_new_thread(self.enforce_limit, (self.limit,))
            except RuntimeError:  # no more threads can be started: run the hook without a limit
                pass
        return self

    def __exit__(self, *_: object) -> None:
        if self.limit is not None:
            self.finished.release()
            self.calls.cancelled.pop(self.id, None)

    def enforce_limit(self, limit: float) -> None:
        """Interrupt the hook when the limit has passed. End the worker if the hook still runs after a second limit."""
        if self.finished.acquire(timeout=limit):
            return
        self.log(f"exceeded its time limit of {limit:g} s and is interrupted")
        # The hook may end right here. Then this entry stays until it is dropped as the oldest. It interrupts nothing:
        # no other hook has this id.
        self.calls.cancel(self.id, True)
        end = time.monotonic() + limit
        while not self.finished.acquire(timeout=RESIGNAL_INTERVAL):
            # The hook is not on the main thread now: an async hook waits, or an exception from a signal handler or
            # another thread ended `__enter__` or `__exit__` before it released the lock. In the latter case nothing
            # would ever end this thread, so it gives up after a third limit.
            if self.calls.running != self.id:
                if time.monotonic() >= end + limit:
                    return
                continue
            if time.monotonic() >= end:
                self.end_worker()
            # Signal repeatedly: the signal handler ignores a signal while Herder's own frame or an import runs.
            if self.calls.cancelled.get(self.id):
                signal.pthread_kill(self.main_thread, signal.SIGUSR2)

    def end_worker(self) -> None:
        """Exit, since the main thread runs code that cannot be interrupted."""
        if not self.calls.forked:
            import faulthandler

            try:
                self.log("cannot be interrupted; the worker exits")
                faulthandler.dump_traceback(2)
            finally:
                os._exit(1)

    def log(self, text: str) -> None:
        """Log a line. Never fails, so the limit applies even if the application has closed standard error."""
        try:
            os.write(2, f"herder: on_session_end for session {self.session!r} {text}\n".encode(errors="replace"))
        except OSError:
            pass
