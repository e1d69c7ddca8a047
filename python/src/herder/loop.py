"""The main loop of a worker with sync handlers: reads frames, runs the calls and writes their answers together.

Everything runs on the main thread.
"""

# An exception may be raised at any step of the loop: by a handler, or by the application's signal handlers and threads
# (`descriptor_io` explains at which steps CPython does that). The loop then starts again, with nothing but the
# attributes of `MainLoop`. So attributes that belong together change without a call in between, and every step is such
# that it can be repeated or finished by `resume`.

from __future__ import annotations

import os
import select
import sys
from contextvars import Context, copy_context
from itertools import repeat

from herder import contexts, error_frames, frames, hooks, log_output, signals
from herder.call import Call, now
from herder.descriptor_io import LARGE_PART, is_stream_error, wait_until_ready
from herder.errors import CallRejection, HookTimeout, Interrupted, ProtocolError, Rejected
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from herder.binding import Command
    from herder.streams import Stream
    from herder.worker import Worker

READ_SIZE = 65536  # bytes; malloc would use mmap for larger buffers
MAX_NESTED_EXCEPTIONS = 8  # exceptions of which each is raised while the one before it is being caught


def serve(worker: Worker) -> None:
    """Answer calls until the host closes the descriptor or shuts down. Raises `ProtocolError` and `OSError`."""
    loop = MainLoop(worker)
    log_output.output.names_of = loop.names_of
    worker.calls.session_of = loop.session_of
    worker.find_stream = loop.find_stream
    stream_error = loop.run_guarded(MAX_NESTED_EXCEPTIONS)
    if stream_error is not None:
        raise stream_error
    worker.stop_app()


def interrupt(worker: Worker, frame: FrameType | None) -> None:
    """Interrupt the running handler if its call is to be interrupted. This is the signal handler of SIGUSR2."""
    # Python runs this on the main thread, between two instructions of `frame`. The signal may arrive late: the handler
    # may just have returned, and the innermost frame is the loop's. An exception there would hit the loop instead of
    # the handler. So nothing is raised in a frame of the loop, nor during an import. The control thread repeats the
    # signal until the interrupt is delivered or the call has ended.
    calls = worker.calls
    running = calls.running
    if not running or frame is None or frame.f_code in LOOP_CODE or not calls.cancelled.get(running):
        return
    if not signals.is_uninterruptible(frame, LOOP_CODE) and calls.take_interrupt(running):
        raise Interrupted if running > 0 else HookTimeout


class Commands(dict[bytes, "Command"]):
    """The commands by their encoded names. The look-up of another name raises the answer for its call."""

    def __missing__(self, name: bytes) -> Command:
        raise error_frames.unknown_command(frames.utf8(name), map(bytes.decode, self))


