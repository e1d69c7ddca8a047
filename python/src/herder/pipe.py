"""Whole reads and writes on a descriptor. The descriptor may be blocking or not."""

from __future__ import annotations

import os
import select

from herder import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]


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
