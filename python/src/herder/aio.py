"""The main loop of a worker with async handlers: calls are tasks of one asyncio loop, `concurrency` at once.

Everything happens on the main thread. Sync handlers of such an app run in between, and hold up the others as in any
asyncio program. Imported only when an app has something async: asyncio costs 10 MiB.

Each iteration of the loop finds what is to be done in lists and flags. So an exception that the application raises in
the middle of one (see `pipe`) costs an iteration, but loses no step of a call.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import warnings
from contextvars import copy_context

from herder import aio_calls, aio_hooks, answers, signals
from herder.aio_calls import Runner
from herder.aio_hooks import SessionEndQueue
from herder.aio_plain import make_loop
from herder.aio_reader import Reader
from herder.aio_recovery import of_asyncio_callback
from herder.errors import HookTimeout, Interrupted, ProtocolError
from herder.pipe import is_stream_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType
    from typing import Any

    from herder.aio_calls import Pending
    from herder.aio_loop import WorkerEventLoop
    from herder.worker import Worker


def prepare(worker: Worker) -> None:
    """Give the worker an asyncio loop, which runs async hooks from now on, and calls once `serve` is called."""
    server = Server(worker)
    worker.run_hook = server.run_hook
    worker.wake = server.wake
    worker.attempt_state = server.attempt_state
    worker.cancel_task = server.cancel_soon
    worker.interrupting = server.runner.interrupting
    worker.aio = server


def serve(worker: Worker) -> None:
    """Answer calls until the host closes the descriptor, or asks for the end. Raises `ProtocolError`, `OSError`."""
    assert worker.aio is not None
    worker.aio.serve()


def interrupt(worker: Worker, frame: FrameType | None) -> None:
    """The signal handler: interrupt the handler, or the step of a task, that runs now if its call is to be interrupted.

    An import is not interrupted.
    """
    calls = worker.calls
    running = calls.running
    if frame is None or frame.f_code in LOOP_CODE:
        return
    if running:
        if (
            calls.cancelled.get(running)
            and not signals.is_uninterruptible(frame, LOOP_CODE)
            and calls.interrupts(running)
        ):
            raise Interrupted if running > 0 else HookTimeout
    elif (
        worker.aio is not None
        and not signals.is_uninterruptible(frame, LOOP_CODE)
        and worker.aio.runner.should_interrupt(frame)
    ):
        raise Interrupted


def forget_event_loop(loop: WorkerEventLoop) -> None:
    """Leave `asyncio.get_event_loop()` as it is in an app without async handlers, unless the application set another.

    A sync handler that got the worker's loop could not run it, since it runs already. Async code gets it all the same.
    """
    policy: Any = asyncio.get_event_loop_policy()
    local: Any = getattr(policy, "_local", None)
    if getattr(local, "_loop", None) is loop:
        policy._local = type(local)()  # `set_event_loop(None)` would not do: it makes `get_event_loop` raise
    elif local is None:  # a policy of somebody else's
        asyncio.set_event_loop(None)


def provide_child_watcher() -> None:
    """Let asyncio start programs under a policy that has no child watcher, as uvloop's. Python 3.14 needs none."""
    if sys.version_info >= (3, 14):
        return
    policy: Any = asyncio.get_event_loop_policy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            policy.get_child_watcher()
        except NotImplementedError:
            watcher = asyncio.ThreadedChildWatcher()
            policy.get_child_watcher = lambda: watcher


