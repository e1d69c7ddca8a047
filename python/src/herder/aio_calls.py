"""Runs the calls of an asyncio worker: async handlers as tasks, sync handlers between two steps of the loop.

A call is in `unanswered` from when it was read until its answer is in the output. It moves from one to the other with
no Python call in between. So it gets exactly one answer, whenever an exception is raised (see `pipe`):
`fail_lost_calls` answers the calls that nothing else would answer.
"""

from __future__ import annotations

import asyncio
import builtins
import os
import types
from collections import deque
from functools import partial

from herder import answers, contexts, frames
from herder.aio_recovery import end_stuck_tasks, of_asyncio
from herder.call import now, task_call
from herder.codec import encode
from herder.errors import Interrupted, CallRejection
from herder.pipe import is_stream_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context
    from types import FrameType
    from typing import Any

    from herder.aio_loop import WorkerEventLoop
    from herder.binding import Command
    from herder.call import Call, Calls
    from herder.worker import Worker


HOLDS_UP = 5  # signals, 10 ms apart, until a step of the loop counts as one that holds it up
GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # since Python 3.11


@types.coroutine
def run_steps(coroutine: Coroutine[Any, Any, Any], wire_id: int, calls: Calls) -> Generator[Any, Any, Any]:
    """Await `coroutine`. `calls.running` is `wire_id` while it computes, and 0 while it waits."""
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
    """A call that was read and checked, from then until its answer."""

    __slots__ = (
        "arguments",
        "begun",
        "call",
        "command",
        "epoch",
        "failure",
        "interrupted_tasks",
        "session",
        "started",
        "task",
        "wire_id",
    )

    def __init__(
        self, call: Call, command: Command, arguments: dict[str, Any], session: str | None, epoch: int
    ) -> None:
        self.wire_id = call.id
        self.call = call
        self.command = command
        self.arguments = arguments
        self.session = session
        self.epoch = epoch
        self.begun = False  # its handler has begun: only then may its task be cancelled
        self.started = 0
        self.task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None  # the reason why Herder cancelled its task, if it did
        self.interrupted_tasks: set[Any] = set()  # tasks of its handler that were interrupted; not again


