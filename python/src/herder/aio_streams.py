"""Sends the items of generator handlers in an asyncio worker. Imported only for an app with generator handlers.

Each stream is a task. Async generators run in it. A sync generator runs in it step by step, outside of the event loop
as other sync handlers do, so other calls go on while the stream waits for credit. With `run_sync="thread"` a sync
generator runs in a thread, which then waits itself.
"""

from __future__ import annotations

import asyncio
import os
import types
from _thread import get_ident, start_new_thread

from herder import frames, signals
from herder.call import MAIN_THREAD, allocate_lock, now
from herder.descriptor_io import OutputBuffer
from herder.streams import Stream, is_async_generator, is_generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from typing import Any

    from herder.aio_calls import Pending, Runner

LONGEST_TURN = 1_000_000  # nanoseconds for which a stream with credit keeps the loop from other tasks
WRITE_INTERVAL = 100_000  # nanoseconds; items that follow sooner are written together
PATIENCE = 0.002  # seconds after which a thread writes what the main thread has not written
IDLE_LOOKS = 50  # how often in a row the thread finds nothing to write before it sleeps
END: Any = object()  # in place of an item after the last one


class SharedOutput(OutputBuffer):
    """The output of a worker with async generators, in which several items are written at once.

    An item waits for the next ones only while the main thread runs something: the generator, or a callback of the loop.
    If that takes long, since it computes or blocks, a thread writes the item.
    """

    __slots__ = ("flushed", "flushes", "is_watched", "lock", "news", "pause", "watches")

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.lock = allocate_lock()  # held by the thread that writes; others may only add parts
        self.flushed = self.flushes = 0  # the time of the last flush, and the number of all
        self.news = allocate_lock()  # held, except when the thread is to watch
        self.news.acquire()
        self.pause = allocate_lock()  # always held
        self.pause.acquire()
        self.is_watched = False  # whether the thread looks after the output, again and again
        self.watches = False  # whether the thread exists

    def flush(self) -> bool:
        """Write all parts. Return False if the descriptor is full."""
        with self.lock:
            self.flushes += 1
            return super().flush()

    def is_due(self) -> bool:
        """Whether the last flush was some time ago. If not, a thread makes sure that there is one soon."""
        time = now()
        if time - self.flushed > WRITE_INTERVAL or not (self.is_watched or self.wake_thread()):
            self.flushed = time
            return True
        return False

    def wake_thread(self) -> bool:
        """Let the thread watch the output. Return False if it does not exist and cannot be started."""
        if not self.watches:
            try:
                start_new_thread(self.watch, ())
            except RuntimeError:  # the system allows no further thread
                return False
            self.watches = True
        self.is_watched = True
        try:
            self.news.release()
        except RuntimeError:  # already released
            pass
        return True

    def watch(self) -> None:
        """Flush whenever the main thread has not done it for some time. Run by a thread."""
        while True:
            self.news.acquire()
            idle_looks = 0
            while idle_looks < IDLE_LOOKS:
                seen = self.flushes
                self.pause.acquire(timeout=PATIENCE)
                idle_looks = 0 if self.parts else idle_looks + 1
                if self.parts and self.flushes == seen:
                    self.flush_late()
            self.is_watched = False  # from here on, the main thread tells this thread of the next part
            if self.parts:  # one that was added before
                self.flush_late()

    def flush_late(self) -> None:
        """Flush in the place of the main thread, which meets an error itself."""
        try:
            self.flush()
        except OSError:
            pass