class Server:
    """The worker's side of its two descriptors: frames come in, calls and hooks run, answers go out."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.loop = make_loop()
        asyncio.set_event_loop(self.loop)  # for `asyncio.get_event_loop()` in hooks; `serve` takes it back
        self.base = copy_context()  # what `on_start` leaves
        self.runner = Runner(worker, self.loop, self.answered)
        self.ended_sessions = SessionEndQueue(worker, self.loop, self.runner.unanswered)
        self.reader = Reader(worker, self.runner, self.ended_sessions)
        self.fatal: BaseException | None = None

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run_hook(self, hook: Callable[..., Any], *arguments: Any) -> None:
        """Run an `on_start` hook to its end, before the loop runs, in the context that the hooks before it left."""
        result = self.base.run(hook, *arguments)
        if asyncio.iscoroutine(result):
            task = self.base.run(self.loop.create_task, self.keep_context(result))
            self.loop.run_until_complete(task)

    async def keep_context(self, hook: Coroutine[Any, Any, Any]) -> None:
        """Await a hook; what it set in its own task's context is there for the calls."""
        await hook
        self.base = copy_context()

    def serve(self) -> None:
        """Run until drained."""
        forget_event_loop(self.loop)
        provide_child_watcher()
        self.runner.base = self.ended_sessions.base = self.base
        os.set_blocking(self.worker.fd, False)
        self.loop.on_iteration, self.loop.has_work = self.on_iteration, self.has_work
        # The jump back to `while` is outside of the `try`. An exception is raised there only as the third in direct
        # succession: after one in `run`, and one while `run` records that.
        while True:
            try:
                self.run()
                break
            except BaseException as error:
                self.loop.failures += ((None, error),)
        if self.fatal is not None:
            raise self.fatal
        self.loop.on_iteration, self.loop.has_work = None, bool
        try:
            self.end_tasks()
        except BaseException as error:
            answers.log(f"herder: the cleanup of a task raised an exception:\n{answers.traceback_of(error)}")

    def run(self) -> None:
        """Run the loop until all is done; again after each exception that leaves it."""
        while not self.done():
            try:
                self.loop.reset()
                self.loop.run_forever()
            except BaseException as error:
                self.loop.failures += ((None, error),)

    def end_tasks(self) -> None:
        """Cancel the tasks that handlers left behind, and wait until they have ended."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    def done(self) -> bool:
        """Whether the worker is shutting down and has answered all that it received."""
        idle = not (self.runner.unanswered or self.reader.unread_calls or self.ended_sessions or self.unwritten())
        return self.fatal is not None or (self.reader.draining and idle)

    def unwritten(self) -> bool:
        """Whether some output could not be written yet."""
        return bool(self.worker.output.parts)

    def has_work(self) -> bool:
        """Whether the next iteration has work even if no descriptor is ready. Called before each wait."""
        self.watch()
        reader = self.reader
        starting = self.ended_sessions.runnable or self.runner.may_begin()
        ending = self.worker.calls.closing and not reader.draining
        return bool(starting or reader.cancels or reader.unread_calls or reader.input.chunk or ending or self.done())

    def on_iteration(self, readable: bool) -> None:
        """Read, begin what may begin, write: once per iteration of the loop, before asyncio's callbacks run."""
        try:
            failed = bool(self.loop.failures)
            if failed:
                self.recover()
            if readable or failed or self.reader.input.chunk or self.worker.calls.closing:
                self.reader.receive()
            self.act()
            self.worker.output.flush()
        except (ProtocolError, OSError) as error:
            if not is_stream_error(error):
                raise
            self.fatal = error
        if self.done():
            self.loop.stop()

    def watch(self) -> None:
        """Tell the loop which events of the calls descriptor to wait for."""
        events = (0 if self.reader.draining else select.POLLIN) | (select.POLLOUT if self.unwritten() else 0)
        if events:
            self.loop.poller.register(self.worker.fd, events)  # again is fine
        else:  # it would report the other end's closing again and again
            try:
                self.loop.poller.unregister(self.worker.fd)
            except KeyError:
                pass

    def act(self) -> None:
        """Do what the frames and the control thread ask for."""
        self.reader.fail_skipped_calls()
        cancels = self.reader.cancels
        while cancels:
            self.runner.cancel(*cancels[0])
            del cancels[0]
        if self.ended_sessions.runnable:
            self.ended_sessions.run_next()
        self.runner.begin()

    def answered(self, pending: Pending) -> None:
        """Run the hooks of the call's session, if they wait for this answer."""
        if pending.session is not None and self.ended_sessions.waiting:
            self.ended_sessions.release(pending.session)

    def recover(self) -> None:
        """Log what was raised outside of the application's code. Fail the calls and hooks that lost a callback."""
        while self.loop.failures:
            handle, error = self.loop.failures[0]
            ours = handle is None or of_asyncio_callback(handle, error)
            if ours and handle is not None:
                self.runner.fail_call_of(handle, error)
                self.ended_sessions.cancel_hook_of(handle, error)
            del self.loop.failures[0]  # an exception in the rest of this leads here again
            self.runner.fail_lost_calls(error)
            self.ended_sessions.resume_lost_sessions()
            if ours or isinstance(error, (SystemExit, KeyboardInterrupt)):
                answers.log_unhandled(error)
            else:
                self.loop.report(handle, error)

    # --- for the control thread ---------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Finish what was received: `Calls.closing` is set."""
        self.loop.call_soon_threadsafe(self.loop.look)

    def attempt_state(self, wire_id: int) -> int:
        """Return the state of a call that has just been marked as cancelled."""
        return self.runner.state(wire_id, self.reader.last_read)

    def cancel_soon(self, wire_id: int, interrupt: bool) -> None:
        """Have the loop answer this call if it waits, or cancel its task if it is to be interrupted."""
        if interrupt:
            self.runner.interrupt_soon(wire_id)
        self.reader.cancels += ((wire_id, interrupt),)
        self.loop.call_soon_threadsafe(self.loop.look)


LOOP_CODE = frozenset(
    each.__code__
    for each in (
        aio_calls.run_steps,
        aio_hooks.as_coroutine,
        Runner.run_sync,
        Runner.run_async,
        SessionEndQueue.run_sync,
        SessionEndQueue.await_hook,
    )
)
