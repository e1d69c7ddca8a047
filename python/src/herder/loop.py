"""The main loop of a worker with sync handlers: read what is there, run it, answer it all in one write.

Everything happens on the main thread; nothing hops to another one.

An exception may be raised at any step of the loop: by a handler, or by the application's signal handlers and threads
(`pipe` says at which steps CPython does it). The loop then starts again from its attributes. So attributes that belong
together change without a call in between, and a step that was begun is repeated or given up, but never lost.
"""

from __future__ import annotations

import os
import select
import sys
from contextvars import copy_context

from herder import answers, contexts, frames, hooks, signals
from herder.call import Call, now
from herder.codec import decode, encode
from herder.errors import HookTimeout, Interrupted, ProtocolError, CallRejection
from herder.pipe import LARGE, is_stream_error, wait
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from herder.worker import Worker

READ_SIZE = 65536  # more would cross malloc's mmap threshold
MAX_NESTED_EXCEPTIONS = 8  # how many exceptions in direct succession are caught, each raised while the one before is caught


def serve(worker: Worker) -> None:
    """Answer calls until the host closes the descriptor, or asks for the end. Raises `ProtocolError`, `OSError`."""
    ended = MainLoop(worker).run_guarded(MAX_NESTED_EXCEPTIONS)
    if ended is not None:
        raise ended


def interrupt(worker: Worker, frame: FrameType | None) -> None:
    """The signal handler: interrupt the handler that runs, if its call is to be interrupted.

    Python runs it on the main thread, between two steps of `frame`. In the loop's own frame it raises nothing (the
    control thread tries again), so no interrupt is raised outside of a handler. It does not interrupt an import
    either.
    """
    calls = worker.calls
    running = calls.running
    if not running or frame is None or frame.f_code in LOOP_CODE or not calls.cancelled.get(running):
        return
    if not signals.is_uninterruptible(frame, LOOP_CODE) and calls.interrupts(running):
        raise Interrupted if running > 0 else HookTimeout


