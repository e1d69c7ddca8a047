"""The main loop of a worker with sync handlers: read what is there, run it, answer it all in one write.

Everything happens on the main thread; nothing hops to another one. It is one long function on purpose: it runs for
each call, and `interrupt` must know its frame.
"""

from __future__ import annotations

import os

from herder import answers, frames, hooks, signals
from herder.call import Call, now
from herder.codec import decode, encode
from herder.errors import HookTimeout, Interrupted, ProtocolError, Refusal
from herder.pipe import read_into, write_all
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from herder.worker import Worker

READ_SIZE = 65536  # more would cross malloc's mmap threshold
LARGE = 65536  # a payload from here on is written by itself, not copied into the others


def serve(worker: Worker) -> None:
    """Answer calls until the host closes the descriptor, or asks for the end. Raises `ProtocolError`, `OSError`."""
    fd, calls, sessions, max_frame = worker.fd, worker.calls, worker.sessions, worker.max_frame
    commands = {name.encode(): command for name, command in worker.commands.items()}
    cancelled = calls.cancelled
    read, unpack_header, unpack_prefix, pack_answer = (
        os.read,
        frames.HEADER.unpack_from,
        frames.PREFIX.unpack_from,
        frames.ANSWER.pack,
    )
    rest: Any = b""
    out: list[bytes] = []
    while True:
        try:
            data: Any = read(fd, READ_SIZE)
        except BlockingIOError:  # the control thread made it so: nothing is left to read, and this is the end
            return
        if not data:
            return
        if rest:
            data = rest + data
            rest = b""
        offset, size = 0, len(data)
        while size - offset >= 16:
            length, kind, flags, reserved, wire_id = unpack_header(data, offset)
            begin = offset + 16
            end = begin + length
            if end > size:
                frames.check_header(length, kind, flags, reserved, wire_id, max_frame)
                if length < READ_SIZE:
                    break
                if out:  # the rest of this frame may take its time
                    write_all(fd, b"".join(out))
                    out.clear()
                whole = bytearray(16 + length)
                whole[: size - offset] = data[offset:]
                if not read_into(fd, whole, size - offset):
                    return
                data, offset, size = memoryview(whole).toreadonly(), 0, len(whole)
                begin, end = 16, size
            offset = end
            if (
                kind != frames.CALL
                or reserved
                or not wire_id
                or length < 20
                or length > max_frame
                or flags > frames.OPTIONAL
            ):
                if not frames.check_header(length, kind, flags, reserved, wire_id, max_frame):
                    continue
                if kind == frames.SHUTDOWN:
                    if out:
                        write_all(fd, b"".join(out))
                    return
                if kind == frames.SESSION_END:
                    if out:
                        write_all(fd, b"".join(out))
                        out.clear()
                    epoch, reason, ended_session = frames.session_end(data[begin:end])
                    worker.end_session(ended_session, epoch, reason)
                    continue
                if kind != frames.CALL:
                    raise ProtocolError("out_of_order", f"a frame of kind {kind} on the calls descriptor")
                frames.call_prefix(data[begin:end])
            started = ended = 0
            command = None
            try:
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
                if command.session_as is not None:
                    if session is None:
                        command.check_session(False)
                    else:
                        arguments[command.session_as] = Session(session, epoch, sessions)
                if command.call_as is not None:
                    arguments[command.call_as] = Call(wire_id, deadline, calls)
                if out:  # an answer that is ready must not wait behind this handler
                    write_all(fd, b"".join(out))
                    out.clear()
                calls.deadline = deadline
                calls.running = calls.begun = wire_id  # before the look at `cancelled`: see `Calls.state`
                if cancelled and wire_id in cancelled:
                    raise Refusal("cancelled", "the call was cancelled before it began")
                started = now()
                result = command.call(**arguments)
                calls.running = 0
                ended = now()
                payload = encode(result)
                if len(payload) + 16 > max_frame:
                    raise answers.too_large(command.name, len(payload) + 16, max_frame)
                out.append(pack_answer(16 + len(payload), 4, 0, 0, wire_id, started, ended))
                out.append(payload)
            except BaseException as error:
                calls.running = 0
                if isinstance(error, ProtocolError):
                    raise
                if started and not ended:
                    ended = now()
                out.append(answers.failure(wire_id, error, started, ended))
                payload = b""
            if cancelled:
                cancelled.pop(wire_id, None)
            if calls.forked:  # the handler forked and this is the child, coming back: it is not the worker
                os._exit(0)
            if len(payload) >= LARGE:
                out.pop()
                write_all(fd, b"".join(out))
                out.clear()
                write_all(fd, payload)
            payload = b""
            result = arguments = None  # a large value must not live until the next call
        if out:
            write_all(fd, b"".join(out))
            out.clear()
        if offset < size:
            rest = bytes(data[offset:])


def interrupt(worker: Worker, frame: FrameType | None) -> None:
    """The signal handler: break the handler that runs, if it is the target's.

    Python runs it on the main thread, between two steps of `frame`. In the loop's own frame it raises nothing (the
    control thread tries again), so no exception can reach the loop from outside of a handler. Nor does it break an
    import.
    """
    calls = worker.calls
    running = calls.running
    if not running or frame is None or frame.f_code in OWN or not calls.cancelled.get(running):
        return
    if not signals.must_wait(frame, OWN) and calls.interrupts(running):
        raise Interrupted if running > 0 else HookTimeout


OWN = (serve.__code__, hooks.run.__code__)
