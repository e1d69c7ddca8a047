"""Turns the host's frames into what an asyncio worker has to do. Each is recorded in the step that removes it.

`pipe` explains when an exception may be raised.
"""

from __future__ import annotations

from collections import deque

from herder import answers, frames
from herder.aio_calls import Pending
from herder.aio_hooks import AsyncSessionEnd
from herder.aio_input import Input
from herder.call import Call
from herder.codec import decode
from herder.errors import ProtocolError
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from herder.aio_calls import Runner
    from herder.aio_hooks import SessionEndQueue
    from herder.worker import Worker


class Reader:
    """Reads frames and records calls, ended sessions and the shutdown message."""

    def __init__(self, worker: Worker, runner: Runner, ended_sessions: SessionEndQueue) -> None:
        self.worker = worker
        self.input = Input(worker.fd, worker.max_frame)
        self.runner = runner
        self.ended_sessions = ended_sessions
        self.cancels: deque[tuple[int, bool]] = deque()  # to be acted on: which call, and whether to interrupt it
        self.last_read = 0  # the wire id of the last call that was read; they come in order
        self.unread_calls: list[int] = []  # calls for whose frames there was no memory
        self.draining = False  # nothing more is read

    def receive(self) -> None:
        """Read once and record every whole frame; during a shutdown, read until nothing is left."""
        closing = self.worker.calls.closing
        while not self.draining:
            try:
                more = self.input.read()
                self.parse()
            except MemoryError as error:
                self.skip_frame_without_memory(error)
                continue  # other frames may be there behind it
            if more is None or (closing and not more):
                self.draining = True
            elif not closing:
                return

    def parse(self) -> None:
        """Record the whole frames of the buffer. Each leaves the buffer in the step that records it."""
        buffer = self.input.buffer
        while (header := self.input.header()) is not None:
            kind, wire_id, end, known = header
            if len(buffer) < end:
                return
            body = memoryview(buffer[frames.HEADER_SIZE : end] if known else b"")  # of a copy
            if not known:
                del buffer[:end]
            elif kind == frames.CALL:
                self.on_call(wire_id, body, end)
            elif kind == frames.SESSION_END:
                self.on_session_end(body, end)
            elif kind == frames.SHUTDOWN:
                self.draining = True
                del buffer[:end]
                return
            else:
                raise ProtocolError("out_of_order", f"unexpected frame of kind {kind} on the calls descriptor")

    def on_call(self, wire_id: int, body: memoryview, end: int) -> None:
        """Check a call and record it. A call that can't be run is answered, whatever the reason."""
        prefix = frames.call_prefix(body)
        try:
            pending = self.checked(wire_id, prefix, body)
        except BaseException as error:
            failure = answers.failure(wire_id, error, 0, 0, self.worker.max_frame)
            del self.input.buffer[:end]  # no call from here
            self.last_read = wire_id
            self.worker.output.parts += (failure,)  # to here
            self.worker.calls.cancelled.pop(wire_id, None)
            return
        del self.input.buffer[:end]  # no call from here
        self.runner.unanswered[wire_id] = pending
        self.runner.waiting += (pending,)
        self.last_read = wire_id  # after `unanswered`: see `Runner.state`
        if wire_id in self.worker.calls.cancelled:  # its cancel came first, and there was no call to answer yet
            self.cancels += ((wire_id, False),)

    def checked(self, wire_id: int, prefix: tuple[int, int, str, str | None, int], body: memoryview) -> Pending:
        """Return the call with its arguments. Raises `CallRejection` when it does not fit its handler."""
        deadline, epoch, name, session, begin = prefix
        worker = self.worker
        command = worker.commands.get(name)
        if command is None:
            raise answers.unknown(name, worker.commands)
        arguments = decode(body[begin:])
        command.check(arguments)
        command.check_session(session is not None)
        call = Call(wire_id, deadline, worker.calls)
        if command.session_parameter is not None and session is not None:
            arguments[command.session_parameter] = Session(session, epoch, worker.sessions)
        if command.call_parameter is not None:
            arguments[command.call_parameter] = call
        return Pending(call, command, arguments, session, epoch)

    def on_session_end(self, body: memoryview, end: int) -> None:
        """Record the end of a session: its hooks run after its last call."""
        epoch, reason, id = frames.session_end(body)
        ending = AsyncSessionEnd(Session(id, epoch, self.worker.sessions), epoch, reason)
        if self.ended_sessions.has_calls(ending):
            self.ended_sessions.waiting[ending] = None  # no call between these two
            del self.input.buffer[:end]
        else:
            self.ended_sessions.runnable += (ending,)  # nor these
            del self.input.buffer[:end]

    def skip_frame_without_memory(self, error: MemoryError) -> None:
        """Skip a frame for which there is no memory. A call is answered later."""
        header = self.input.header()
        if header is None or header[0] != frames.CALL:
            raise error
        _, wire_id, end, _ = header
        at, skipped = self.input.skip(end)
        del self.input.buffer[:at]  # no call from here
        self.input.skipped = skipped
        self.last_read = wire_id
        self.unread_calls += (wire_id,)  # to here; answering takes memory, which there is only after this

    def fail_skipped_calls(self) -> None:
        """Answer the calls for whose frames there was no memory."""
        while self.unread_calls:
            error = MemoryError("not enough memory for the arguments")
            failure = answers.failure(self.unread_calls[0], error, 0, 0, self.worker.max_frame)
            self.worker.output.parts += (failure,)  # no call between these two
            del self.unread_calls[0]
