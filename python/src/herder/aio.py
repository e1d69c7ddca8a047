"""The main loop of a worker with async handlers: calls are tasks of one asyncio loop, up to `concurrency` at once.

Everything runs on the main thread, except sync handlers with `run_sync="thread"`. Other sync handlers block the loop,
as in any asyncio program. This module is imported only for an app that needs it, since asyncio takes 10 MiB.
"""

# All pending work is in lists and flags, and each iteration of the loop looks there. So an exception that the
# application raises in the middle of an iteration (see `descriptor_io`) ends that iteration, but loses no step of a
# call: the next iteration finds it again.

from __future__ import annotations

import asyncio
import os
import select
import sys
import warnings
from contextvars import copy_context

from herder import aio_calls, aio_hooks, error_frames, log_output, signals
from herder.aio_calls import Pending, Runner
from herder.aio_hooks import SessionEndQueue, await_with_limit, run_outside_loop
from herder.aio_plain import make_loop
from herder.aio_reader import Reader
from herder.aio_recovery import is_asyncio_callback
from herder.descriptor_io import is_stream_error
from herder.errors import HookTimeout, Interrupted, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType
    from typing import Any

    from herder.aio_health import HealthChecks
    from herder.aio_loop import WorkerEventLoop
    from herder.aio_streams import AsyncStream
    from herder.worker import Worker


def prepare(worker: Worker) -> None:
    """Create the worker's asyncio loop. It runs `on_start` hooks from now on, and calls once `serve` is called."""
    server = Server(worker)
    worker.run_hook = server.run_hook
    worker.request_shutdown = server.request_shutdown
    worker.attempt_state = server.attempt_state
    worker.cancel_task = server.cancel_soon
    worker.find_stream = server.find_stream
    worker.interrupting = server.runner.interrupting
    worker.aio = server
    log_output.output.names_of = server.names_of
    worker.calls.session_of = server.runner.session_of


def serve(worker: Worker) -> None:
    """Answer calls until the host closes the descriptor or shuts down. Raises `ProtocolError` and `OSError`."""
    assert worker.aio is not None
    worker.aio.serve()


def interrupt(worker: Worker, frame: FrameType | None) -> None:
    """Interrupt the running handler or task if its call is to be interrupted. This is the signal handler of SIGUSR2."""
    # The signal may arrive late, when a frame of the loop is the innermost one. An exception there would hit the loop
    # instead of the handler. The control thread repeats the signal. The same applies to an import.
    calls = worker.calls
    running = calls.running
    if frame is None or frame.f_code in LOOP_CODE:
        return
    if running:
        if (
            calls.cancelled.get(running)
            and not signals.is_uninterruptible(frame, LOOP_CODE)
            and calls.take_interrupt(running)
        ):
            raise Interrupted if running > 0 else HookTimeout
    elif (
        worker.aio is not None
        and not signals.is_uninterruptible(frame, LOOP_CODE)
        and worker.aio.runner.should_interrupt(frame)
    ):
        raise Interrupted


def forget_event_loop(loop: WorkerEventLoop) -> None:
    """Make `asyncio.get_event_loop()` behave as in an app without async handlers."""
    # A sync handler must not get the worker's loop: it could not run it, since the loop runs already. Async code gets
    # it as the running loop. A loop that the application has set stays.
    policy: Any = asyncio.get_event_loop_policy()  # pyright: ignore[reportDeprecated]
    local: Any = getattr(policy, "_local", None)
    if getattr(local, "_loop", None) is loop:
        policy._local = type(local)()  # not `set_event_loop(None)`: `get_event_loop` would raise after that
    elif local is None:  # not asyncio's own policy
        asyncio.set_event_loop(None)


def provide_child_watcher() -> None:
    """Add a child watcher to a policy that has none, such as uvloop's: asyncio needs it to start programs."""
    if sys.version_info >= (3, 14):
        return
    policy: Any = asyncio.get_event_loop_policy()  # pyright: ignore[reportDeprecated]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            policy.get_child_watcher()
        except NotImplementedError:
            watcher = asyncio.ThreadedChildWatcher()
            policy.get_child_watcher = lambda: watcher


