"""Reads frames from the calls descriptor of an asyncio worker. An exception at any moment loses no byte.

`pipe` explains when an exception may be raised.
"""

from __future__ import annotations

import os
from functools import partial

from herder import frames
from herder.loop import READ_SIZE
from herder.pipe import is_stream_error


class Input:
    """The bytes that were read and not handled yet.

    Code that has handled a frame removes it by `del buffer[:end]`, without a call between that and the record of it.
    """

    def __init__(self, fd: int, max_frame: int) -> None:
        self.fd = fd
        self.max_frame = max_frame
        self.chunk = b""  # read, and not in the buffer yet
        self.buffer = bytearray()  # the same object always
        self.skipped = 0  # bytes still to be skipped of a frame for which there was no memory

    def read(self) -> bool | None:
        """Read once. False: nothing is there now. None: the stream has ended. Raises `OSError` when it is broken."""
        if self.chunk:  # an exception was raised before it was in the buffer
            self._keep()
            return True
        try:
            for data in iter(partial(os.read, self.fd, READ_SIZE), b""):
                self.chunk = data  # no call between the read and this
                self._keep()
                return True
        except BlockingIOError as error:
            if not is_stream_error(error):
                raise
            return False
        return None

    def _keep(self) -> None:
        """Move the chunk into the buffer."""
        if self.skipped:
            rest, skipped = self.chunk[self.skipped :], max(0, self.skipped - len(self.chunk))
            self.chunk = rest
            self.skipped = skipped
        self.buffer += self.chunk
        self.chunk = b""

    def header(self) -> tuple[int, int, int, bool] | None:
        """Kind, wire id and length of the frame that the buffer begins with, and whether it is to be acted on.

        None: its header is not there yet. Raises `ProtocolError`.
        """
        if len(self.buffer) < frames.HEADER_SIZE:
            return None
        length, kind, flags, reserved, wire_id = frames.HEADER.unpack_from(self.buffer)
        known = frames.check_header(length, kind, flags, reserved, wire_id, self.max_frame)
        return kind, wire_id, frames.HEADER_SIZE + length, known

    def skip(self, end: int) -> tuple[int, int]:
        """Return how many bytes to delete from the buffer, and the new `skipped`, to skip a frame of `end` bytes."""
        there = len(self.buffer)
        return min(end, there), max(0, end - there)