class MainLoop:
    """The state of the loop: the input that is not handled yet, and the current call."""

    __slots__ = (
        "base_context",
        "bytes_to_skip",
        "chunk",
        "closing",
        "commands",
        "current",
        "data",
        "filled",
        "finished",
        "health_check",
        "incomplete",
        "large_frame",
        "offset",
        "output",
        "pending_error",
        "reads",
        "session_end",
        "started",
        "stream",
        "worker",
    )

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.output = worker.output
        self.commands = Commands((name.encode(), command) for name, command in worker.commands.items())
        self.base_context = copy_context()  # the context after the `on_start` hooks
        self.reads = map(os.read, repeat(worker.fd), repeat(READ_SIZE))  # each step reads once
        self.chunk = b""  # the result of the last read, until it is in `data`
        self.incomplete = b""  # the start of a frame whose rest is not read yet; precedes `chunk`
        self.data: bytes | memoryview = b""  # frames, which are handled up to `offset`
        self.offset = 0
        self.large_frame: memoryview | None = None  # a frame that is read directly into its buffer, up to `filled`
        self.filled = 0
        self.bytes_to_skip = 0  # the remaining bytes of a frame for which there was no memory
        self.current = 0  # the wire id of the call that is behind `offset` and has no answer yet
        self.started = 0
        self.finished = 0
        self.session_end: hooks.PendingSessionEnd | None = None  # the ended session whose hooks run
        self.health_check: tuple[int, float] | None = None  # the check that is to run: its nonce and its limit
        self.stream: Stream | None = None  # the last one
        self.closing = False  # nothing more is read
        self.pending_error: BaseException | None = None  # the last exception, until it is handled

    def run_guarded(self, layers: int) -> BaseException | None:
        """Run the loop, and run it again after each exception."""
        # The jump back to `while` is outside the `try`, and another exception may be raised there. A second layer
        # around this one catches it, a third layer an exception in the second, and so on.
        while True:
            try:
                return self.run_guarded(layers - 1) if layers else self.run()
            except BaseException as error:
                self.pending_error = error

    def run(self) -> BaseException | None:
        """Run the loop. Return the error that broke the stream, or None if the stream has ended."""
        # This is one long function because it runs for each call: every function call here would cost time.
        if self.pending_error is not None and self.is_fatal(self.pending_error):
            return self.pending_error
        self.resume()
        if self.closing:
            return None
        worker, calls, commands, base = self.worker, self.worker.calls, self.commands, self.base_context
        output, reads, parts, writes = self.output, self.reads, self.output.parts, self.output.writes
        cancelled, modules, decode, encode = calls.cancelled, sys.modules, worker.decode, worker.encode
        traces, enter_trace = calls.traces, contexts.open_telemetry.enter
        starts_sessions, start_session = worker.starts_sessions, hooks.start_session
        unpack, call, optional_call = frames.CALL_HEAD.unpack_from, *frames.CALL_WORDS
        pack_head, result_word = frames.RESULT_HEAD.pack, frames.RESULT
        max_frame, not_small = worker.max_frame, min(worker.max_frame + 1, LARGE_PART)
        copy_base, run_in = base.copy, Context.run  # a method of the class: no bound method is created for each call
        context: Any
        result: Any
        arguments: Any
        session = ""
        # Python 3.11 specializes the instructions of a function only after it has been called, or has run an
        # unconditional jump back, several times. This function is called once. So its loops are `while True`: a loop
        # with a condition ends with a conditional jump, and every call would take a quarter longer.
        while True:
            data, offset = self.data, self.offset
            size = len(data)
            # The names are bytes, since a view of a large frame has no hash.
            names = data if type(data) is bytes else bytes(data[: frames.NAMES_LIMIT])
            try:
                while True:
                    # A valid call is handled here, everything else in `handle_other`.
                    begin = offset + 36
                    if begin > size:
                        if offset < size and self.handle_other():
                            offset = self.offset
                            continue
                        break
                    length, word, wire_id, deadline, epoch, command_len, session_len = unpack(data, offset)
                    end = offset + 16 + length
                    session_at = begin + command_len
                    arguments_at = session_at + session_len
                    if (
                        (word != call and word != optional_call)
                        or end > size
                        or arguments_at > end
                        or length > max_frame
                        or not wire_id
                    ):
                        if self.handle_other():
                            offset = self.offset
                            continue
                        break
                    # These two change together. If an exception came between them, the call would be handled neither
                    # as the next frame nor as the current call, and would get no answer. From here on, `resume` answers
                    # the call with any exception. The times of the call before must be reset by then.
                    self.started = self.finished = 0
                    self.offset, self.current = end, wire_id
                    offset = end
                    if session_len:
                        session = frames.session_name(names[session_at:arguments_at])
                    command = commands[names[begin:session_at]]  # raises the error if there is none
                    arguments = decode(data[arguments_at:end])
                    command.check(arguments)
                    if command.injects:
                        if command.session_parameter is not None:
                            if session_len:
                                arguments[command.session_parameter] = Session(session, epoch, worker.sessions)
                            else:
                                command.check_session(False)  # raises the error
                        if command.call_parameter is not None:
                            arguments[command.call_parameter] = Call(wire_id, deadline, calls)
                    context = contexts.copy_for_call(base) if "decimal" in modules else copy_base()
                    if traces:
                        enter_trace(context, traces.pop(wire_id, None))
                    calls.deadline = deadline
                    # Written before `cancelled` is read; the control thread does the opposite. See `Calls.state`.
                    calls.running = calls.last_begun = wire_id
                    if cancelled and wire_id in cancelled and calls.refuses(wire_id):
                        raise CallRejection("cancelled", "the call was cancelled before it started")
                    self.started = started = now()
                    if starts_sessions and session_len:
                        start_session(worker, base, session, epoch)
                    result = run_in(context, command.call, **arguments)
                    calls.running = 0
                    self.finished = finished = now()
                    # The handler has forked and this is the child, which returned from the handler. It must not go on
                    # as the worker: the parent answers the call.
                    if calls.forked:
                        os._exit(0)
                    payload = encode(result)
                    length = 16 + len(payload)
                    if length > max_frame:
                        raise error_frames.result_too_large(command.name, length, max_frame)
                    if cancelled:
                        cancelled.pop(wire_id, None)
                    head = pack_head(length, result_word, wire_id, started, finished)
                    result = arguments = context = None  # free large values before the next read
                    # The answer is added and `current` is reset without a call in between. Otherwise an exception could
                    # come between them, and the call would get a second answer. The answer is written at once: it must
                    # not wait until the next handler has ended, and the host relies on it (`in_order`).
                    if length < not_small:
                        parts += (head + payload,)
                        self.current = 0
                        try:
                            for count in writes:  # as in `OutputBuffer.flush`
                                parts[0] = parts[0][count:]
                                break
                        except BlockingIOError:
                            pass
                        if parts[0]:
                            output.finish()
                        else:
                            del parts[0]
                    else:
                        parts += (head, payload)
                        self.current = 0
                        payload = b""
                        output.finish()
            except (CallRejection, Rejected) as error:  # refused by Herder or by the handler: usual, unlike the others
                self.pending_error = error
                result = arguments = context = payload = None
            else:
                data = names = b""  # free a large frame before the next read
                if parts:
                    output.finish()
                if offset == size and self.large_frame is None and not (self.incomplete or self.bytes_to_skip):
                    if worker.slabs is not None:  # views die with other things than a call, such as an ended session
                        worker.slabs.flush()
                        output.finish()
                    # The usual case of `read`: the bytes go from the read to `self.data` without a call in between.
                    self.data, self.offset = b"", 0
                    for self.data in reads:
                        break
                    else:
                        self.on_reads_ended()
                        continue
                    if not self.data:
                        return None
                elif self.closing or not self.read():
                    return None
                continue
            self.resume()  # outside of the `except`: the views in the frames of the exception are gone here

    def handle_other(self) -> bool:
        """Handle the next frame if it is not a valid call. Return False if more must be read, or nothing any more."""
        data, offset = self.data, self.offset
        size = len(data)
        if size - offset < frames.HEADER_SIZE:
            return False
        length, kind, flags, reserved, wire_id = frames.HEADER.unpack_from(data, offset)
        known = frames.check_header(length, kind, flags, reserved, wire_id, self.worker.max_frame)
        begin = offset + frames.HEADER_SIZE
        end = begin + length
        if end > size:  # incomplete: the header is checked before memory is allocated for the frame
            if length >= READ_SIZE:
                self.begin_large(frames.HEADER_SIZE + length, kind, wire_id)
            return False
        if kind == frames.CALL and flags & (frames.STREAM | frames.BUFFERS):
            self.run_flagged_call(wire_id, flags, data[begin:end], end)
            return True
        if known:
            self.on_non_call(kind, wire_id, data[begin:end], end)
        else:
            self.offset = end
        if self.closing:
            return False
        self.run_other()
        return True

    def run_flagged_call(self, wire_id: int, flags: int, body: bytes | memoryview, end: int) -> None:
        """Run and answer a call with buffers, or one whose caller takes a stream.

        The result of a handler without a stream is sent as usual.
        """
        # The order of the steps is that of `run`, which explains it.
        worker, calls, base = self.worker, self.worker.calls, self.base_context
        deadline, epoch, name, session, arguments_at = frames.call_prefix(body)
        # Read first: whatever exception the call is answered with, its slab must be given back.
        section = worker.read_section(wire_id, body, arguments_at) if flags & frames.BUFFERS else None
        leased = () if section is None else section.leased
        self.started = self.finished = 0
        self.offset, self.current = end, wire_id
        worker.unleased += leased
        command = self.commands[name.encode()]
        arguments = worker.decode(body[arguments_at:]) if section is None else section.arguments(worker, command)
        command.check(arguments)
        if command.injects:
            given = None if session is None else Session(session, epoch, worker.sessions)
            command.inject(arguments, Call(wire_id, deadline, calls), given)
        context: Any = contexts.copy_for_call(base)
        contexts.open_telemetry.enter(context, calls.traces.pop(wire_id, None))
        calls.deadline = deadline
        calls.running = calls.last_begun = wire_id
        if wire_id in calls.cancelled and calls.refuses(wire_id):
            raise CallRejection("cancelled", "the call was cancelled before it started")
        self.started = now()
        if worker.starts_sessions and session is not None:
            hooks.start_session(worker, base, session, epoch)
        result: Any = None
        generator = command.stream if flags & frames.STREAM else None
        if generator is None:
            result = context.run(command.call, **arguments)
        else:
            from herder import streams  # imported before, since the app has a generator handler

            self.stream = streams.Stream(worker, wire_id, command.name)
            if section is not None and section.takes_buffers:
                self.stream.take_buffers()
            context.run(self.stream.run, generator, arguments)
        calls.running = 0
        self.finished = now()
        if calls.forked:
            os._exit(0)
        worker.take_back_unsent()
        if generator is None:
            head = (wire_id, self.started, self.finished)
            parts = worker.result_parts(command.name, head, result, section is not None and section.takes_buffers)
        else:
            parts = [frames.end_of_stream(wire_id, self.started, self.finished)]
        calls.cancelled.pop(wire_id, None)
        if section is not None:
            arguments = context = result = None  # so that no view is left, unless the handler keeps it
            worker.return_slabs()
        self.output.parts += parts  # no call between this and the next two statements
        self.current = 0
        worker.filling = None
        # Now, not before the next read: the handler may change an array that it has returned when it runs again.
        self.output.finish()
        if leased:
            parts = []
            worker.return_slabs()  # again, if the result was a view of the arguments
            self.output.finish()

    def find_stream(self, wire_id: int) -> Stream | None:
        """Return the stream of the running call. Called by the control thread."""
        stream = self.stream
        return stream if stream is not None and stream.wire_id == wire_id else None

    def read(self) -> bool:
        """Read more of the stream. Return False if it has ended."""
        if self.large_frame is not None:
            return self.read_large(self.large_frame)
        self.incomplete += self.data[self.offset :]
        self.data, self.offset = b"", 0
        # The bytes go from the read to `self.chunk` without a call in between: see `descriptor_io`. If an exception
        # comes after that, `resume` finds them there.
        for self.chunk in self.reads:  # noqa: B020
            break
        else:
            self.on_reads_ended()
            return True
        if not self.chunk:
            return False
        self.take_chunk()
        return True

    def on_reads_ended(self) -> None:
        """Go on after the end of `reads`, which is not that of the stream: a signal handler raised `StopIteration`."""
        error_frames.log_unhandled(StopIteration())

    def take_chunk(self) -> None:
        """Move `incomplete` and `chunk` to `data`, without the bytes to skip."""
        if self.bytes_to_skip:
            remaining = max(self.bytes_to_skip - len(self.chunk), 0)
            self.chunk, self.bytes_to_skip = self.chunk[self.bytes_to_skip :], remaining
        self.data = self.incomplete + self.chunk
        self.incomplete = self.chunk = b""

    def begin_large(self, size: int, kind: int, wire_id: int) -> None:
        """Prepare to read the rest of a large frame directly into its buffer. Without memory, answer and skip it."""
        received = self.data[self.offset :]
        count = len(received)
        try:
            buffer = memoryview(bytearray(size))
        except MemoryError as error:
            if kind == frames.CALL:
                self.output.parts += (error_frames.exception_frame(wire_id, error, 0, 0, self.worker.max_frame),)
            self.data, self.offset, self.bytes_to_skip = b"", 0, size - count
            return
        buffer[:count] = received
        self.data, self.offset, self.large_frame, self.filled = b"", 0, buffer, count

    def read_large(self, buffer: memoryview) -> bool:
        """Read the rest of a large frame. Return False if the stream has ended."""
        size, fd = len(buffer), self.worker.fd
        while self.filled < size:
            count = -1  # not changed if a signal handler raises `StopIteration`, which ends the iteration
            try:
                for count in map(os.readv, (fd,), ((buffer[self.filled :],),)):
                    self.filled += count
            except BlockingIOError:  # non-blocking since the shutdown message, but the host sends the rest of the frame
                wait_until_ready(fd, select.POLLIN)
                continue
            if not count:
                return False
        frame = buffer.toreadonly()
        self.data, self.offset, self.large_frame = frame, 0, None
        return True

    def on_non_call(self, kind: int, wire_id: int, body: bytes | memoryview, end: int) -> None:
        """Handle a frame that is not a valid call and ends at the offset `end`."""
        if kind == frames.SHUTDOWN:
            self.closing = self.worker.calls.closing = True
        elif kind == frames.SESSION_END:
            session_end = hooks.PendingSessionEnd(self.worker, *frames.session_end(body))
            self.offset, self.session_end = end, session_end
        elif kind == frames.HEADERS:
            # Those of the call that follows. Calls run one after the other, so those of the last one are not needed.
            calls, headers = self.worker.calls, frames.headers(body)
            calls.headers = {wire_id: headers}
            calls.traces.clear()
            contexts.open_telemetry.keep_trace(calls.traces, wire_id, headers)
            self.offset = end
        elif kind == frames.BATCH:
            frames.batch(body, is_offered=False)  # raises the error: an app with batches uses `aio`
        elif kind == frames.SLAB_FREE:
            freed = frames.slab_ids(body)
            if self.worker.slabs is not None:
                self.worker.slabs.on_free(freed)
            self.offset = end
        elif kind == frames.SLAB_DROP:
            dropped = self.worker.get_slabs().on_drop(frames.slab_ids(body))
            self.output.parts += (dropped,)  # no call between this and the next statement
            self.offset = end
        elif kind == frames.HEALTH_CHECK:
            check = (wire_id, frames.health_limit(body, self.worker.app._health is not None))
            self.offset, self.health_check = end, check
        elif kind == frames.CALL:
            frames.call_prefix(body)  # raises the error
        else:
            raise ProtocolError("out_of_order", f"unexpected frame of kind {kind} on the calls descriptor")

    def run_other(self) -> None:
        """Run the hooks of an ended session, and the health function."""
        if self.health_check is not None:
            from herder import health  # imported before, since the app has the function

            self.output.finish()  # as below
            nonce, limit = self.health_check
            answer = health.answer(nonce, health.run(self.worker, self.base_context, limit))
            if self.worker.calls.forked:  # as in `PendingSessionEnd`
                os._exit(0)
            self.output.parts += (answer,)  # no call between this and the removal
            self.health_check = None
            self.output.finish()
        if self.session_end is not None:
            self.output.finish()  # finished answers must not wait until the hooks have ended
            self.session_end.run()
            self.session_end = None

    def is_fatal(self, error: BaseException) -> bool:
        """Whether the stream is broken. Sets `closing` if a shutdown has read everything."""
        if self.current and self.started:  # the handler raised it
            return False
        # The control thread made the descriptor non-blocking for the shutdown, and everything has been read.
        if issubclass(type(error), BlockingIOError) and self.worker.calls.closing:
            self.closing = True
            return False
        return is_stream_error(error)

    def names_of(self, wire_id: int) -> tuple[str | None, str | None]:
        """Return the command and the session of the running call, or the session of the running hook, for the log."""
        if wire_id < 0:
            return None, None if self.session_end is None else self.session_end.session
        command, session, _epoch = self.names_in_frame(wire_id)
        return command, session

    def names_in_frame(self, wire_id: int) -> tuple[str | None, str | None, int]:
        """Return the command, the session and the epoch of the running call."""
        # The run of a call does not store its names anywhere: they are still in the frame. `run` handles the frames of
        # `data` from its start, and the frame of the running call ends at `offset`.
        data, begin = self.data, 0
        while wire_id and begin + frames.CALL_HEAD.size <= self.offset:
            length, word, id, _deadline, epoch, command_len, session_len = frames.CALL_HEAD.unpack_from(data, begin)
            if id == wire_id and word & 0xFF == frames.CALL:
                names = bytes(data[begin + frames.CALL_HEAD.size :][: command_len + session_len])
                session = names[command_len:].decode("utf-8", "replace")
                return names[:command_len].decode("utf-8", "replace"), session or None, epoch
            begin += frames.HEADER_SIZE + length
        return None, None, 0

    def session_of(self, wire_id: int) -> Session | None:
        """Return the session of the running call."""
        _command, session, epoch = self.names_in_frame(wire_id)
        return None if session is None else Session(session, epoch, self.worker.sessions)

    def resume(self) -> None:
        """Handle the exception that ended the last run of the loop, and finish the steps that it interrupted."""
        # The order matters. First the call gets its answer, then all output is written, and only then the bytes that
        # were read and the hooks are handled: an answer must not wait until hooks have ended. Each step may be
        # interrupted by another exception; the next `resume` then repeats it.
        self.worker.calls.running = 0
        if self.worker.calls.forked:  # a child of a handler's fork, which raised instead of returning
            os._exit(0)
        if self.pending_error is not None and self.current:
            self.answer_failed(self.pending_error)
            if self.worker.slabs is not None or self.worker.unleased:
                self.worker.return_slabs()  # the traceback, and the views in it, are gone
        elif self.pending_error is not None and not self.closing:
            error, self.pending_error = self.pending_error, None
            error_frames.log_unhandled(error)
        self.output.finish()
        if self.chunk:
            self.take_chunk()
        self.run_other()

    def answer_failed(self, error: BaseException) -> None:
        """Answer the current call with its error."""
        if self.started and not self.finished:
            self.finished = now()
        self.worker.calls.cancelled.pop(self.current, None)
        answer = error_frames.exception_frame(self.current, error, self.started, self.finished, self.worker.max_frame)
        self.output.parts += (answer,)
        self.current = 0
        self.pending_error = None


LOOP_CODE = (MainLoop.run.__code__, MainLoop.run_flagged_call.__code__, hooks.run_with_limit.__code__)
