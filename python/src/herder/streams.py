"""Sends the items of a generator handler to a caller that takes a stream, as fast as the host's credits allow.

Imported only for an app with generator handlers. `aio_streams` adds what an asyncio worker needs.
"""

# No interrupt is raised in a frame of this file, only in the frames of the handler. While a stream waits for credit, no
# code of the handler runs: the control thread ends the wait when the call is cancelled.

from __future__ import annotations

import inspect
import os

from herder import frames, signals
from herder.call import allocate_lock
from herder.descriptor_io import LARGE_PART
from herder.errors import CallRejection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import Any

    from herder.worker import Worker


pack_header = frames.HEADER.pack


class Stream:
    """The stream of one call: how much was sent, and how much of it the consumer has taken.

    The thread that sends writes `sent` and `index`; the control thread writes `credited`.
    """

    __slots__ = (
        "calls",
        "command",
        "credited",
        "flags",
        "index",
        "news",
        "sent",
        "to_json",
        "window",
        "wire_id",
        "worker",
    )

    def __init__(self, worker: Worker, wire_id: int, command: str) -> None:
        self.worker = worker
        self.calls = worker.calls
        self.wire_id = wire_id
        self.command = command
        self.window = worker.stream_window
        self.to_json = worker.encode
        self.flags = 0  # of its chunks
        self.index = 0  # of the next item
        self.sent = 0  # bytes, with the headers of the frames
        self.credited = 0  # bytes
        self.news = allocate_lock()  # held, except when the control thread has something new for a thread that waits
        self.news.acquire()

    def take_buffers(self) -> None:
        """Send buffers beside the JSON of the items."""
        from herder.buffers import item_encoder  # imported before, since the call has the flag

        self.flags, self.to_json = frames.BUFFERS, item_encoder(self.worker)

    # --- called by the control thread ---------------------------------------------------------------------------------

    def add_credit(self, count: int) -> None:
        """Allow the stream to send `count` more bytes."""
        self.credited += count
        self.wake()

    def wake(self) -> None:
        """End a wait for credit: there is some, or the call is cancelled."""
        try:
            self.news.release()
        except RuntimeError:  # already released: nothing has waited since then
            pass

    # --- sending ------------------------------------------------------------------------------------------------------

    def run(self, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        """Run the generator that `function` returns, and send its items. Blocks while there is no credit."""
        opened = function(**arguments)
        if is_generator(opened):
            self.send_all(opened)
        else:  # the result of a wrapper (`functools.wraps`) around a generator function
            self.send(opened)

    def send_all(self, items: Generator[Any, None, Any]) -> None:
        """Send the items of a generator. Close it if that fails, or if the call is cancelled."""
        try:
            for item in items:
                self.send(item)
        except BaseException:
            items.close()  # does nothing if the generator has raised the exception itself
            raise

    def send(self, item: Any) -> None:
        """Send an item; wait for credit before that. Raises `CallRejection` if the call is cancelled."""
        payload = self.encode(item)
        while self.sent - self.credited >= self.window:
            self.news.acquire()
            self.check()
        self.write(payload)

    def check(self) -> None:
        """Raise `CallRejection` if the call is cancelled. End the process if it is a fork of the worker."""
        if self.calls.forked:  # a child of a fork in the generator, which must not go on as the worker
            os._exit(0)
        if self.calls.is_cancelled(self.wire_id):
            raise CallRejection("cancelled", "the call was cancelled: its stream is no longer read")

    def encode(self, item: Any) -> bytes:
        """Return the body of an item's chunk. Raises `CallRejection` if it cannot be sent, or the call is cancelled."""
        if self.calls.forked or self.calls.cancelled:
            self.check()
        try:
            payload = self.to_json(item)
        except CallRejection as refused:
            raise refused_item(self.index, refused) from None
        size, limit = len(payload), self.worker.max_frame
        if size > limit:
            raise CallRejection(
                "too_large",
                f"item {self.index} of the stream of {self.command} has {size} bytes; the limit is {limit} bytes"
                " (`max_frame`); yield smaller items",
            )
        return payload

    def write(self, payload: bytes) -> None:
        """Write an item at once: the next one may take long."""
        self.add_output(payload)
        self.worker.output.finish()

    def add_output(self, payload: bytes) -> None:
        """Add the chunk of an item to the output."""
        size = len(payload)
        self.index += 1
        self.sent += frames.HEADER_SIZE + size
        head = pack_header(size, frames.CHUNK, self.flags, 0, self.wire_id)
        # In two parts if joining them would copy much.
        self.worker.output.parts += (head + payload,) if size < LARGE_PART else (head, payload)


def is_generator(value: Any) -> bool:
    """Whether a handler has returned a sync generator."""
    return inspect.isgenerator(value)


def is_async_generator(value: Any) -> bool:
    """Whether a handler has returned an async generator."""
    return inspect.isasyncgen(value)


def refused_item(index: int, refused: CallRejection) -> CallRejection:
    """Return the answer for a stream with an item that cannot be encoded."""
    return CallRejection(refused.kind, f"item {index} of the stream: {refused.message}", refused.type)


async def as_async(result: Any) -> AsyncGenerator[Any, None]:
    """Yield the items of a sync generator, or another result of a wrapper as the only item."""
    if not is_generator(result):
        yield result
        return
    try:
        for item in result:
            yield item
    finally:
        result.close()


signals.protected_files.add(Stream.send.__code__.co_filename)
