"""Runs the calls of an asyncio worker: async handlers as tasks, sync handlers in a step of the loop or in a thread."""

# Exactly one answer. A call is in `unanswered` from the moment it is read until its answer is in the output. The answer
# is added and the call removed without a Python call in between. So an exception at any moment (see `descriptor_io`)
# causes neither two answers nor none: `fail_lost_calls` answers the calls that no task will answer.

from __future__ import annotations

import asyncio
import builtins
import os
import sys
import types
from collections import deque

from herder import contexts, error_frames, frames
from herder.aio_recovery import end_stuck_tasks, is_asyncio_code
from herder.call import now, task_call
from herder.descriptor_io import LARGE_PART, is_stream_error
from herder.errors import CallRejection, Interrupted
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator
    from contextvars import Context
    from types import FrameType
    from typing import Any

    from herder.aio_loop import WorkerEventLoop
    from herder.aio_starts import SessionStarts
    from herder.aio_streams import AsyncStream
    from herder.aio_threads import HandlerThreads
    from herder.binding import Command
    from herder.call import Call, Calls
    from herder.worker import Worker


SIGNALS_UNTIL_INTERRUPT = 5  # signals, 10 ms apart, that must arrive during one step before the step is interrupted
SPARE_HEADERS = 32  # calls whose headers are kept although they are answered
NO_TASKS: frozenset[Any] = frozenset()
TASKS_TAKE_CONTEXT = sys.version_info >= (3, 11)
EXCEPTION_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # exists since Python 3.11


@types.coroutine
def run_steps(coroutine: Coroutine[Any, Any, Any], wire_id: int, calls: Calls) -> Generator[Any, Any, Any]:
    """Await `coroutine`. `calls.running` is `wire_id` while the coroutine runs, and 0 while it waits."""
    step: Callable[[Any], Any] = coroutine.send
    value: Any = None
    while True:
        try:
            calls.running = wire_id
            awaited = step(value)
        except StopIteration as done:
            return done.value
        finally:
            calls.running = 0
        try:
            value = yield awaited
            step = coroutine.send
        except BaseException as error:
            value = error
            step = coroutine.throw


class Pending:
    """A call that is read and checked but not answered. It is also the done callback of its task."""

    has_buffers = False
    __slots__ = (
        "arguments",
        "begun",
        "call",
        "command",
        "epoch",
        "failure",
        "interrupted_tasks",
        "runner",
        "session",
        "settled",
        "start_hooks",
        "started",
        "stream",
        "takes_buffers",
        "task",
        "wire_id",
    )

    def __init__(
        self, runner: Runner, call: Call, command: Command, arguments: dict[str, Any], session: str | None, epoch: int
    ) -> None:
        self.runner = runner
        self.wire_id = call.id
        self.call = call
        self.command = command
        self.arguments = arguments
        self.session = session
        self.epoch = epoch
        self.begun = False  # whether its handler has begun; its task may be cancelled only then
        self.started = 0
        self.task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None  # why Herder cancelled the task, if it did
        self.interrupted_tasks = NO_TASKS  # tasks of the handler that must not be interrupted again
        self.start_hooks: Iterator[Any] | None = None  # what remains of the `on_session_start` hooks, while they run
        self.settled = False  # answered, and nothing is left to do for the call
        self.takes_buffers: bool  # set in a call with buffers
        self.stream: AsyncStream | None = None  # set if the caller takes the items of a generator handler

    def __call__(self, task: asyncio.Task[None]) -> None:
        """Handle the end of the task."""
        self.runner.task_done(self, task)


class PendingWithBuffers(Pending):
    """A call whose arguments have buffers, or whose result may have some."""

    has_buffers = True
    __slots__ = ()


