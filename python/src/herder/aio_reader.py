"""Reads the host's frames for an asyncio worker and records calls, ended sessions and the shutdown.

Each frame is removed from the buffer and recorded without a call in between; `descriptor_io` explains why.
"""

from __future__ import annotations

from collections import deque

from herder import error_frames, frames
from herder.aio_calls import Pending, PendingWithBuffers
from herder.aio_hooks import AsyncSessionEnd
from herder.aio_input import Input
from herder.call import Call
from herder.errors import ProtocolError
from herder.loop import READ_SIZE, Commands
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from herder.aio_calls import Runner
    from herder.aio_hooks import SessionEndQueue
    from herder.buffers import Section
    from herder.worker import Unreadable, Worker

HEAD_SIZE = frames.CALL_HEAD.size


class Reader:
    """Records the frames of the calls descriptor in `Runner` and `SessionEndQueue`."""

    def __init__(self, worker: Worker, runner: Runner, ended_sessions: SessionEndQueue) -> None:
        self.worker = worker
        self.input = Input(worker.fd, worker.max_frame)
        self.commands = Commands((name.encode(), command) for name, command in worker.commands.items())
        self.runner = runner
        self.ended_sessions = ended_sessions
        # Cancels to handle: wire id, and whether to interrupt. Also credits, without an interrupt: see `Runner.cancel`.
        self.cancels: deque[tuple[int, bool]] = deque()
        self.last_read = 0  # the wire id of the last call that was read; calls arrive in the order of their ids
        self.calls_without_memory: list[int] = []  # calls to fail, since there was no memory for their frames
        self.health_checks: deque[tuple[int, float]] = deque()  # the checks to begin: nonce and limit
        self.draining = False  # nothing more is read
        self.pending_type: Callable[..., Pending] = Pending
        self.pending_with_buffers: Callable[..., Pending] = PendingWithBuffers

    def receive(self) -> None:
        """Read once and record every complete frame. During a shutdown, read until no data is available."""
        closing = self.worker.calls.closing
        while not self.draining:
            try:
                more = self.input.read()
                self.parse()
            except MemoryError as error:
                self.skip_frame_without_memory(error)
                continue  # the buffer may hold more frames
            if more is None or (closing and not more):
                self.draining = True
            elif not closing:
                return

    def parse(self) -> None:
        """Record and remove the complete frames in the buffer."""
        buffer = self.input.buffer
        while len(buffer) >= HEAD_SIZE:
            length, word, wire_id, deadline, epoch, command_len, session_len = frames.CALL_HEAD.unpack_from(buffer)
            end = frames.HEADER_SIZE + length
            session_at = HEAD_SIZE + command_len
            arguments_at = session_at + session_len
            # A valid small call is handled here, everything else in `parse_other`.
            if (
                word not in frames.CALL_WORDS
                or not arguments_at <= end <= len(buffer)
                or end > READ_SIZE
                or length > self.worker.max_frame
                or not wire_id
            ):
                if not self.parse_other():
                    return
                continue
            # A copy: while a view of the buffer existed, `del buffer[:end]` would fail.
            data = bytes(buffer[:end])
            session = frames.session_name(data[session_at:arguments_at]) if session_len else None
            self.on_call(wire_id, deadline, epoch, data[HEAD_SIZE:session_at], session, data[arguments_at:], end)
        while buffer and self.parse_other():
            pass

    def parse_other(self) -> bool:
        """Record and remove the first frame in the buffer. Return False if it is incomplete, or the last one."""
        buffer = self.input.buffer
        header = self.input.header()
        if header is None:
            return False
        kind, wire_id, end, known = header
        if len(buffer) < end:
            return False
        # A view of a copy, as above.
        body = memoryview(buffer[frames.HEADER_SIZE : end] if known else b"")
        if not known:
            del buffer[:end]
        elif kind == frames.CALL:
            deadline, epoch, name, session, begin = frames.call_prefix(body)
            flags = buffer[frames.FLAGS_AT]
            section = self.worker.read_section(wire_id, body, begin) if flags & frames.BUFFERS else None
            is_stream = bool(flags & frames.STREAM)
            self.on_call(wire_id, deadline, epoch, name.encode(), session, body[begin:], end, is_stream, section)
        elif kind == frames.SESSION_END:
            self.on_session_end(body, end)
        elif kind == frames.HEADERS:
            self.runner.keep_headers(wire_id, frames.headers(body))
            del buffer[:end]
        elif kind == frames.BATCH:
            self.on_batch(body, end)
        elif kind == frames.SLAB_FREE:
            freed = frames.slab_ids(body)
            if self.worker.slabs is not None:
                self.worker.slabs.on_free(freed)
            del buffer[:end]
        elif kind == frames.SLAB_DROP:
            dropped = self.worker.get_slabs().on_drop(frames.slab_ids(body))
            del buffer[:end]  # no call between this and the answer
            self.worker.output.parts += (dropped,)
        elif kind == frames.HEALTH_CHECK:
            check = (wire_id, frames.health_limit(body, self.worker.app._health is not None))
            del buffer[:end]  # no call between this and the record
            self.health_checks += (check,)
        elif kind == frames.SHUTDOWN:
            self.draining = self.worker.calls.closing = True
            del buffer[:end]
            return False
        else:
            raise ProtocolError("out_of_order", f"unexpected frame of kind {kind} on the calls descriptor")
        return True

    def on_call(
        self,
        wire_id: int,
        deadline: int,
        epoch: int,
        name: bytes,
        session: str | None,
        payload: bytes | memoryview,
        end: int,
        is_stream: bool = False,
        section: Section | Unreadable | None = None,
    ) -> None:
        """Check a call and record it. A call that cannot be run is answered with the error.

        `section`: the arguments, if the call has the flag *buffers*.
        """
        worker = self.worker
        try:
            command = self.commands[name]  # raises the error if there is none
            kind = self.pending_type
            if section is None:
                arguments = worker.decode(payload)
            else:
                arguments = section.arguments(worker, command)
                kind = self.pending_with_buffers
            command.check(arguments)
            call = Call(wire_id, deadline, worker.calls)
            if command.injects:
                given = None if session is None else Session(session, epoch, worker.sessions)
                command.inject(arguments, call, given)
            pending = kind(self.runner, call, command, arguments, session, epoch)
            if section is not None:
                pending.takes_buffers = section.takes_buffers
            if is_stream and command.stream is not None:
                from herder.aio_streams import AsyncStream  # imported before, since the app has a generator handler

                pending.stream = AsyncStream(self.runner, wire_id, command.name)
                if section is not None and section.takes_buffers:
                    pending.stream.take_buffers()
        except ProtocolError:  # the name or a buffer is invalid
            raise
        except BaseException as error:
            failure = error_frames.exception_frame(wire_id, error, 0, 0, worker.max_frame)
            leased = () if section is None else section.leased
            # No call between the removal and the answer: the call is answered exactly once.
            del self.input.buffer[:end]
            self.last_read = wire_id
            worker.output.parts += (failure,)
            worker.unleased += leased
            worker.calls.cancelled.pop(wire_id, None)
            if leased:  # later, when the views in the frames of the exception are gone
                self.runner.loop.call_soon(worker.return_slabs)
            return
        # No call from here until `last_read` is set: the call is recorded exactly once. The control thread reads
        # `last_read` first (see `Runner.state`), so the call must be in `unanswered` when `last_read` includes it.
        # Otherwise it would be reported as finished although it will run.
        del self.input.buffer[:end]
        self.runner.unanswered[wire_id] = pending
        self.runner.waiting += (pending,)
        self.last_read = wire_id
        # The cancel may have arrived before the call. It found no call to answer then, so it is handled now.
        if wire_id in worker.calls.cancelled:
            self.cancels += ((wire_id, False),)

    def on_batch(self, body: memoryview, _end: int) -> None:
        """Refuse a batch: this app has no commands with batches (see `aio_batches`). Raises `ProtocolError`."""
        frames.batch(body, is_offered=False)

    def on_session_end(self, body: memoryview, end: int) -> None:
        """Record the end of a session. Its hooks run after its last call."""
        epoch, reason, id = frames.session_end(body)
        session_end = AsyncSessionEnd(Session(id, epoch, self.worker.sessions), epoch, reason)
        # In both cases there is no call between the record and the removal: the hooks run exactly once.
        if self.ended_sessions.has_calls(session_end):
            self.ended_sessions.waiting[session_end] = None
            del self.input.buffer[:end]
        else:
            self.ended_sessions.runnable += (session_end,)
            del self.input.buffer[:end]

    def skip_frame_without_memory(self, error: MemoryError) -> None:
        """Skip the frame of a call for which there is no memory. The call is answered later."""
        header = self.input.header()
        if header is None or header[0] != frames.CALL:
            raise error
        _, wire_id, end, _ = header
        deleted, bytes_to_skip = self.input.skip(end)
        # No call from here to the end. The answer needs memory too, so it is created later: the buffer's memory is
        # free by then.
        del self.input.buffer[:deleted]
        self.input.bytes_to_skip = bytes_to_skip
        self.last_read = wire_id
        self.calls_without_memory += (wire_id,)

    def fail_calls_without_memory(self) -> None:
        """Answer the calls that were skipped for lack of memory."""
        while self.calls_without_memory:
            error = MemoryError("not enough memory for the arguments")
            failure = error_frames.exception_frame(self.calls_without_memory[0], error, 0, 0, self.worker.max_frame)
            self.worker.output.parts += (failure,)  # no call between this and the removal
            del self.calls_without_memory[0]
