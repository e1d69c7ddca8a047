"""Complete reads and writes on a descriptor, which may be blocking or non-blocking."""

# Asynchronous exceptions. The other modules of the main loops refer to this comment.
#
# An application can cause an exception on the main thread at any moment: from a signal handler, or from another thread
# (`PyThreadState_SetAsyncExc`). CPython raises it between two instructions, but only after a call has returned, when a
# function begins, or when a loop jumps back. Python 3.10 also raises it at other jumps, as those of an `if`.
#
# So after `count = os.write(..)` the bytes may be written but `count` not assigned: the call has returned, and the
# exception is raised before the assignment. The bytes would then be written twice. Two rules prevent such losses:
# - The result of a system call goes from C code to its variable without a call or a jump in between. A `for` loop over
#   `map` does that: `for count in map(os.write, ..)`.
# - State that belongs together changes without a call or a jump in between. For example, `parts += (part,)` is used
#   instead of `parts.append(part)`, which is a call.

from __future__ import annotations

import os
import select
from itertools import repeat

from herder import frames
from herder.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STREAM_CODE = frozenset(  # the files that read and write the descriptors
    os.path.join(os.path.dirname(__file__), name) for name in ("descriptor_io.py", "loop.py", "aio_input.py")
)
LARGE_PART = 65536  # bytes; a part of this size or more is written separately, not joined with others


class OutputBuffer:
    """The output that is not written yet. An exception at any moment loses and repeats no byte.

    Add a part with `parts += (part,)`, not with `append`, which is a call (see the top of this file).
    """

    __slots__ = ("fd", "parts", "writes")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.parts: list[bytes | memoryview] = []  # never replaced: the loops keep a reference to this list
        # Each step of this iterator writes the first part once, and returns the number of bytes.
        self.writes = map(os.write, repeat(fd), map(self.parts.__getitem__, repeat(0)))

    def flush(self) -> bool:
        """Write all parts. Return False if the descriptor is non-blocking and full.

        Raises `OSError` if the stream is broken. After any other exception, call it again.
        """
        parts = self.parts
        while parts:
            if len(parts) > 1:
                self._join()
            part = parts[0]
            if len(part) >= LARGE_PART:  # slices of a memoryview copy nothing
                part = parts[0] = memoryview(part)
            try:
                # There is no call and no jump between the write and the assignment: an exception cannot separate them.
                for count in self.writes:
                    parts[0] = part[count:]
                    break
            except BlockingIOError:
                return False
            if not parts[0]:
                del parts[0]
        return True

    def is_due(self) -> bool:
        """Whether the output is to be written now, although more may follow soon."""
        return True

    def finish(self) -> None:
        """Write all parts; wait while the descriptor is full."""
        while not self.flush():
            wait_until_ready(self.fd, select.POLLOUT)

    def _join(self) -> None:
        """Join the parts before the first large one."""
        parts = self.parts
        sizes = enumerate(map(len, parts))
        count = next((index for index, size in sizes if size >= LARGE_PART), len(parts))
        if count > 1:
            joined = b"".join(parts[:count])
            parts[:count] = (joined,)


def is_stream_error(error: Any) -> bool:
    """Whether `error` means that the stream is broken, and was not raised by the application."""
    # The application can raise an `OSError` too (`TimeoutError` is a subclass). An error of a system call has an errno,
    # and the innermost frame of its traceback is in one of the files that read and write the descriptors.
    kind = type(error)  # not `isinstance`: that runs code of the object, for its `__class__`
    if issubclass(kind, ProtocolError):
        return True
    if not issubclass(kind, OSError) or error.errno is None:
        return False
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and tb.tb_frame.f_code.co_filename in STREAM_CODE


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`; wait while the descriptor is full. Raises `OSError` if the stream is broken."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            wait_until_ready(fd, select.POLLOUT)


def read_into(fd: int, buffer: bytearray, start: int) -> bool:
    """Fill `buffer` from the offset `start`. Return False if the stream ends before that."""
    view = memoryview(buffer)[start:]
    while view:
        try:
            count = os.readv(fd, [view])
        except BlockingIOError:
            wait_until_ready(fd, select.POLLIN)
            continue
        if not count:
            return False
        view = view[count:]
    return True


def read_frame(fd: int) -> tuple[int, bytes] | None:
    """Read the kind and body of one frame, and no byte more; None if the stream ended. Used for the hello only."""
    header = bytearray(frames.HEADER_SIZE)
    if not read_into(fd, header, 0):
        return None
    length, kind, flags, reserved, wire_id = frames.HEADER.unpack(header)
    frames.check_header(length, kind, flags, reserved, wire_id, frames.HELLO_LIMIT)
    body = bytearray(length)
    return (kind, bytes(body)) if read_into(fd, body, 0) else None


def wait_until_ready(fd: int, events: int) -> None:
    """Wait until the descriptor is ready for one of `events`."""
    poll = select.poll()
    poll.register(fd, events)
    poll.poll()
