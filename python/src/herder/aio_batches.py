"""Runs batches in an asyncio worker: reads the calls of a batch, and runs them by one invocation of their handler.

Imported only for an app with `@app.batch`. Each call of a batch is a `BatchItem` in `Runner.unanswered` until it is
answered, like every other call. So what `aio_calls` says about exceptions holds here too: which calls belong to a batch
follows from their wire ids, and no list of them must be kept right.
"""

from __future__ import annotations

import asyncio
from functools import partial

from herder import frames
from herder.aio_calls import Pending, PendingWithBuffers, Runner, run_steps
from herder.aio_reader import Reader
from herder.batches import CALL_PARAMETER, Batch, BatchCommand
from herder.call import now, task_call
from herder.errors import CallRejection, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from herder.batches import Outcome
    from herder.binding import Command


class Invocation:
    """The calls that one invocation of a handler runs."""

    __slots__ = ("begun", "members", "opened", "reader", "running", "wire_ids")

    def __init__(self, wire_ids: tuple[int, ...], reader: BatchReader) -> None:
        self.wire_ids = wire_ids
        self.members = frozenset(wire_ids)
        self.reader = reader
        self.opened = False  # whether it takes one of the places of `concurrency`
        self.begun = False
        self.running: Sequence[BatchItem] = ()  # the calls of the handler that runs; the first one stands for all

    @property
    def is_read(self) -> bool:
        """Whether all of its calls are read."""
        return self.reader.last_read >= self.wire_ids[-1]

    @property
    def lead(self) -> int:
        """The wire id that `Calls.running` has while the handler runs, or 0."""
        return self.running[0].wire_id if self.running else 0


