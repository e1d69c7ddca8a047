"""The main loop of a worker with async handlers: calls are tasks of one asyncio loop, `concurrency` at once.

Everything happens on the main thread. Sync handlers of such an app run in between, and hold up the others as in any
asyncio program. Imported only when an app has something async: asyncio costs 10 MiB.
"""

from __future__ import annotations

import asyncio
import os
import types
from collections import deque

from herder import answers, frames, hooks, signals
from herder.call import Call, now, task_call
from herder.codec import decode, encode
from herder.errors import HookTimeout, Interrupted, ProtocolError, Refusal
from herder.loop import READ_SIZE
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import FrameType
    from typing import Any

    from herder.binding import Command
    from herder.call import Calls
    from herder.worker import Worker


def prepare(worker: Worker) -> None:
    """Give the worker an asyncio loop: hooks may be async from now on, and `serve` is ours."""
    server = Server(worker)
    worker.run_hook = server.run_hook
    worker.wake = server.wake
    worker.attempt_state = server.attempt_state
    worker.cancel_task = server.cancel_soon
    worker.aio = server


def serve(worker: Worker) -> None:
    """Answer calls until the host closes the descriptor, or asks for the end. Raises `ProtocolError`, `OSError`."""
    assert worker.aio is not None
    worker.aio.serve()


def interrupt(worker: Worker, frame: FrameType | None) -> None:
    """The signal handler: break the handler or the step of a task that runs now, if it is the target's.

    Not while it imports something.
    """
    calls = worker.calls
    running = calls.running
    if not running or frame is None or frame.f_code in OWN or not calls.cancelled.get(running):
        return
    if not signals.must_wait(frame, OWN) and calls.interrupts(running):
        raise Interrupted if running > 0 else HookTimeout


@types.coroutine
def stepped(coroutine: Coroutine[Any, Any, Any], wire_id: int, calls: Calls) -> Generator[Any, Any, Any]:
    """Await `coroutine`, with `calls.running` saying so while it really runs and not while it waits."""
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


async def as_coroutine(steps: Generator[Any, Any, Any]) -> Any:
    """`steps` as what asyncio makes a task of."""
    return await steps  # type: ignore[misc]


class Pending:
    """A call that was read and checked, from then until its answer."""

    __slots__ = ("arguments", "call", "command", "session", "wire_id")

    def __init__(
        self, wire_id: int, command: Command, arguments: dict[str, Any], call: Call, session: str | None
    ) -> None:
        self.wire_id = wire_id
        self.command = command
        self.arguments = arguments
        self.call = call
        self.session = session