class Runner:
    """The unanswered calls of one worker."""

    def __init__(self, worker: Worker, loop: WorkerEventLoop, on_answered: Callable[[Pending], None]) -> None:
        self.worker = worker
        self.calls = worker.calls
        self.loop = loop
        self.base_context: Context  # the context after the `on_start` hooks
        self.on_answered = on_answered
        self.threads: HandlerThreads | None = None  # set if the app has handlers that run in threads
        self.starts: SessionStarts | None = None  # set if `on_session_start` hooks run
        self.limits_commands = any(command.concurrency for command in worker.commands.values())
        self.unanswered: dict[int, Pending] = {}
        self.waiting: deque[Pending] = deque()  # the unanswered calls that have not begun
        self.step = self.signals = 0  # a step of the loop, and the number of signals during it
        self.interrupting: set[int] = set()  # calls whose tasks are interrupted until the call is answered

    # --- beginning ----------------------------------------------------------------------------------------------------

    def may_begin(self) -> bool:
        """Whether a call waits that may begin, and fewer than `concurrency` calls run."""
        waiting = len(self.waiting)
        has_room = waiting > 0 and len(self.unanswered) - waiting < self.worker.concurrency
        return has_room and (not (self.limits_commands or self.starts) or self.next_waiting() is not None)

    def next_waiting(self) -> int | None:
        """Return the position of the first waiting call that may begin: those before it wait for other calls."""
        for index, pending in enumerate(self.waiting):
            limit = pending.command.concurrency
            is_held = limit is not None and self.count_begun(pending.command) >= limit
            if not is_held and not (self.starts is not None and self.starts.holds(pending)):
                return index
        return None

    def count_begun(self, command: Command) -> int:
        """Return the number of calls of a command that are not answered and have a task."""
        # Counted from the calls, not kept as a number, which an exception at a bad moment would leave wrong for ever.
        return sum(each.task is not None and each.command is command for each in self.unanswered.values())

    def begin(self) -> None:
        """Begin the calls that may begin, but at most one sync handler, so that the loop iterates between two."""
        while self.may_begin():
            index = (self.next_waiting() if self.limits_commands or self.starts else 0) or 0
            pending = self.waiting[index]
            # Already answered: an exception hit `begin_task` or `run_sync` before it removed the call from `waiting`.
            if self.unanswered.get(pending.wire_id) is not pending:
                del self.waiting[index]
            elif not self.begin_call(pending, index):
                return

    def begin_call(self, pending: Pending, index: int) -> bool:
        """Begin a waiting call. Return whether more may begin in this step."""
        if self.starts is not None and self.starts.are_needed(pending):
            self.flush()  # as below
            self.starts.begin(pending, index)
        elif pending.command.is_async or pending.command.in_thread or pending.stream is not None:
            self.begin_task(pending, index)
        else:
            self.flush()  # finished answers must not wait until this handler has ended
            self.run_sync(pending, index)
            return False
        return True

    def new_context(self, pending: Pending) -> Context:
        """Return a new copy of the base context for this call."""
        base = self.base_context
        context = contexts.copy_for_call(base) if "decimal" in sys.modules else base.copy()
        context.run(task_call.set, pending.call)
        if self.calls.traces:  # not removed here: each step of a generator has a new context
            contexts.open_telemetry.enter(context, self.calls.traces.get(pending.wire_id))
        return context

    def begin_task(self, pending: Pending, index: int) -> None:
        """Start the task of an async handler, of a stream, or of a sync handler that runs in a thread."""
        run = self.run_in_thread if pending.command.in_thread else self.run_async
        if pending.stream is not None:
            run = pending.stream.run_task
        try:
            del self.waiting[index]
            context = self.new_context(pending)
            if TASKS_TAKE_CONTEXT and self.loop._task_factory is None:
                task = self.loop.create_task(run(pending), context=context)  # type: ignore[call-arg]
            else:  # in a copy of the context; the application's factory may not accept one
                task = context.run(self.loop.create_task, run(pending))
            pending.task = task
            task.add_done_callback(pending)
        except BaseException as error:
            self.fail(pending, error)

    def run_sync(self, pending: Pending, index: int) -> None:
        """Run a sync handler. No event loop is set as running, as in a worker without asyncio."""
        calls, wire_id = self.calls, pending.wire_id
        try:
            pending.begun = True  # before `cancelled` is read: see `state`
            del self.waiting[index]
            context = self.new_context(pending)
            asyncio._set_running_loop(None)
            calls.running = wire_id
            if wire_id in calls.cancelled and calls.refuses(wire_id):
                raise CallRejection("cancelled", "the call was cancelled before it started")
            pending.started = pending.started or now()  # it includes the hooks of its session
            result = context.run(pending.command.call, **pending.arguments)
            calls.running = 0
            if pending.command.awaits and asyncio.iscoroutine(result):  # of a wrapper around an async function
                pending.task = context.run(self.loop.create_task, self.await_result(pending, result))
                pending.task.add_done_callback(pending)
            else:
                self.succeed(pending, result)
        except BaseException as error:
            calls.running = 0
            self.fail(pending, error)
        finally:
            asyncio._set_running_loop(self.loop)

    def begin_handler(self, pending: Pending) -> None:
        """Record that the call of a task begins. Raises `CallRejection` if it was cancelled or revoked."""
        pending.begun = True  # before `cancelled` is read: see `state`
        if pending.wire_id in self.calls.cancelled and self.calls.refuses(pending.wire_id):
            raise CallRejection("cancelled", "the call was cancelled before it started")
        pending.started = pending.started or now()  # it includes the hooks of its session

    def leave_queue(self, pending: Pending, index: int) -> None:
        """Remove a waiting call that begins."""
        pending.begun = True  # before `cancelled` is read: see `state`
        del self.waiting[index]

    def run_outside_loop(self, pending: Pending, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run sync code of a call in a context of its own. No event loop is set as running."""
        context = self.new_context(pending)
        try:
            asyncio._set_running_loop(None)
            self.calls.running = pending.wire_id
            return context.run(function, *arguments)
        finally:
            self.calls.running = 0
            asyncio._set_running_loop(self.loop)

    async def run_async(self, pending: Pending) -> None:
        """Run an async handler and answer its call. This is the coroutine of the call's task."""
        calls, wire_id = self.calls, pending.wire_id
        if self.unanswered.get(wire_id) is not pending:
            return  # already answered: an exception hit `begin_task` after the task was created
        try:
            self.begin_handler(pending)
            result = await run_steps(pending.command.call(**pending.arguments), wire_id, calls)
            self.succeed(pending, result)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.fail(pending, error)

    async def await_result(self, pending: Pending, result: Coroutine[Any, Any, Any]) -> None:
        """Await the coroutine that a sync handler has returned, and answer its call."""
        try:
            self.succeed(pending, await run_steps(result, pending.wire_id, self.calls))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.fail(pending, error)

    async def run_in_thread(self, pending: Pending) -> None:
        """Run a sync handler in a thread and answer its call. This is the coroutine of the call's task."""
        assert self.threads is not None
        if self.unanswered.get(pending.wire_id) is not pending:
            return  # already answered: an exception hit `begin_task` after the task was created
        try:
            self.begin_handler(pending)
            result, error = await self.threads.run(pending.command.call, pending.arguments)
            if error is None and pending.command.awaits and asyncio.iscoroutine(result):
                self.succeed(pending, await run_steps(result, pending.wire_id, self.calls))
            elif error is None:
                self.succeed(pending, result)
            else:  # not raised: in a coroutine, `StopIteration` would become another exception
                self.fail(pending, error)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.fail(pending, error)

    def session_of(self, wire_id: int) -> Session | None:
        """Return the session of a call that is not answered yet."""
        pending = self.unanswered.get(wire_id)
        if pending is None or pending.session is None:
            return None
        return Session(pending.session, pending.epoch, self.worker.sessions)

    def keep_headers(self, wire_id: int, headers: dict[str, str]) -> None:
        """Keep the headers of the call that follows until it is answered, or longer."""
        kept = self.calls.headers
        # Those of answered calls are dropped all at once, so that a call without headers needs to drop nothing.
        if len(kept) > 2 * len(self.unanswered) + SPARE_HEADERS:
            for each in [each for each in kept if each not in self.unanswered]:
                del kept[each]
                self.calls.traces.pop(each, None)
        kept[wire_id] = headers
        contexts.open_telemetry.keep_trace(self.calls.traces, wire_id, headers)

    # --- answering ----------------------------------------------------------------------------------------------------

    def succeed(self, pending: Pending, result: Any) -> None:
        """Answer with a result. Raises `CallRejection` if it cannot be sent."""
        ended = now()
        self.end_fork()
        if pending.has_buffers:
            self.succeed_with_buffers(pending, result, ended)
            return
        payload = self.worker.encode(result)
        size, limit = frames.STAMPS_SIZE + len(payload), self.worker.max_frame
        if size > limit:
            raise error_frames.result_too_large(pending.command.name, size, limit)
        head = frames.RESULT_HEAD.pack(size, frames.RESULT, pending.wire_id, pending.started, ended)
        if size < LARGE_PART:
            self.answer_once(pending, head + payload)
        else:
            self.answer_once(pending, head, payload)

    def succeed_with_buffers(self, pending: Pending, result: Any, ended: int) -> None:
        """Answer a call with buffers. Raises `CallRejection` if the result cannot be sent."""
        worker, wire_id = self.worker, pending.wire_id
        stamps = (wire_id, pending.started, ended)
        worker.take_back_unsent()
        # Copied, since the handlers of other calls may change an array before it is written.
        parts = worker.result_parts(pending.command.name, stamps, result, pending.takes_buffers, copy=True)
        pending.arguments = {}  # so that no view is left, unless the handler keeps it, or the result is one
        worker.return_slabs()
        if self.unanswered.get(wire_id) is pending:
            # No call between these three. `answer_once` then does the rest; it adds no second answer.
            worker.output.parts += parts
            del self.unanswered[wire_id]
            worker.filling = None
        self.answer_once(pending)
        self.return_slabs_soon(pending)

    def return_slabs_soon(self, pending: Pending) -> None:
        """Give back the slab of an answered call when the frames of its handler and of this package are gone."""
        pending.arguments = {}
        if self.worker.slabs is not None and (self.worker.slabs.are_leased or self.worker.unleased):
            self.loop.call_soon(self.worker.return_slabs)

    def fail(self, pending: Pending, error: BaseException) -> None:
        """Answer with the exception of the handler, or with the reason why there is no result."""
        wire_id = pending.wire_id
        ended = now() if pending.started else 0
        self.end_fork()
        if self.unanswered.get(wire_id) is not pending:
            traceback = error_frames.format_traceback(error)
            error_frames.log(f"herder: a handler raised an exception after its call was answered:\n{traceback}")
            self.answer_once(pending)
            return
        kind = type(error)  # not `isinstance`: that runs code of the object, for its `__class__`
        frame_of = error_frames.exception_frame
        if issubclass(kind, asyncio.CancelledError) and pending.failure is not None:
            error = pending.failure
        elif holds_interrupt(error) or (issubclass(kind, asyncio.CancelledError) and self.calls.is_cancelled(wire_id)):
            frame_of = error_frames.interrupt_frame
        failure = frame_of(wire_id, error, pending.started, ended, self.worker.max_frame)
        self.answer_once(pending, failure)
        if pending.has_buffers:
            self.return_slabs_soon(pending)

    def answer_once(self, pending: Pending, *parts: bytes) -> None:
        """Answer a call if it has no answer yet."""
        wire_id = pending.wire_id
        if self.unanswered.get(wire_id) is pending:
            self.worker.output.parts += parts  # no call between this and the removal
            del self.unanswered[wire_id]
        self.calls.cancelled.pop(wire_id, None)
        self.interrupting.discard(wire_id)  # after the removal from `unanswered`: see `interrupt_soon`
        self.on_answered(pending)
        pending.settled = True
        if pending.command.is_async:
            self.flush()  # now, since the next step of another task may take long

    def flush(self) -> None:
        """Write as much as possible. An error of the stream is ignored here: the next iteration meets it again."""
        try:
            self.worker.output.flush()
        except OSError as error:
            if not is_stream_error(error):
                raise

    def end_fork(self) -> None:
        """End the process if it is the child of a fork in a handler. It must not go on as the worker."""
        if self.calls.forked:
            os._exit(0)

    def task_done(self, pending: Pending, task: asyncio.Task[None]) -> None:
        """Answer a call whose task ended outside the `try` of `run_async`, as by a cancel before its first step."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.unanswered.get(pending.wire_id) is pending:
            self.fail(pending, error or RuntimeError("the task of the call ended without a result"))
        self.on_answered(pending)  # again, since an exception may have prevented it in `answer_once`

    # --- cancels ------------------------------------------------------------------------------------------------------

    def state(self, wire_id: int, last_read: int) -> int:
        """Return the state of a call that has just been marked as cancelled. Called by the control thread."""
        # The loop writes `unanswered`, `last_read` and `begun` and then reads `cancelled`. The control thread does the
        # opposite: it writes `cancelled` and then reads the others. So at least one of them sees the other's write, and
        # a call that is reported as withdrawn never runs. `last_read` is read first (it is an argument): a call that
        # the loop reads after that is found in `cancelled` when it begins. If `unanswered` were read first, a call
        # that is recorded between the two reads would be reported as finished.
        if wire_id > last_read:
            return frames.WITHDRAWN
        pending = self.unanswered.get(wire_id)
        if pending is None:
            return frames.FINISHED
        return frames.RUNNING if pending.begun else frames.WITHDRAWN

    def interrupt_soon(self, wire_id: int) -> None:
        """Interrupt tasks of an async handler until its call is answered. Called by the control thread."""
        pending = self.unanswered.get(wire_id)
        if pending is None or not pending.command.is_async:
            return
        self.interrupting.add(wire_id)
        # The main thread may have answered the call between the check above and `add`. Then its `discard` came too
        # early, and the entry would stay for ever. `answer_once` removes the call from `unanswered` before its
        # `discard`, so either this check or that `discard` removes the entry.
        if wire_id not in self.unanswered:
            self.interrupting.discard(wire_id)

    def cancel(self, wire_id: int, interrupt: bool) -> None:
        """Answer a call that waits, or cancel the task of a call that is to be interrupted. Resume a stream."""
        pending = self.unanswered.get(wire_id)
        if pending is None:
            return
        if pending.stream is not None:
            pending.stream.resume()
        if pending in self.waiting:
            if self.calls.refuses(wire_id):
                self.withdraw(pending)
        # Not before the handler has begun: asyncio would cancel the task before its first step, where `run_async`
        # cannot catch it. `run_async` checks `cancelled` itself then. And not if the signal has interrupted the handler
        # already: `take_interrupt` is True only once.
        elif (
            interrupt
            and pending.begun
            and pending.task is not None
            # A thread cannot be interrupted, but its handler may check `call.cancelled`.
            and not (pending.command.in_thread and pending.start_hooks is None)
            and self.calls.take_interrupt(wire_id)
        ):
            pending.task.cancel()

    def withdraw(self, pending: Pending) -> None:
        """Answer a waiting call as cancelled."""
        refusal = CallRejection("cancelled", "the call was cancelled before it started")
        failure = error_frames.exception_frame(pending.wire_id, refusal, 0, 0, self.worker.max_frame)
        index = self.waiting.index(pending)
        # No call between these three. `answer_once` then does the rest; it adds no second answer.
        del self.waiting[index]
        self.worker.output.parts += (failure,)
        del self.unanswered[pending.wire_id]
        self.answer_once(pending)

    def should_interrupt(self, frame: FrameType) -> bool:
        """Whether the signal handler interrupts `frame`, which belongs to a task or callback that a handler started."""
        # Such a task may serve other calls too: the first call that needs a connection often starts the task that reads
        # from it. So it is interrupted only if its current step blocks the loop: several signals arrive during one
        # step. It is interrupted only once, and never in a frame of asyncio, which would lose callbacks.
        call = task_call.get()
        if call is None or call.id not in self.interrupting:
            return False
        pending, task = self.unanswered.get(call.id), asyncio.current_task(self.loop)
        if pending is None or task is pending.task or task in pending.interrupted_tasks:
            return False
        if is_asyncio_code(frame.f_globals):
            return False
        if self.loop.steps != self.step:
            self.step, self.signals = self.loop.steps, 0
        self.signals += 1
        if self.signals < SIGNALS_UNTIL_INTERRUPT:
            return False
        pending.interrupted_tasks |= {task}
        return True

    # --- exceptions in asyncio's code or in this file -----------------------------------------------------------------

    def fail_call_of(self, handle: Any, error: BaseException) -> None:
        """Fail the call to which a callback of asyncio belongs, since an exception may have lost that callback."""
        call = handle._context.get(task_call)
        pending = None if call is None else self.unanswered.get(call.id)
        if pending is not None and pending.call is call and pending.task is not None and not pending.task.done():
            pending.failure = error
            pending.task.cancel()

    def fail_lost_calls(self, error: BaseException) -> None:
        """Fail the tasks that no callback will resume, and the calls that no task will answer, with `error`."""
        end_stuck_tasks(self.loop, error)
        waiting = set(self.waiting)
        for pending in list(self.unanswered.values()):
            if pending not in waiting and (pending.task is None or pending.task.done()):
                task_error = pending.task and not pending.task.cancelled() and pending.task.exception()
                self.fail(pending, task_error or error)


def holds_interrupt(error: BaseException) -> bool:
    """Whether `error` is Herder's interrupt, or an exception group that contains it."""
    kind: Any = type(error)
    if issubclass(kind, EXCEPTION_GROUP):
        return any(map(holds_interrupt, EXCEPTION_GROUP.exceptions.__get__(error)))
    return issubclass(kind, Interrupted)
