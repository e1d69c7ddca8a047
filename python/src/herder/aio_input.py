"""What comes on the calls descriptor of an asyncio worker, as whole frames. An exception at any moment costs no byte.

`pipe` explains what may happen between which instructions.
"""

from __future__ import annotations

import os
from functools import partial

from herder import frames
from herder.answers import FOLDER
from herder.loop import READ_SIZE


def of_descriptor(error: OSError) -> bool:
    """Whether a read or write of Herder's own raised this: a signal handler may raise `TimeoutError`, an `OSError`."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return error.errno is not None and tb is not None and os.path.dirname(tb.tb_frame.f_code.co_filename) == FOLDER


class Input:
    """The bytes that were read and not acted on.

    Whoever acted on a frame says `del buffer[:end]` in the same step in which it notes that, without a call in between.
    """

    def __init__(self, fd: int, max_frame: int) -> None:
        self.fd = fd
        self.max_frame = max_frame
        self.chunk = b""  # read, and not in the buffer yet
        self.buffer = bytearray()  # the same object always
        self.skipped = 0  # so many bytes of a frame that found no memory are still to come

    def read(self) -> bool | None:
        """Read once. False: nothing is there now. None: the stream has ended. Raises `OSError` when it is broken."""
        if self.chunk:  # an exception came before it was in the buffer
            self._keep()
            return True
        try:
            for data in iter(partial(os.read, self.fd, READ_SIZE), b""):
                self.chunk = data  # no call between the read and this
                self._keep()
                return True
        except BlockingIOError as error:
            if not of_descriptor(error):
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
        """What `buffer` and `skipped` have to become for the frame that ends there to be passed over, read or not."""
        there = len(self.buffer)
        return min(end, there), max(0, end - there)
