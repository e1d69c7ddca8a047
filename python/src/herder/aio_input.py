"""Reads frames from the calls descriptor of an asyncio worker. An exception at any moment loses no byte.

`descriptor_io` explains when an exception may be raised.
"""

from __future__ import annotations

import os
from functools import partial

from herder import frames
from herder.descriptor_io import is_stream_error
from herder.loop import READ_SIZE


class Input:
    """The bytes that are read and not handled yet."""

    # Code that handles a frame removes it with `del buffer[:end]` and records its effect without a call in between.
    # Otherwise an exception could lose the frame, or have it handled twice.

    def __init__(self, fd: int, max_frame: int) -> None:
        self.fd = fd
        self.max_frame = max_frame
        self.chunk = b""  # the result of the last read, until it is in the buffer
        self.buffer = bytearray()  # never replaced
        self.bytes_to_skip = 0  # the remaining bytes of a frame for which there was no memory

    def read(self) -> bool | None:
        """Read once. Return False if no data is available, None if the stream has ended. Raises `OSError`."""
        if self.chunk:  # an exception was raised after the last read
            self._append_chunk()
            return True
        try:
            for data in iter(partial(os.read, self.fd, READ_SIZE), b""):
                self.chunk = data  # no call between the read and this assignment
                self._append_chunk()
                return True
        except BlockingIOError as error:
            if not is_stream_error(error):
                raise
            return False
        return None

    def _append_chunk(self) -> None:
        """Move the chunk into the buffer, without the bytes to skip."""
        if self.bytes_to_skip:
            # Both are computed first: there is no call between the two assignments.
            rest, remaining = self.chunk[self.bytes_to_skip :], max(0, self.bytes_to_skip - len(self.chunk))
            self.chunk = rest
            self.bytes_to_skip = remaining
        self.buffer += self.chunk
        self.chunk = b""

    def header(self) -> tuple[int, int, int, bool] | None:
        """Return kind, wire id and length of the first frame in the buffer, and whether to handle it.

        Returns None if its header is incomplete. Raises `ProtocolError`.
        """
        if len(self.buffer) < frames.HEADER_SIZE:
            return None
        length, kind, flags, reserved, wire_id = frames.HEADER.unpack_from(self.buffer)
        known = frames.check_header(length, kind, flags, reserved, wire_id, self.max_frame)
        return kind, wire_id, frames.HEADER_SIZE + length, known

    def skip(self, end: int) -> tuple[int, int]:
        """Return how many bytes to delete from the buffer now, and how many later, to skip a frame of `end` bytes."""
        available = len(self.buffer)
        return min(end, available), max(0, end - available)