class Server:
    """Connects the parts of an asyncio worker: reads frames, runs calls and hooks, and writes answers."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.loop = make_loop()
        asyncio.set_event_loop(self.loop)  # for `asyncio.get_event_loop()` in `on_start` hooks; `serve` undoes it
        self.base_context = copy_context()  # the context after the `on_start` hooks
        make_runner, make_reader = Runner, Reader
        if worker.app._batches:
            from herder import aio_batches

            make_runner, make_reader = aio_batches.BatchRunner, aio_batches.BatchReader
            LOOP_CODE.update(aio_batches.LOOP_CODE)
        self.runner = make_runner(worker, self.loop, self.on_answered)
        self.ended_sessions = SessionEndQueue(worker, self.loop, self.runner.unanswered)
        self.reader = make_reader(worker, self.runner, self.ended_sessions)
        self.fatal: BaseException | None = None
        self.loop.call_type = Pending
        self.health: HealthChecks | None = None  # set if the app has a health function
        if worker.app._health is not None:
            from herder.aio_health import HealthChecks

            self.health = HealthChecks(self)
        self.polled: int | None = None  # the events for which the loop waits; None: unknown
        if worker.starts_sessions:
            from herder.aio_starts import SessionStarts

            self.runner.starts = SessionStarts(self.runner)
        if any(command.stream is not None for command in worker.commands.values()):
            from herder import aio_streams

            worker.output = aio_streams.SharedOutput(worker.fd)
            LOOP_CODE.add(aio_streams.AsyncStream.run_steps.__code__)
        if any(command.in_thread for command in worker.commands.values()):
            from herder.aio_threads import HandlerThreads

            self.runner.threads = HandlerThreads(self.loop)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run_hook(self, hook: Callable[..., Any], *arguments: Any) -> None:
        """Run an `on_start` hook in the context of the hooks before it."""
        result = self.base_context.run(hook, *arguments)
        if asyncio.iscoroutine(result):
            task = self.base_context.run(self.loop.create_task, self.keep_context(result))
            self.loop.run_until_complete(task)

    async def keep_context(self, hook: Coroutine[Any, Any, Any]) -> None:
        """Await a hook, and keep the context of its task for the calls."""
        await hook
        self.base_context = copy_context()

    def serve(self) -> None:
        """Run until the worker is drained or the stream is broken."""
        forget_event_loop(self.loop)
        provide_child_watcher()
        self.runner.base_context = self.ended_sessions.base_context = self.base_context
        os.set_blocking(self.worker.fd, False)
        self.loop.on_iteration, self.loop.has_work = self.on_iteration, self.has_work
        # The jump back to `while` is outside the `try`. An exception can be raised there only as the third in a row:
        # after one in `run`, and a second one while `run` handles the first.
        while True:
            try:
                self.run()
                break
            except BaseException as error:
                self.loop.failures += ((None, error),)
        if self.fatal is not None:
            raise self.fatal
        self.loop.on_iteration, self.loop.has_work = None, bool
        self.update_poller()  # nothing more is read: a readable descriptor would end each wait of the loop
        self.worker.stop_app()  # while the tasks that handlers have started still run: a connection may need them
        try:
            self.end_tasks()
        except BaseException as error:
            traceback = error_frames.format_traceback(error)
            error_frames.log(f"herder: the cleanup of a task raised an exception:\n{traceback}")

    def run(self) -> None:
        """Run the loop until `done`, and run it again after each exception."""
        while not self.done():
            try:
                self.loop.reset()
                self.loop.run_forever()
            except BaseException as error:
                self.loop.failures += ((None, error),)

    def end_tasks(self) -> None:
        """Cancel the tasks that handlers have started, and wait until they have ended."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    def done(self) -> bool:
        """Whether the stream is broken, or the worker drains and has answered everything."""
        if self.fatal is not None or not self.reader.draining:
            return self.fatal is not None
        calls = self.runner.unanswered or self.reader.calls_without_memory
        return not (calls or self.ended_sessions or self.unwritten())

    def unwritten(self) -> bool:
        """Whether there is output that is not written yet."""
        return bool(self.worker.output.parts)

    def has_work(self) -> bool:
        """Whether the next iteration has work even if no descriptor is ready. The loop calls this before each wait."""
        self.update_poller()
        reader = self.reader
        starting = self.ended_sessions.runnable or self.runner.may_begin()
        ending = self.worker.calls.closing and not reader.draining
        unhandled = reader.cancels or reader.health_checks or reader.calls_without_memory or reader.input.chunk
        slabs = self.worker.slabs
        unused = slabs is not None and slabs.released
        return bool(starting or unhandled or ending or unused or self.done())

    def on_iteration(self, readable: bool) -> None:
        """Read frames, start calls and hooks, and write. Called in each iteration, before asyncio's callbacks run."""
        try:
            # After an exception, read even if no descriptor is reported as ready: the report may be lost.
            failed = bool(self.loop.failures)
            if failed:
                self.recover()
            if readable or failed or self.reader.input.chunk or self.worker.calls.closing:
                self.reader.receive()
            self.apply_requests()
            if self.worker.slabs is not None:  # views die with other things than a call, such as an ended session
                self.worker.slabs.flush()
            # While callbacks are ready, items of a stream may wait for the next ones.
            if self.unwritten() and (not self.loop._ready or self.worker.output.is_due()):
                self.worker.output.flush()
        except (ProtocolError, OSError) as error:
            if not is_stream_error(error):
                raise
            self.fatal = error
        if self.done():
            self.loop.stop()

    def update_poller(self) -> None:
        """Set the events of the calls descriptor for which the loop waits."""
        events = (0 if self.reader.draining else select.POLLIN) | (select.POLLOUT if self.worker.output.parts else 0)
        if events == self.polled:
            return
        self.polled = None  # until the change is made: an exception may come before it
        if events:
            self.loop.poller.register(self.worker.fd, events)  # replaces an earlier registration
        else:  # not `register` with no events: `poll` would report POLLHUP in each iteration
            try:
                self.loop.poller.unregister(self.worker.fd)
            except KeyError:
                pass
        self.polled = events

    def apply_requests(self) -> None:
        """Handle cancels, and start hooks and calls."""
        if self.reader.calls_without_memory:
            self.reader.fail_calls_without_memory()
        cancels = self.reader.cancels
        while cancels:
            self.runner.cancel(*cancels[0])
            del cancels[0]  # only now: after an exception in `cancel` it is repeated, not lost
        if self.reader.health_checks and self.health is not None:
            check = self.reader.health_checks[0]
            del self.reader.health_checks[0]
            self.health.begin(*check)
        if self.ended_sessions.runnable:
            self.ended_sessions.run_next_hook()
        self.runner.begin()

    def on_answered(self, pending: Pending) -> None:
        """Make the hooks of the call's session runnable, if they wait for this call."""
        if pending.session is not None and self.ended_sessions.waiting:
            self.ended_sessions.make_runnable(pending.session)

    def recover(self) -> None:
        """Log or report the exceptions of the last iteration. Fail the calls and hooks that lost a callback."""
        while self.loop.failures:
            handle, error = self.loop.failures[0]
            # An exception that a callback of the application raised is its own and is reported as asyncio does. Any
            # other was raised in code of asyncio or Herder, and a task may have lost the callback that resumes it.
            outside = handle is None or is_asyncio_callback(handle, error)
            if outside and handle is not None:
                self.runner.fail_call_of(handle, error)
                self.ended_sessions.cancel_hook_of(handle, error)
            # Removed before the rest: another exception in the rest is a failure itself and leads here again.
            del self.loop.failures[0]
            self.runner.fail_lost_calls(error)
            self.ended_sessions.resume_lost_sessions()
            if outside or isinstance(error, (SystemExit, KeyboardInterrupt)):
                error_frames.log_unhandled(error)
            else:
                self.loop.report(handle, error)

    def names_of(self, wire_id: int) -> tuple[str | None, str | None]:
        """Return the command and the session of an unanswered call, or the session of the current hook, for the log."""
        pending = self.runner.unanswered.get(wire_id)
        if pending is not None:
            return pending.command.name, pending.session
        session_end = aio_hooks.session_end_var.get()
        return None, None if session_end is None else session_end.session.id

    # --- called by the control thread ---------------------------------------------------------------------------------

    def request_shutdown(self) -> None:
        """Wake the loop to start draining. `Calls.closing` must be set before."""
        self.loop.call_soon_threadsafe(self.loop.wake_up)

    def attempt_state(self, wire_id: int) -> int:
        """Return the state of a call that has just been marked as cancelled."""
        return self.runner.state(wire_id, self.reader.last_read)

    def find_stream(self, wire_id: int) -> AsyncStream | None:
        """Return the stream of an unanswered call."""
        pending = self.runner.unanswered.get(wire_id)
        return None if pending is None else pending.stream

    def cancel_soon(self, wire_id: int, interrupt: bool) -> None:
        """Wake the loop to answer this call if it waits, to cancel its task, or to resume its stream."""
        if interrupt:
            self.runner.interrupt_soon(wire_id)
        self.reader.cancels += ((wire_id, interrupt),)  # before the loop is woken, or it would find nothing
        self.loop.call_soon_threadsafe(self.loop.wake_up)


LOOP_CODE = {
    each.__code__
    for each in (
        aio_calls.run_steps,
        aio_hooks.as_coroutine,
        Runner.run_outside_loop,
        Runner.run_sync,
        Runner.run_async,
        Runner.await_result,
        run_outside_loop,
        await_with_limit,
        SessionEndQueue.await_hook,
    )
}