class Server:
    """The calls of one worker in its asyncio loop."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.buffer = bytearray()
        self.out: list[bytes] = []
        self.unsent: bytes | memoryview = b""
        self.flushing = False
        self.waiting: deque[Pending] = deque()
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.begun: set[int] = set()  # calls whose handlers run: only these may be cancelled as tasks
        self.received: set[int] = set()  # calls that were read and have no answer
        self.last_read = 0  # the wire id of the last call that was read; they come in order
        self.unfinished: dict[str, int] = {}  # calls by session, read and not answered
        self.endings: dict[str, list[tuple[int, str]]] = {}  # sessions whose end waits for these
        self.hooks: set[asyncio.Task[Any] | None] = set()
        self.draining = False
        self.fatal: BaseException | None = None

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run_hook(self, hook: Callable[..., Any], *arguments: Any) -> None:
        """Run a hook to its end, before the loop runs."""
        result = hook(*arguments)
        if asyncio.iscoroutine(result):
            self.loop.run_until_complete(result)

    def serve(self) -> None:
        """Run until drained."""
        os.set_blocking(self.worker.fd, False)
        self.loop.add_reader(self.worker.fd, self.on_readable)
        if self.worker.calls.closing:
            self.loop.call_soon(self.drain)
        while not self.done():
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:  # of a task that a handler made: asyncio lets them through
                answers.log(f"a background task raised:\n{answers.traceback_of(error)}")
        if self.fatal is not None:
            raise self.fatal
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    def done(self) -> bool:
        """Whether all that was received is answered, and the end was asked for."""
        idle = not (self.tasks or self.waiting or self.endings or self.hooks or self.out or self.unsent)
        return self.fatal is not None or (self.draining and idle)

    def wake(self) -> None:
        """From the control thread: finish what was received."""
        self.loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Read what is there, and stop when all of it is answered."""
        while not self.draining and self.on_readable():
            pass
        self.end_of_input()

    def end_of_input(self) -> None:
        """Nothing more is read."""
        self.draining = True
        self.loop.remove_reader(self.worker.fd)
        self.flush()

    # --- reading ------------------------------------------------------------------------------------------------------

    def on_readable(self) -> bool:
        """Read once and act on every whole frame; whether there was something to read."""
        try:
            data = os.read(self.worker.fd, READ_SIZE)
            if not data:
                self.end_of_input()
                return False
            self.buffer += data
            self.parse()
            self.flush()
            return True
        except BlockingIOError:
            return False
        except (ProtocolError, OSError) as error:
            self.stop(error)
            return False

    def stop(self, error: BaseException) -> None:
        """End the loop for good: the host has gone, or speaks another language."""
        self.fatal = error
        self.draining = True
        self.loop.stop()

    def parse(self) -> None:
        """Act on the whole frames of the buffer."""
        buffer, offset = self.buffer, 0
        try:
            while len(buffer) - offset >= frames.HEADER_SIZE:
                length, kind, flags, reserved, wire_id = frames.HEADER.unpack_from(buffer, offset)
                known = frames.check_header(length, kind, flags, reserved, wire_id, self.worker.max_frame)
                begin = offset + frames.HEADER_SIZE
                if len(buffer) < begin + length:
                    break
                offset = begin + length
                if known:
                    self.on_frame(kind, wire_id, bytes(buffer[begin:offset]))
        finally:  # whatever a frame led to, it is not acted on again
            del buffer[:offset]

    def on_frame(self, kind: int, wire_id: int, body: bytes) -> None:
        """One frame from the host."""
        if kind == frames.CALL:
            self.on_call(wire_id, body)
        elif kind == frames.SESSION_END:
            epoch, reason, session = frames.session_end(body)
            if session in self.unfinished:
                self.endings.setdefault(session, []).append((epoch, reason))
            else:
                self.end_session(session, epoch, reason)
        elif kind == frames.SHUTDOWN:
            self.draining = True
            self.loop.call_soon(self.end_of_input)
        else:
            raise ProtocolError("out_of_order", f"a frame of kind {kind} on the calls descriptor")

    def on_call(self, wire_id: int, body: bytes) -> None:
        """Check a call, and run it or let it wait for its turn."""
        deadline, epoch, name, session, begin = frames.call_prefix(body)
        worker = self.worker
        self.received.add(wire_id)  # before `last_read`: see `attempt_state`
        self.last_read = wire_id
        try:
            command = worker.commands.get(name)
            if command is None:
                raise answers.unknown(name, worker.commands)
            arguments = decode(memoryview(body)[begin:])
            command.check(arguments)
            command.check_session(session is not None)
            if wire_id in worker.calls.cancelled:  # read after its cancel, which therefore found nothing to answer
                worker.calls.cancelled.pop(wire_id, None)
                raise Refusal("cancelled", "the call was cancelled before it began")
        except Refusal as refusal:
            self.out.append(answers.failure(wire_id, refusal, 0, 0, self.worker.max_frame))
            self.received.discard(wire_id)
            return
        call = Call(wire_id, deadline, worker.calls)
        if command.session_as is not None and session is not None:
            arguments[command.session_as] = Session(session, epoch, worker.sessions)
        if command.call_as is not None:
            arguments[command.call_as] = call
        if session is not None:
            self.unfinished[session] = self.unfinished.get(session, 0) + 1
        pending = Pending(wire_id, command, arguments, call, session)
        if self.waiting or len(self.tasks) >= worker.concurrency:
            self.waiting.append(pending)
        else:
            self.begin(pending)

    # --- running ------------------------------------------------------------------------------------------------------

    def begin(self, pending: Pending) -> None:
        """Run a call: as a task, or here and now."""
        if pending.command.is_async:
            task = self.loop.create_task(self.run_async(pending))
            if not task.done():  # with eager tasks it may have ended already
                self.tasks[pending.wire_id] = task
        else:
            self.flush()  # an answer that is ready must not wait behind this handler
            self.run_sync(pending)
            self.finished(pending)

    def run_sync(self, pending: Pending) -> None:
        """A sync handler, on this thread."""
        calls, wire_id = self.worker.calls, pending.wire_id
        started = ended = 0
        token = task_call.set(pending.call)
        try:
            self.begun.add(wire_id)  # before the look at `cancelled`: see `attempt_state`
            calls.running = wire_id
            if wire_id in calls.cancelled:
                raise Refusal("cancelled", "the call was cancelled before it began")
            started = now()
            result = pending.command.call(**pending.arguments)
            calls.running = 0
            ended = now()
            self.answer(pending, result, started, ended)
        except BaseException as error:
            calls.running = 0
            ended = ended or (now() if started else 0)
            self.out.append(answers.failure(wire_id, error, started, ended, self.worker.max_frame))
        self.received.discard(wire_id)  # before `begun`: it would be found withdrawn in between
        self.begun.discard(wire_id)
        task_call.reset(token)

    async def run_async(self, pending: Pending) -> None:
        """An async handler, as a task."""
        calls, wire_id = self.worker.calls, pending.wire_id
        started = ended = 0
        self.begun.add(wire_id)
        task_call.set(pending.call)
        try:
            if wire_id in calls.cancelled:
                raise Refusal("cancelled", "the call was cancelled before it began")
            started = now()
            result = await stepped(pending.command.call(**pending.arguments), wire_id, calls)
            ended = now()
            self.answer(pending, result, started, ended)
        except GeneratorExit:
            raise
        except BaseException as error:
            if issubclass(type(error), asyncio.CancelledError) and wire_id in calls.cancelled:
                error = Interrupted()
            ended = ended or (now() if started else 0)
            self.out.append(answers.failure(wire_id, error, started, ended, self.worker.max_frame))
        self.received.discard(wire_id)  # before `begun`: it would be found withdrawn in between
        self.begun.discard(wire_id)
        self.tasks.pop(wire_id, None)
        self.flush()  # at once: another task's next step may take its time
        self.finished(pending)

    def answer(self, pending: Pending, result: Any, started: int, ended: int) -> None:
        """Pack a result. Raises `Refusal` when it can't be sent."""
        payload = encode(result)
        size, limit = frames.STAMPS_SIZE + len(payload), self.worker.max_frame
        if size > limit:
            raise answers.too_large(pending.command.name, size, limit)
        self.out.append(frames.answer(frames.RESULT, pending.wire_id, started, ended, payload))

    def finished(self, pending: Pending) -> None:
        """A call has its answer: what waited for that goes on."""
        if self.worker.calls.forked:  # the handler forked and this is the child, coming back: it is not the worker
            os._exit(0)
        self.received.discard(pending.wire_id)
        self.worker.calls.cancelled.pop(pending.wire_id, None)
        if pending.session is not None:
            self.session_call_finished(pending.session)
        while self.waiting and len(self.tasks) < self.worker.concurrency:
            following = self.waiting.popleft()
            self.begin(following)

    def session_call_finished(self, session: str) -> None:
        """One call less of this session; after the last one it may end."""
        self.unfinished[session] -= 1
        if not self.unfinished[session]:
            del self.unfinished[session]
            for epoch, reason in self.endings.pop(session, ()):
                self.end_session(session, epoch, reason)

    # --- sessions and cancels -----------------------------------------------------------------------------------------

    def end_session(self, id: str, epoch: int, reason: str) -> None:
        """Run the hooks in a task, since they may be async."""
        task = self.loop.create_task(self.run_end_hooks(id, epoch, reason))
        if not task.done():  # with eager tasks it may have ended already
            self.hooks.add(task)

    async def run_end_hooks(self, id: str, epoch: int, reason: str) -> None:
        """Each hook once; what it raises goes to stderr."""
        session = Session(id, epoch, self.worker.sessions)
        for hook in self.worker.app._on_session_end:
            try:
                await self.run_end_hook(hook, session, reason)
            except BaseException as error:
                answers.log_hook(id, error)
            if self.worker.calls.forked:  # the hook forked and this is the child, coming back: it is not the worker
                os._exit(0)
        self.worker.sessions.drop(id, epoch)
        self.hooks.discard(asyncio.current_task())
        self.flush_soon()

    async def run_end_hook(self, hook: Callable[..., Any], session: Session, reason: str) -> None:
        """Run one hook with its limit: it is cancelled then, and left alone if it goes on regardless."""
        calls, limit = self.worker.calls, self.worker.hook_limit
        with hooks.Limit(self.worker, session.id) as running:
            calls.running = running.id
            try:
                result = hook(session, reason)
            finally:
                calls.running = 0
            if not asyncio.iscoroutine(result):
                return
            task = self.loop.create_task(as_coroutine(stepped(result, running.id, calls)))
            done, _ = await asyncio.wait({task}, timeout=limit)
            if not done:
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=limit)
                if not done or task.cancelled():
                    raise HookTimeout(f"it ran longer than {limit:g} s")
            task.result()

    def attempt_state(self, wire_id: int) -> int:
        """Where a call is that was marked as cancelled just now; for the control thread.

        The loop writes its sets and then looks at `cancelled`; this side marks the call first and looks afterwards, at
        `last_read` before all else: a call that was not read then is refused when it is.
        """
        if wire_id > self.last_read:
            return frames.WITHDRAWN
        if wire_id in self.begun:
            return frames.RUNNING
        return frames.WITHDRAWN if wire_id in self.received else frames.FINISHED

    def cancel_soon(self, wire_id: int, interrupt: bool) -> None:
        """From the control thread: answer this call if it waits, cancel its task if it is to be interrupted."""
        self.loop.call_soon_threadsafe(self.cancel, wire_id, interrupt)

    def cancel(self, wire_id: int, interrupt: bool) -> None:
        """A task that has not made its first step can't catch the cancel; it looks for itself.

        One that the signal broke already is left in peace.
        """
        for pending in self.waiting:
            if pending.wire_id == wire_id:
                self.waiting.remove(pending)
                refusal = Refusal("cancelled", "the call was cancelled before it began")
                self.out.append(answers.failure(wire_id, refusal, 0, 0, self.worker.max_frame))
                self.flush()
                self.finished(pending)
                return
        task = self.tasks.get(wire_id)
        if interrupt and task is not None and wire_id in self.begun and self.worker.calls.interrupts(wire_id):
            task.cancel()

    # --- writing ------------------------------------------------------------------------------------------------------

    def flush_soon(self) -> None:
        """Once for all tasks that finish in this turn of the loop."""
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what there is; the rest when the descriptor takes more."""
        self.flushing = False
        try:
            if self.unsent and not self.write(self.unsent):
                return
            if self.out:
                data = b"".join(self.out)
                self.out.clear()
                if not self.write(data):
                    return
        except OSError as error:
            self.stop(error)
            return
        self.loop.remove_writer(self.worker.fd)
        if self.done():
            self.loop.stop()

    def write(self, data: bytes | memoryview) -> bool:
        """Write as much as goes; whether that was all."""
        try:
            count = os.write(self.worker.fd, data)
        except BlockingIOError:
            count = 0
        if count == len(data):
            self.unsent = b""
            return True
        self.unsent = memoryview(data)[count:]
        self.loop.add_writer(self.worker.fd, self.flush)
        return False


OWN = frozenset(
    each.__code__ for each in (stepped, as_coroutine, Server.run_sync, Server.run_async, Server.run_end_hook)
)