class MainLoop:
    """The state of the loop: what was read and has no answer yet."""

    __slots__ = (
        "base",
        "chunk",
        "closing",
        "current",
        "data",
        "ending",
        "failed",
        "filled",
        "finished",
        "large",
        "offset",
        "output",
        "rest",
        "skip",
        "started",
        "worker",
    )

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.output = worker.output
        self.base = copy_context()  # as `on_start` left it
        self.chunk = b""  # read last
        self.rest = b""  # goes before it
        self.data: bytes | memoryview = b""  # acted on up to `offset`
        self.offset = 0
        self.large: memoryview | None = None  # a frame that is read in place, up to `filled`
        self.filled = 0
        self.skip = 0  # bytes of the stream that are still to be skipped
        self.current = 0  # the call that was taken from `data` and has no answer yet
        self.started = 0
        self.finished = 0
        self.ending: hooks.PendingSessionEnd | None = None  # of a session, whose hooks run
        self.closing = False  # nothing more is read
        self.failed: BaseException | None = None  # the last exception, until it is handled

    def run_guarded(self, layers: int) -> BaseException | None:
        """Run the loop, and again after each exception.

        One layer is not enough: the jump back is outside of the `try`, and an exception may be raised there.
        """
        while True:
            try:
                return self.run_guarded(layers - 1) if layers else self.run()
            except BaseException as error:
                self.failed = error

    def run(self) -> BaseException | None:
        """Run the loop. Return what broke the stream, or None when it has ended. Long, since it runs for each call."""
        if self.failed is not None and self.is_over(self.failed):
            return self.failed
        self.resume()
        worker, calls, output, base = self.worker, self.worker.calls, self.output, self.base
        commands = {name.encode(): command for name, command in worker.commands.items()}
        cancelled, parts, max_frame = calls.cancelled, output.parts, worker.max_frame
        unpack_header, unpack_prefix = frames.HEADER.unpack_from, frames.PREFIX.unpack_from
        pack_answer, modules, flush = frames.ANSWER.pack, sys.modules, output.flush
        context: Any
        result: Any
        arguments: Any
        while not self.closing:
            data = self.data
            size = len(data)
            while size - self.offset >= 16:
                offset = self.offset
                length, kind, flags, reserved, wire_id = unpack_header(data, offset)
                begin = offset + 16
                end = begin + length
                if end > size:
                    frames.check_header(length, kind, flags, reserved, wire_id, max_frame)
                    if length >= READ_SIZE:
                        self.begin_large(16 + length, kind, wire_id)
                    break
                if (
                    kind != frames.CALL
                    or reserved
                    or not wire_id
                    or length < 20
                    or length > max_frame
                    or flags > frames.OPTIONAL
                ):
                    if frames.check_header(length, kind, flags, reserved, wire_id, max_frame):
                        self.on_other(kind, data[begin:end], end)
                    else:
                        self.offset = end
                    if self.closing:
                        break
                    self.end_session()
                    continue
                self.started = self.finished = 0
                self.offset, self.current = end, wire_id
                deadline, epoch, command_len, session_len = unpack_prefix(data, begin)
                names = begin + 20 + command_len
                arguments_at = names + session_len
                if arguments_at > end:
                    frames.call_prefix(data[begin:end])
                session = frames.session_name(data[names:arguments_at]) if session_len else None
                command = commands.get(bytes(data[begin + 20 : names]))
                if command is None:
                    raise answers.unknown(frames.utf8(data[begin + 20 : names]), worker.commands)
                arguments = decode(data[arguments_at:end])
                command.check(arguments)
                if command.session_parameter is not None:
                    if session is None:
                        command.check_session(False)
                    else:
                        arguments[command.session_parameter] = Session(session, epoch, worker.sessions)
                if command.call_parameter is not None:
                    arguments[command.call_parameter] = Call(wire_id, deadline, calls)
                if parts and not flush():  # an answer that is ready must not wait behind this handler
                    output.finish()
                context = contexts.copy_for_call(base) if "_decimal" in modules else base.copy()
                calls.deadline = deadline
                calls.running = calls.begun = wire_id  # before it reads `cancelled`: see `Calls.state`
                if cancelled and wire_id in cancelled:
                    raise CallRejection("cancelled", "the call was cancelled before it started")
                self.started = started = now()
                result = context.run(command.call, **arguments)
                calls.running = 0
                self.finished = finished = now()
                if calls.forked:  # the handler forked and this is the child, coming back: it is not the worker
                    os._exit(0)
                payload = encode(result)
                if len(payload) + 16 > max_frame:
                    raise answers.too_large(command.name, len(payload) + 16, max_frame)
                if cancelled:
                    cancelled.pop(wire_id, None)
                answer = pack_answer(16 + len(payload), 4, 0, 0, wire_id, started, finished)
                result = arguments = context = command = None  # keep no large value until the next call
                if len(payload) < LARGE:
                    parts += (answer + payload,)
                    self.current = 0
                else:
                    parts += (answer, payload)
                    self.current = 0
                    payload = b""
                    output.finish()
            data = b""
            if parts and not flush():
                output.finish()
            if not self.closing and not self.read():
                return None
        output.finish()
        return None

    def read(self) -> bool:
        """Read more of the stream. False: it has ended."""
        if self.large is not None:
            return self.read_large(self.large)
        self.rest += self.data[self.offset :]
        self.data, self.offset = b"", 0
        for self.chunk in map(os.read, self.output.fds, (READ_SIZE,)):  # noqa: B020 (without a call in between)
            break
        else:  # a signal handler raised `StopIteration`, which ends an iteration
            answers.log_unhandled(StopIteration())
            return True
        if not self.chunk:
            return False
        self.take_chunk()
        return True

    def take_chunk(self) -> None:
        """Append what was read to `data`, without the bytes to skip."""
        if self.skip:
            left = max(self.skip - len(self.chunk), 0)
            self.chunk, self.skip = self.chunk[self.skip :], left
        self.data = self.rest + self.chunk
        self.rest = self.chunk = b""

    def begin_large(self, size: int, kind: int, wire_id: int) -> None:
        """Prepare to read the rest of a large frame directly into its buffer."""
        have = self.data[self.offset :]
        count = len(have)
        try:
            whole = memoryview(bytearray(size))
        except MemoryError as error:
            if kind == frames.CALL:
                self.output.parts += (answers.failure(wire_id, error, 0, 0, self.worker.max_frame),)
            self.data, self.offset, self.skip = b"", 0, size - count
            return
        whole[:count] = have
        self.data, self.offset, self.large, self.filled = b"", 0, whole, count

    def read_large(self, whole: memoryview) -> bool:
        """Read the rest of a large frame. False: the stream has ended."""
        size, fd = len(whole), self.worker.fd
        while self.filled < size:
            count = -1  # stays so if a signal handler raises `StopIteration`
            try:
                for count in map(os.readv, (fd,), ((whole[self.filled :],),)):
                    self.filled += count
            except BlockingIOError:  # the host asks for the end, and means to send the rest
                wait(fd, select.POLLIN)
                continue
            if not count:
                return False
        frame = whole.toreadonly()
        self.data, self.offset, self.large = frame, 0, None
        return True

    def on_other(self, kind: int, body: bytes | memoryview, end: int) -> None:
        """A frame that is no call, and ends at `end`."""
        if kind == frames.SHUTDOWN:
            self.closing = True
        elif kind == frames.SESSION_END:
            ending = hooks.PendingSessionEnd(self.worker, *frames.session_end(body))
            self.offset, self.ending = end, ending
        elif kind == frames.CALL:
            frames.call_prefix(body)
        else:
            raise ProtocolError("out_of_order", f"unexpected frame of kind {kind} on the calls descriptor")

    def end_session(self) -> None:
        """Run the hooks of a session that ended; an answer that is ready must not wait behind them."""
        if self.ending is not None:
            self.output.finish()
            self.ending.run()
            self.ending = None

    def is_over(self, error: BaseException) -> bool:
        """Whether no more can be read or written. `closing` says whether that was asked for."""
        if self.current and self.started:  # a handler raised it
            return False
        if issubclass(type(error), BlockingIOError) and self.worker.calls.closing:
            self.closing = True  # the control thread made it so: nothing is left to read
            return False
        return is_stream_error(error)

    def resume(self) -> None:
        """Handle the exception that was raised, and finish the steps that it interrupted."""
        self.worker.calls.running = 0
        if self.worker.calls.forked:
            os._exit(0)
        if self.failed is not None and self.current:
            self.answer_failed(self.failed)
        elif self.failed is not None and not self.closing:
            stray, self.failed = self.failed, None
            answers.log_unhandled(stray)
        self.output.finish()
        if self.chunk:
            self.take_chunk()
        self.end_session()

    def answer_failed(self, error: BaseException) -> None:
        """Answer the current call with its error."""
        if self.started and not self.finished:
            self.finished = now()
        self.worker.calls.cancelled.pop(self.current, None)
        answer = answers.failure(self.current, error, self.started, self.finished, self.worker.max_frame)
        self.output.parts += (answer,)
        self.current = 0
        self.failed = None


LOOP_CODE = (MainLoop.run.__code__, hooks.run.__code__)
