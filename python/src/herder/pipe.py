"""Whole reads and writes on a descriptor. The descriptor may be blocking or not.

An application can have an exception raised on the main thread at any moment: from a signal handler, or from another
thread (`PyThreadState_SetAsyncExc`). CPython raises it between two instructions, and only after a call has returned,
when a function begins, or when a loop jumps back. So `count = os.write(..)` may write and never learn how much. Where
bytes must not be lost, the result goes from C into its place without a call in between, as in
`for count in map(os.write, ..)`, and what belongs together changes without one.
"""

from __future__ import annotations

import os
import select

from herder import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]

LARGE = 65536  # a part from here on is written by itself, not copied into the others
NOTHING = memoryview(b"")


class Output:
    """What is to be written to a descriptor, in order. An exception at any moment costs it no byte, and doubles none.

    Whoever adds a part says `parts += (part,)`: `append` is a call.
    """

    __slots__ = ("fd", "parts", "unsent")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.parts: list[Buffer] = []  # the same list always
        self.unsent = NOTHING  # goes before the parts

    def flush(self) -> bool:
        """Write it all. False: the descriptor does not block, and takes no more now. Raises `OSError` when it is gone.

        After an exception of somebody else's, call it again.
        """
        while True:
            while self.unsent:
                try:
                    for count in map(os.write, (self.fd,), (self.unsent,)):
                        self.unsent = self.unsent[count:]  # no call between the write and this: see above
                except BlockingIOError:
                    return False
            self.unsent = NOTHING  # the empty end of a view would keep all of it alive
            if not self.parts:
                return True
            self._take()

    def finish(self) -> None:
        """Write it all, and wait as long as that takes."""
        while not self.flush():
            _wait(self.fd, select.POLLOUT)

    def _take(self) -> None:
        """Move parts into `unsent`."""
        parts = self.parts
        count = len(parts)
        if count > 1 and max(map(len, parts)) >= LARGE:
            count = next(at for at, part in enumerate(parts) if len(part) >= LARGE) or 1
        view = memoryview(parts[0] if count == 1 else b"".join(parts[:count]))
        self.unsent = view
        del parts[:count]  # not `clear()`: no call between these two


def write_all(fd: int, data: Buffer) -> None:
    """Write every byte; waits while the other end is full. Raises `OSError` when it is gone."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _wait(fd, select.POLLOUT)


def read_into(fd: int, buffer: bytearray, start: int) -> bool:
    """Fill `buffer` from `start` on. False: the stream ended before."""
    view = memoryview(buffer)[start:]
    while view:
        try:
            count = os.readv(fd, [view])
        except BlockingIOError:
            _wait(fd, select.POLLIN)
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


def _wait(fd: int, events: int) -> None:
    poll = select.poll()
    poll.register(fd, events)
    poll.poll()