class BatchItem(Pending):
    """A call of a batch."""

    __slots__ = ("batch",)

    def __init__(self, batch: Invocation, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batch = batch
        if self.command.batch is None:
            raise ProtocolError("out_of_order", f"a batch has a call of {self.command.name}, which has no batches")
        self.arguments.pop(CALL_PARAMETER)


class BatchItemWithBuffers(BatchItem):
    """A call of a batch whose arguments have buffers, or whose result may have some."""

    __slots__ = ()
    has_buffers = True


class BatchReader(Reader):
    """Records which calls are one batch."""

    batch: Invocation | None = None  # the last one that was read

    def on_batch(self, body: memoryview, end: int) -> None:
        """Record that the calls with these wire ids are a batch."""
        batch = Invocation(frames.batch(body), self)
        del self.input.buffer[:end]  # no call between this and the record
        self.batch = batch

    def on_call(self, wire_id: int, *arguments: Any) -> None:
        """Record a call, as one of the batch if it belongs to it."""
        batch = self.batch
        self.pending_type, self.pending_with_buffers = Pending, PendingWithBuffers
        if batch is not None and wire_id in batch.members:
            self.pending_type = partial(BatchItem, batch)
            self.pending_with_buffers = partial(BatchItemWithBuffers, batch)
        elif batch is not None and not batch.is_read:
            raise ProtocolError("out_of_order", f"call {wire_id} is between the calls of a batch")
        super().on_call(wire_id, *arguments)


class BatchRunner(Runner):
    """The unanswered calls of a worker whose app has commands with batches."""

    forming: tuple[Invocation, ...] = ()  # those that take a place and have not begun
    holds_output = False  # whether answers are written together

    # --- beginning ----------------------------------------------------------------------------------------------------

    def may_begin(self) -> bool:
        """Whether a call waits that may begin, or a batch is complete."""
        return self.next_waiting() is not None or any(map(self.is_complete, self.forming))

    def next_waiting(self) -> int | None:
        """Return the position of the first waiting call that may begin, or join its batch."""
        has_room = None
        full: dict[str, bool] = {}  # whether a command has no place left, counted once for all of its calls
        for index, pending in enumerate(self.waiting):
            batch = _batch_of(pending)
            if batch is None or not batch.opened:
                if has_room is None:
                    has_room = self.count_places() < self.worker.concurrency
                command = pending.command
                if command.concurrency is not None and command.name not in full:
                    full[command.name] = self.count_begun(command) >= command.concurrency
                if not has_room or full.get(command.name):
                    continue
            if not (self.starts is not None and self.starts.holds(pending)):
                return index
        return None

    def count_places(self) -> int:
        """Return the number of places of `concurrency` that are taken."""
        waiting = set(self.waiting)
        begun = [each for each in self.unanswered.values() if each not in waiting]
        alone = sum(_batch_of(each) is None for each in begun)
        opened = {batch for each in self.unanswered.values() if (batch := _batch_of(each)) is not None and batch.opened}
        return alone + len(opened)

    def count_begun(self, command: Command) -> int:
        """Return the number of invocations of a command that are not answered."""
        begun = [each for each in self.unanswered.values() if each.command is command]
        return len({_batch_of(each) or each.task for each in begun if _takes_place(each)})

    def begin(self) -> None:
        """Begin the calls and batches that may begin, but at most one sync handler."""
        while (index := self.next_waiting()) is not None:
            pending = self.waiting[index]
            if self.unanswered.get(pending.wire_id) is not pending:
                del self.waiting[index]
            elif isinstance(pending, BatchItem):
                self.join(pending, index)
            elif not self.begin_call(pending, index):
                return
        for batch in self.forming:
            if self.is_complete(batch):
                self.forming = tuple(each for each in self.forming if each is not batch)
                if not self.begin_batch(batch):
                    return

    def join(self, item: BatchItem, index: int) -> None:
        """Let a call wait for the others of its batch, which takes a place now. First run the hooks of its session."""
        if not item.batch.opened:
            self.forming += (item.batch,)
            item.batch.opened = True
        if self.starts is not None and self.starts.are_needed(item):
            self.flush()
            self.starts.begin(item, index)
        else:
            del self.waiting[index]

    def is_complete(self, batch: Invocation) -> bool:
        """Whether all calls of a batch are read, and none waits or runs hooks of its session."""
        if not batch.is_read:
            return False
        waiting = set(self.waiting)
        return not any(item in waiting or item.start_hooks is not None for item in self.items_of(batch))

    def items_of(self, batch: Invocation) -> list[BatchItem]:
        """Return the calls of a batch that are not answered."""
        found = map(self.unanswered.get, batch.wire_ids)
        return [item for item in found if isinstance(item, BatchItem) and item.batch is batch]

    def begin_batch(self, batch: Invocation) -> bool:
        """Begin a complete batch, without its calls that are cancelled. Return whether more may begin in this step."""
        items = self.items_of(batch)
        for item in items:
            item.begun = True  # before `cancelled` is read: see `state`
        batch.begun = True
        for item in items:
            if item.wire_id in self.calls.cancelled and self.calls.refuses(item.wire_id):
                message = "the call was cancelled before its batch started"
                self.fail(item, CallRejection("cancelled", message))
        batch.running = running = [item for item in items if self.unanswered.get(item.wire_id) is item]
        if not running:
            return True
        started = now()
        for item in running:
            item.started = item.started or started  # it includes the hooks of its session
        command: Any = running[0].command
        if command.is_async or command.in_thread:
            self.begin_batch_task(batch, command)
            return True
        self.flush()  # finished answers must not wait until this handler has ended
        self.run_batch(batch, command)
        return False

    def begin_batch_task(self, batch: Invocation, command: BatchCommand) -> None:
        """Start the task of an async handler, or of a sync handler that runs in a thread."""
        run = self.run_batch_in_thread if command.in_thread else self.run_batch_async
        try:
            context = self.new_context(batch.running[0])
            task = context.run(self.loop.create_task, run(batch, command))
            for item in batch.running:
                item.task = task
            task.add_done_callback(partial(self.batch_done, batch))
        except BaseException as error:
            self.fail_all(batch, error)

    def run_batch(self, batch: Invocation, command: BatchCommand) -> None:
        """Run a sync handler. No event loop is set as running, as in a worker without asyncio."""
        calls = self.calls
        try:
            context = self.new_context(batch.running[0])
            asyncio._set_running_loop(None)
            calls.running = batch.lead
            outcomes = context.run(command.run, *_inputs(batch))
            calls.running = 0
            self.answer_all(batch, outcomes)
        except BaseException as error:
            calls.running = 0
            self.fail_all(batch, error)
        finally:
            asyncio._set_running_loop(self.loop)
            batch.running = ()  # see `batch_done`

    async def run_batch_async(self, batch: Invocation, command: BatchCommand) -> None:
        """Run an async handler and answer its calls. This is the coroutine of the task of the batch."""
        try:
            self.answer_all(batch, await run_steps(command.run(*_inputs(batch)), batch.lead, self.calls))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.fail_all(batch, error)

    async def run_batch_in_thread(self, batch: Invocation, command: BatchCommand) -> None:
        """Run a sync handler in a thread and answer its calls. This is the coroutine of the task of the batch."""
        assert self.threads is not None
        calls, arguments = _inputs(batch)
        try:
            outcomes, error = await self.threads.run(command.run, {"calls": calls, "arguments": arguments})
            arguments = []  # the buffers of a call that is answered are given back
            if error is None:
                self.answer_all(batch, outcomes)
            else:
                self.fail_all(batch, error)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.fail_all(batch, error)

    # --- answering ----------------------------------------------------------------------------------------------------

    def answer_all(self, batch: Invocation, outcomes: list[Outcome]) -> None:
        """Answer each call of a batch with its own result or error."""
        try:
            self.holds_output = True
            for item, outcome in zip(batch.running, outcomes, strict=True):
                try:
                    self.succeed(item, outcome.unwrap())
                except BaseException as error:
                    self.fail(item, error)
        finally:
            self.holds_output = False
        self.flush()

    def fail_all(self, batch: Invocation, error: BaseException) -> None:
        """Answer the calls of a batch that have no answer yet with the exception of the handler."""
        for item in batch.running:
            if self.unanswered.get(item.wire_id) is item:
                self.fail(item, error)

    def flush(self) -> None:
        """Write as much as possible, but not between the answers of a batch."""
        if not self.holds_output:
            super().flush()

    def batch_done(self, batch: Invocation, task: asyncio.Task[None]) -> None:
        """Answer the calls of a batch whose task ended outside the `try`, as by a cancel before its first step."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self.fail_all(batch, error or RuntimeError("the task of the batch ended without results"))
        for item in batch.running:
            self.on_answered(item)  # again, since an exception may have prevented it in `answer_once`
        batch.running = ()  # the reader keeps the last batch, which must not keep the arguments of its calls

    # --- cancels ------------------------------------------------------------------------------------------------------

    def interrupt_soon(self, wire_id: int) -> None:
        """Interrupt a running batch for one of its calls. Called by the control thread."""
        # The host does this only after all callers of the batch have gone. The mark of the first call stands for the
        # batch: `Calls.running` is its wire id.
        lead = self.lead_of(wire_id)
        if lead and lead != wire_id:
            self.calls.mark(lead, True)
        super().interrupt_soon(lead or wire_id)

    def cancel(self, wire_id: int, interrupt: bool) -> None:
        """Answer a call that waits, or cancel the task of a call or a batch that is to be interrupted."""
        super().cancel((interrupt and self.lead_of(wire_id)) or wire_id, interrupt)

    def lead_of(self, wire_id: int) -> int:
        """Return the wire id that stands for the running batch of a call, or 0."""
        batch = _batch_of(self.unanswered.get(wire_id))
        return 0 if batch is None else batch.lead

    # --- exceptions in asyncio's code or in this file -----------------------------------------------------------------

    def fail_call_of(self, handle: Any, error: BaseException) -> None:
        """Fail the call or batch to which a callback of asyncio belongs, since an exception may have lost it."""
        call = handle._context.get(task_call)
        if not isinstance(call, Batch):
            super().fail_call_of(handle, error)
            return
        pending = self.unanswered.get(call.id)
        if isinstance(pending, BatchItem) and pending.task is not None and not pending.task.done():
            for item in pending.batch.running:
                item.failure = error
            pending.task.cancel()

    def fail_lost_calls(self, error: BaseException) -> None:
        """Fail what no task will answer. A call that waits for its batch is not lost."""
        held = [each for each in self.unanswered.values() if (batch := _batch_of(each)) is not None and not batch.begun]
        joined = [each for each in held if each not in self.waiting and each.start_hooks is None]
        self.waiting.extend(joined)  # they join again
        super().fail_lost_calls(error)


def _batch_of(pending: Pending | None) -> Invocation | None:
    return pending.batch if isinstance(pending, BatchItem) else None


def _takes_place(pending: Pending) -> bool:
    batch = _batch_of(pending)
    return pending.task is not None if batch is None else batch.opened


def _inputs(batch: Invocation) -> tuple[list[Any], list[dict[str, Any]]]:
    return [item.call for item in batch.running], [item.arguments for item in batch.running]


LOOP_CODE = frozenset(
    each.__code__ for each in (BatchRunner.run_batch, BatchRunner.run_batch_async, BatchRunner.run_batch_in_thread)
)