class Runner:
    """The calls of one worker that have no answer yet."""

    def __init__(self, worker: Worker, loop: WorkerEventLoop, answered: Callable[[Pending], None]) -> None:
        self.worker = worker
        self.calls = worker.calls
        self.loop = loop
        self.base: Context  # what `on_start` left
        self.answered = answered
        self.unanswered: dict[int, Pending] = {}
        self.waiting: deque[Pending] = deque()  # those of them that have not begun
        self.step = self.signals = 0  # signals that came during one step of the loop
        self.interrupting: set[int] = set()  # calls that are interrupted until they have their answer

    # --- beginning ----------------------------------------------------------------------------------------------------

    def may_begin(self) -> bool:
        """Whether a call waits, and fewer than `concurrency` calls run."""
        running = len(self.unanswered) - len(self.waiting)
        return bool(self.waiting) and running < self.worker.concurrency

    def begin(self) -> None:
        """Begin the calls that may begin; at most one sync handler, so that the loop iterates before the next one."""
        while self.may_begin():
            pending = self.waiting[0]
            if self.unanswered.get(pending.wire_id) is not pending:  # an exception came between its failure and this
                del self.waiting[0]
            elif pending.command.is_async:
                self.begin_task(pending)
            else:
                self.flush()  # an answer that is ready must not wait behind this handler
                self.run_sync(pending)
                return

    def own_context(self, pending: Pending) -> Context:
        """Return a new copy of what `on_start` left, for this call."""
        context = contexts.copy_for_call(self.base)
        context.run(task_call.set, pending.call)
        return context

    def begin_task(self, pending: Pending) -> None:
        """Make a task of an async handler."""
        try:
            del self.waiting[0]
            task = self.own_context(pending).run(self.loop.create_task, self.run_async(pending))
            pending.task = task
            task.add_done_callback(partial(self.task_done, pending))
        except BaseException as error:
            self.fail(pending, error)

    def run_sync(self, pending: Pending) -> None:
        """Run a sync handler to its end, with no event loop running, as in a worker without asyncio."""
        calls, wire_id = self.calls, pending.wire_id
        try:
            pending.begun = True  # before the look at `cancelled`: see `state`
            del self.waiting[0]
            context = self.own_context(pending)
            asyncio._set_running_loop(None)
            calls.running = wire_id
            if wire_id in calls.cancelled:
                raise CallRejection("cancelled", "the call was cancelled before it started")
            pending.started = now()
            result = context.run(pending.command.call, **pending.arguments)
            calls.running = 0
            self.succeed(pending, result)
        except BaseException as error:
            calls.running = 0
            self.fail(pending, error)
        finally:
            asyncio._set_running_loop(self.loop)

    async def run_async(self, pending: Pending) -> None:
        """Run an async handler, as a task."""
        calls, wire_id = self.calls, pending.wire_id
        if self.unanswered.get(wire_id) is not pending:
            return  # an exception came while its task was made: it has its answer
        try:
            pending.begun = True  # before the look at `cancelled`: see `state`
            if wire_id in calls.cancelled:
                raise CallRejection("cancelled", "the call was cancelled before it started")
            pending.started = now()
            result = await run_steps(pending.command.call(**pending.arguments), wire_id, calls)
            self.succeed(pending, result)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.fail(pending, error)

    # --- answering ----------------------------------------------------------------------------------------------------

    def succeed(self, pending: Pending, result: Any) -> None:
        """Answer with a result. Raises `CallRejection` when it can't be sent."""
        ended = now()
        self.end_fork()
        payload = encode(result)
        size, limit = frames.STAMPS_SIZE + len(payload), self.worker.max_frame
        if size > limit:
            raise answers.too_large(pending.command.name, size, limit)
        head = frames.ANSWER.pack(size, frames.RESULT, 0, 0, pending.wire_id, pending.started, ended)
        self.answer_once(pending, head, payload)

    def fail(self, pending: Pending, error: BaseException) -> None:
        """Answer with what the handler raised, or with why there is no result."""
        wire_id = pending.wire_id
        ended = now() if pending.started else 0
        self.end_fork()
        if self.unanswered.get(wire_id) is not pending:
            answers.log(f"herder: a handler raised an exception after its call was answered:\n{answers.traceback_of(error)}")
            self.answer_once(pending)
            return
        kind = type(error)  # `isinstance` would ask the object for its `__class__`
        if issubclass(kind, asyncio.CancelledError) and pending.failure is not None:
            error = pending.failure
        elif holds_interrupt(error) or (issubclass(kind, asyncio.CancelledError) and wire_id in self.calls.cancelled):
            error = Interrupted()
        self.answer_once(pending, answers.failure(wire_id, error, pending.started, ended, self.worker.max_frame))

    def answer_once(self, pending: Pending, *parts: bytes) -> None:
        """Answer a call if it has no answer. There is no Python call between the two changes that do it."""
        wire_id = pending.wire_id
        if self.unanswered.get(wire_id) is pending:
            self.worker.output.parts += parts
            del self.unanswered[wire_id]
        self.calls.cancelled.pop(wire_id, None)
        self.interrupting.discard(wire_id)  # after it left `unanswered`: see `interrupt_soon`
        self.answered(pending)
        if pending.command.is_async:
            self.flush()  # at once: another task's next step may take its time

    def flush(self) -> None:
        """Write what the descriptor takes. If it is broken, the next iteration of the loop finds that out again."""
        try:
            self.worker.output.flush()
        except OSError as error:
            if not is_stream_error(error):
                raise

    def end_fork(self) -> None:
        """End the process if the handler forked and returned in the child too: the child is not the worker."""
        if self.calls.forked:
            os._exit(0)

    def task_done(self, pending: Pending, task: asyncio.Task[None]) -> None:
        """Answer a call whose task ended outside of its `try`, by an exception or a cancel at its first instruction."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.unanswered.get(pending.wire_id) is pending:
            self.fail(pending, error or RuntimeError("the task of the call ended without a result"))
        self.answered(pending)  # again: an exception may have come before it

    # --- cancels ------------------------------------------------------------------------------------------------------

    def state(self, wire_id: int, last_read: int) -> int:
        """Return the state of a call that has just been marked as cancelled. For the control thread.

        The loop writes `unanswered` and `begun` and then reads `cancelled`. The control thread marks the call first and
        then reads these, `last_read` before the others: a call that was not read by then is refused when it begins.
        """
        if wire_id > last_read:
            return frames.WITHDRAWN
        pending = self.unanswered.get(wire_id)
        if pending is None:
            return frames.FINISHED
        return frames.RUNNING if pending.begun else frames.WITHDRAWN

    def interrupt_soon(self, wire_id: int) -> None:
        """Have tasks of an async handler interrupted until its call has an answer. For the control thread."""
        pending = self.unanswered.get(wire_id)
        if pending is None or not pending.command.is_async:
            return
        self.interrupting.add(wire_id)
        if wire_id not in self.unanswered:  # checked last: `answer_once` does these two in the opposite order
            self.interrupting.discard(wire_id)

    def cancel(self, wire_id: int, interrupt: bool) -> None:
        """Answer a call that waits; cancel the task of one that is to be interrupted.

        A task that has not made its first step can't catch the cancel; it checks `cancelled` itself. A task that the
        signal has already interrupted is not cancelled.
        """
        pending = self.unanswered.get(wire_id)
        if pending is None:
            return
        if pending in self.waiting:
            self.withdraw(pending)
        elif interrupt and pending.begun and pending.task is not None and self.calls.interrupts(wire_id):
            pending.task.cancel()

    def withdraw(self, pending: Pending) -> None:
        """Answer a call that waits."""
        refusal = CallRejection("cancelled", "the call was cancelled before it started")
        failure = answers.failure(pending.wire_id, refusal, 0, 0, self.worker.max_frame)
        at = self.waiting.index(pending)
        del self.waiting[at]  # no call from here
        self.worker.output.parts += (failure,)
        del self.unanswered[pending.wire_id]  # to here
        self.answer_once(pending)

    def should_interrupt(self, frame: FrameType) -> bool:
        """Whether the signal interrupts what runs in `frame`: a task or callback that a handler started.

        Each is interrupted once, never in a frame of asyncio, which would lose callbacks, and only while it holds up
        the loop. It may serve other calls too: the first call that needs a connection often makes the task that reads.
        """
        call = task_call.get()
        if call is None or call.id not in self.interrupting:
            return False
        pending, task = self.unanswered.get(call.id), asyncio.current_task(self.loop)
        if pending is None or task is pending.task or task in pending.interrupted_tasks or of_asyncio(frame.f_globals):
            return False
        if self.loop.steps != self.step:
            self.step, self.signals = self.loop.steps, 0
        self.signals += 1
        if self.signals < HOLDS_UP:
            return False
        pending.interrupted_tasks.add(task)
        return True

    # --- exceptions in asyncio's code or in this one ------------------------------------------------------------------

    def fail_call_of(self, handle: Any, error: BaseException) -> None:
        """Fail the call to which a callback of asyncio belongs: an exception hit it, and it may have been lost."""
        call = handle._context.get(task_call)
        pending = None if call is None else self.unanswered.get(call.id)
        if pending is not None and pending.call is call and pending.task is not None and not pending.task.done():
            pending.failure = error
            pending.task.cancel()

    def fail_lost_calls(self, error: BaseException) -> None:
        """Fail the tasks that nothing would wake, and the calls that nothing would answer, with `error`."""
        end_stuck_tasks(self.loop, error)
        waiting = set(self.waiting)
        for pending in list(self.unanswered.values()):
            if pending not in waiting and (pending.task is None or pending.task.done()):
                task_error = pending.task and not pending.task.cancelled() and pending.task.exception()
                self.fail(pending, task_error or error)


def holds_interrupt(error: BaseException) -> bool:
    """Whether this is our interrupt, or a group with it, as a task group raises it."""
    kind: Any = type(error)
    if issubclass(kind, GROUP):
        return any(map(holds_interrupt, GROUP.exceptions.__get__(error)))
    return issubclass(kind, Interrupted)
