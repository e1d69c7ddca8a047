"""Runs the hooks of sessions. `on_session_end` hooks have a time limit, since calls may wait until a hook has ended.

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
    from contextvars import Context
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
        self.hooks = iter(worker.end_hooks(session, epoch))  # an iterator: a hook is not repeated after an exception
        self.base_context = copy_context()

    def run(self) -> None:
        """Run the hooks that have not run yet. Their exceptions are logged."""
        worker = self.worker
        session = Session(self.session, self.epoch, worker.sessions)
        for hook in self.hooks:
            try:
                context = contexts.copy_for_call(self.base_context)
                context.run(run_with_limit, worker, session_end_timer(worker, self.session), hook, session, self.reason)
            except BaseException as error:
                error_frames.log_hook_error(self.session, error)
            # The hook has forked and this is the child, which returned from the hook. It must not go on as the worker.
            if worker.calls.forked:
                os._exit(0)
        worker.sessions.drop(self.session, self.epoch)


def start_session(worker: Worker, base_context: Context, id: str, epoch: int) -> None:
    """Run the `on_session_start` hooks as part of the session's first call. Raises their exceptions, and interrupts."""
    if (id, epoch) in worker.sessions.started:
        return
    session = Session(id, epoch, worker.sessions)
    try:
        for hook in worker.app._on_session_start:
            contexts.copy_for_call(base_context).run(worker.run_hook, hook, session)
            if worker.calls.forked:  # the child of a fork in the hook, which must not go on as the worker
                os._exit(0)
        worker.sessions.started.add((id, epoch))
    except BaseException:
        worker.sessions.drop(id, epoch)
        raise


def run_with_limit(worker: Worker, timer: HookTimer, hook: Callable[..., Any], *arguments: Any) -> Any:
    """Run a hook on the main thread. Raises its exceptions, and `HookTimeout` if it exceeds the limit."""
    with timer as running:
        worker.calls.running = running.id
        try:
            return worker.run_hook(hook, *arguments)
        finally:
            worker.calls.running = 0


def session_end_timer(worker: Worker, session: str) -> HookTimer:
    """Return the time limit of one run of an `on_session_end` hook."""
    return HookTimer(worker, f"on_session_end for session {session!r}", worker.hook_limit)


class HookTimer:
    """Limits the time of one run of a hook. A separate thread runs from `__enter__` until `__exit__`.

    Both are called on the main thread. `Calls.running` is the hook's id while the hook runs there.
    """

    count = 0

    def __init__(self, worker: Worker, what: str, limit: float | None) -> None:
        HookTimer.count -= 1
        self.id = HookTimer.count  # below 0, so it is no wire id
        self.what = what  # for the log
        self.calls = worker.calls
        self.limit = limit
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
            os.write(2, f"herder: {self.what} {text}\n".encode(errors="replace"))
        except OSError:
            pass