class AsyncStream(Stream):
    """The stream of one call of an asyncio worker."""

    __slots__ = ("output", "resumed", "runner", "unsent", "waiter")

    def __init__(self, runner: Runner, wire_id: int, command: str) -> None:
        super().__init__(runner.worker, wire_id, command)
        self.runner = runner
        self.output: SharedOutput = runner.worker.output  # type: ignore[assignment]
        self.waiter: asyncio.Future[None] | None = None  # set while the task waits for credit
        self.unsent: bytes | None = None  # the item that waits for credit
        self.resumed = 0  # when other tasks could run last

    def wake(self) -> None:
        """End a wait for credit. Called by the control thread."""
        super().wake()  # for a generator in a thread
        if self.worker.cancel_task is not None:
            self.worker.cancel_task(self.wire_id, False)  # leads to `resume`

    def resume(self) -> None:
        """End a wait for credit of the task. Called by the event loop after `wake`."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def run_task(self, pending: Pending) -> None:
        """Run the handler and answer its call. This is the coroutine of the call's task."""
        runner = self.runner
        if runner.unanswered.get(self.wire_id) is not pending:
            return  # already answered: an exception hit `begin_task` after the task was created
        try:
            runner.begin_handler(pending)
            error = await self.send_items(pending)
            if error is None:
                runner.end_fork()
                runner.answer_once(pending, frames.end_of_stream(self.wire_id, pending.started, now()))
                if pending.has_buffers:
                    runner.return_slabs_soon(pending)
                runner.flush()
            else:  # not raised: in a coroutine, `StopIteration` would become another exception
                runner.fail(pending, error)
        except GeneratorExit:
            raise
        except BaseException as error:
            runner.fail(pending, error)

    async def send_items(self, pending: Pending) -> BaseException | None:
        """Send the items of the handler. Return the exception of a handler that ran in a thread."""
        self.resumed = now()
        function, arguments = pending.command.stream, pending.arguments
        assert function is not None
        if pending.command.in_thread:
            assert self.runner.threads is not None
            job = {"function": function, "arguments": arguments}
            opened, error = await self.runner.threads.run(self.run_in_thread, job)
            if error is not None or opened is END:
                return error
        else:
            opened = self.run_outside_loop(lambda: function(**arguments))
        if is_async_generator(opened):
            await self.run_steps(self.send_all_async(opened))
        elif is_generator(opened):
            await self.send_steps(opened)
        else:  # the result of a wrapper, as in `Stream.run`
            if self.send_now(opened):
                await self.wait()
        return None

    def run_in_thread(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Send the items of a sync generator and return `END`, or return any other object. Called by a thread."""
        opened = function(**arguments)
        if not is_generator(opened):
            return opened
        # That of the worker is for the main thread: it remembers the values that it is in, to find cycles.
        if not self.flags:
            self.to_json = self.worker.app._encode()
        self.send_all(opened)
        return END

    async def send_all_async(self, items: AsyncGenerator[Any, None]) -> None:
        """Send the items of an async generator. Close it if that fails, or if the call is cancelled."""
        try:
            async for item in items:
                if self.send_soon(item):
                    await self.wait()
        except GeneratorExit:  # the event loop is closed: nothing can be awaited any more
            raise
        except BaseException:
            await items.aclose()
            raise

    async def send_steps(self, items: Generator[Any, None, Any]) -> None:
        """Send the items of a sync generator, each step of which runs outside of the event loop."""
        try:
            while (item := self.run_outside_loop(lambda: next(items, END))) is not END:
                if self.send_now(item):
                    await self.wait()
        except GeneratorExit:
            raise
        except BaseException:
            self.run_outside_loop(items.close)
            raise

    def run_outside_loop(self, step: Callable[[], Any]) -> Any:
        """Run a step of a sync handler. No event loop is set as running, as in a worker without asyncio."""
        try:
            asyncio._set_running_loop(None)
            self.calls.running = self.wire_id
            return step()
        finally:
            self.calls.running = 0
            asyncio._set_running_loop(self.runner.loop)

    def send_now(self, item: Any) -> bool:
        """Send an item if there is credit. Return whether to `wait` before the next step."""
        payload = self.encode(item)
        if self.sent - self.credited >= self.window:
            self.unsent = payload
            return True
        self.write(payload)
        return now() - self.resumed > LONGEST_TURN

    def send_soon(self, item: Any) -> bool:
        """Send an item as `send_now`, or with the next ones if they follow at once."""
        payload = self.encode(item)
        if self.sent - self.credited >= self.window:
            self.unsent = payload
            return True
        self.add_output(payload)
        if not self.output.is_due():
            return False
        self.runner.flush()
        return self.output.flushed - self.resumed > LONGEST_TURN

    @types.coroutine
    def run_steps(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, None]:
        """Await `coroutine` as `aio_calls.run_steps`. If items are unwritten when it awaits, the loop writes them."""
        step: Callable[[Any], Any] = coroutine.send
        value: Any = None
        while True:
            try:
                self.calls.running = self.wire_id
                awaited = step(value)
            except StopIteration:
                return
            finally:
                self.calls.running = 0
                if self.calls.forked:  # a child of a fork in the generator, for which the lock may be held for ever
                    os._exit(0)
                if self.output.parts and self.output.is_due():
                    self.runner.flush()
            try:
                value = yield awaited
                step = coroutine.send
            except BaseException as error:
                value = error
                step = coroutine.throw

    async def wait(self) -> None:
        """Await credit and send the item that waits for it, or let other tasks run. Raises `CallRejection`."""
        while self.sent - self.credited >= self.window and self.unsent is not None:
            # No credit is lost between the check and the wait: `resume` runs in this thread, after both.
            self.waiter = self.runner.loop.create_future()
            await self.waiter
            self.check()
        if self.unsent is None:
            await asyncio.sleep(0)
        else:
            payload, self.unsent = self.unsent, None
            self.write(payload)
        self.resumed = now()

    def write(self, payload: bytes) -> None:
        """Write an item, as much as is possible at once; the loop writes the rest."""
        self.add_output(payload)
        if get_ident() == MAIN_THREAD:
            self.runner.flush()
        else:  # only the main thread writes
            self.runner.loop.call_soon_threadsafe(self.runner.loop.wake_up)


signals.protected_files.add(AsyncStream.send_now.__code__.co_filename)
