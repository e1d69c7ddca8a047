"""Whole reads and writes on a descriptor. The descriptor may be blocking or not.

An application can have an exception raised on the main thread at any moment: from a signal handler, or from another
thread (`PyThreadState_SetAsyncExc`). CPython raises it between two instructions, and only after a call has returned,
when a function begins, or when a loop jumps back; Python 3.10 does so at other jumps too, as of an `if`. So
`count = os.write(..)` may write and never learn how much. Where bytes must not be lost, the result goes from C into its
place without a call or a jump in between, as in `for count in map(os.write, ..)`, and what belongs together changes
without one.
"""

from __future__ import annotations

import os
import select

from herder import frames
from herder.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]
    from typing import Any

STREAM_CODE = frozenset(  # the files that read from descriptors and write to them
    os.path.join(os.path.dirname(__file__), name) for name in ("pipe.py", "loop.py", "aio_input.py")
)
LARGE = 65536  # a part from here on is written by itself, not copied into the others
write = os.write


class OutputBuffer:
    """What is to be written to a descriptor, in order. An exception at any moment loses no byte and repeats none.

    Add a part by `parts += (part,)`: `append` would be a call.
    """

    __slots__ = ("fds", "parts")

    def __init__(self, fd: int) -> None:
        self.fds = (fd,)
        self.parts: list[bytes | memoryview] = []  # the same list always

    def flush(self) -> bool:
        """Write it all. False: the descriptor does not block, and takes no more now. Raises `OSError` when it is gone.

        After any other exception, call it again.
        """
        parts = self.parts
        while parts:
            if len(parts) > 1:
                self._join()
            part = parts[0]
            size = len(part)
            if size >= LARGE:  # so that a slice of it is no copy
                part = parts[0] = memoryview(part)
            try:
                for count in map(write, self.fds, parts):  # one descriptor: it writes the first part
                    parts[0] = part[count:]  # no call and no jump between the write and this: see above
            except BlockingIOError:
                return False
            if not parts[0]:
                del parts[0]
        return True

    def finish(self) -> None:
        """Write it all, and wait as long as that takes."""
        while not self.flush():
            wait(self.fds[0], select.POLLOUT)

    def _join(self) -> None:
        """Make one part of those before the first large one."""
        parts = self.parts
        sizes = enumerate(map(len, parts))
        count = next((at for at, size in sizes if size >= LARGE), len(parts))
        if count > 1:
            joined = b"".join(parts[:count])
            parts[:count] = (joined,)


def is_stream_error(error: Any) -> bool:
    """Whether an exception says that the stream is broken; others are the application's, which may raise `OSError` too.

    `TimeoutError` is one. A system's error has a number, and comes from the code that reads and writes.
    """
    kind = type(error)  # `isinstance` would ask the object for its `__class__`
    if issubclass(kind, ProtocolError):
        return True
    if not issubclass(kind, OSError) or error.errno is None:
        return False
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and tb.tb_frame.f_code.co_filename in STREAM_CODE


def write_all(fd: int, data: Buffer) -> None:
    """Write every byte; waits while the other end is full. Raises `OSError` when it is gone."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            wait(fd, select.POLLOUT)


def read_into(fd: int, buffer: bytearray, start: int) -> bool:
    """Fill `buffer` from `start` on. False: the stream ended before."""
    view = memoryview(buffer)[start:]
    while view:
        try:
            count = os.readv(fd, [view])
        except BlockingIOError:
            wait(fd, select.POLLIN)
            continue
        if not count:
            return False
        view = view[count:]
    return True


def read_frame(fd: int) -> tuple[int, bytes] | None:
    """The kind and body of one frame, and not a byte more. None: the stream ended. For the hello only."""
    header = bytearray(frames.HEADER_SIZE)
    if not read_into(fd, header, 0):
        return None
    length, kind, flags, reserved, wire_id = frames.HEADER.unpack(header)
    frames.check_header(length, kind, flags, reserved, wire_id, frames.HELLO_LIMIT)
    body = bytearray(length)
    return (kind, bytes(body)) if read_into(fd, body, 0) else None


def wait(fd: int, events: int) -> None:
    """Until the descriptor is ready."""
    poll = select.poll()
    poll.register(fd, events)
    poll.poll()
