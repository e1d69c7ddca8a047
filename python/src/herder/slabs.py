"""Large buffers in memory that the worker shares with its host, which makes all slabs (docs/protocol.md).

Imported when the first call comes whose arguments are in a slab, or when the first large result leaves.
"""

# Everything here runs on the main thread, except the callbacks of leases: a view may die in any thread and at any
# moment. So these run no Python code, but only append to a deque. `descriptor_io` explains what "no call" means below.

from __future__ import annotations

import fcntl
import os
import sys
from _socket import CMSG_LEN, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, SCM_RIGHTS, socket
from _weakref import ref
from collections import deque
from errno import EMFILE
from itertools import repeat
from mmap import ACCESS_COPY, ACCESS_READ, PROT_READ, mmap
from struct import Struct

from herder import frames
from herder.errors import CallRejection, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from herder.worker import Worker

try:
    import ctypes
except ImportError:  # Python was built without libffi: arguments are copied
    ctypes = None  # type: ignore[assignment]

PLACE = 64  # a buffer of a result begins at a multiple of so many bytes
MESSAGE = Struct("<QQQ")  # id, size, purpose
ARGUMENTS, RESULTS = 0, 1  # the purposes
F_SEAL_FUTURE_WRITE = 0x10  # `fcntl` has no name for it
SIZE_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
WRITE_SEALS = fcntl.F_SEAL_SEAL | F_SEAL_FUTURE_WRITE
BLOCK = 512  # bytes, in which `st_blocks` counts
# Before Python 3.13, a mapping keeps a copy of its descriptor.
WITHOUT_COPY: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class Lease(ref):  # type: ignore[type-arg]
    """Tells when the last view of a call's buffers is gone. It refers to the object that all of them keep alive."""

    __slots__ = ("slab",)
    slab: ArgumentSlab


class ArgumentSlab:
    """A slab that the host writes, mapped read-only."""

    __slots__ = ("id", "lease", "mapping", "size", "type", "wire_id")

    def __init__(self, id: int, size: int, descriptor: int) -> None:
        self.mapping = map_for_reading(descriptor, size)
        self.id = id
        self.size = size
        self.type: Any = ctypes and ctypes.c_ubyte * size  # kept, since making a type takes longer than reading a call
        self.wire_id = 0  # of the last call that had its arguments here
        self.lease: Lease | None = None  # until the host is told that the views of this call are gone

    def exporter(self) -> Any:
        """Return an object with the bytes of the slab. Its views, their slices and arrays over them keep it alive."""
        # The first memoryview would not do: the others do not need it. The object keeps the mapping.
        return self.type.from_buffer(self.mapping)


class ResultSlab:
    """A slab that this worker writes."""

    __slots__ = ("id", "in_use", "is_sealed", "mapping", "size")

    def __init__(self, id: int, size: int, descriptor: int) -> None:
        self.mapping = mmap(descriptor, size, **WITHOUT_COPY)
        self.id = id
        self.size = size
        self.is_sealed = False
        self.in_use = False  # whether the host may still read it

    def seal(self, descriptor: int) -> None:
        """Let no other process map the slab writable. Raises `OSError`."""
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & WRITE_SEALS != WRITE_SEALS:
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, WRITE_SEALS)
        self.is_sealed = True


class Slabs:
    """The slabs that the host has passed to this worker."""

    def __init__(self, worker: Worker) -> None:
        if worker.slab_fd < 0:
            raise bad_slab("the host did not pass HERDER_SLAB_FD")
        self.worker = worker
        self.parts = worker.output.parts
        if worker.slab_socket is None:
            # In one step with its creation: a socket that an exception loses would close the descriptor.
            for self.worker.slab_socket in map(socket, (-1,), (-1,), (-1,), (worker.slab_fd,)):
                pass
        self.arguments: dict[int, ArgumentSlab] = {}
        self.results: dict[int, ResultSlab] = {}
        self.unmapped: dict[int, tuple[int, int]] = {}  # slabs for arguments that have no room: size and descriptor
        self.lost: set[int] = set()  # slabs for arguments for which this process had no descriptor
        self.released: deque[Lease] = deque()  # leases whose views are gone, and of which the host is not told yet
        # Each step of this iterator receives one message.
        sizes = (repeat(MESSAGE.size + 1), repeat(CMSG_LEN(4)), repeat(MSG_DONTWAIT | MSG_CMSG_CLOEXEC))
        channel: Any = worker.slab_socket
        self.messages = map(channel.recvmsg, *sizes)
        # The slab that is being received: each of these follows from the one before.
        self.message: Any = None
        self.arrived = (0, 0, 0)  # id, size, purpose
        self.descriptor = -1  # until it is closed

    @property
    def are_leased(self) -> bool:
        """Whether the host has not been told that all views are gone."""
        return any(slab.lease is not None for slab in self.arguments.values())

    # --- receiving ----------------------------------------------------------------------------------------------------

    def receive(self) -> None:
        """Receive and map the slabs that the host has sent. Raises `ProtocolError`, and `OSError` of the socket."""
        messages = self.messages
        while True:
            if self.message is None and self.descriptor < 0:
                try:
                    # No call between the system call and the assignment, or an exception could lose the descriptor.
                    for self.message in messages:
                        break
                except BlockingIOError:
                    return
            if self.message is not None:
                data, ancillary, received, _ = self.message
                if not data:  # the host has died
                    return
                descriptors = [each for _, kind, each in ancillary if kind == SCM_RIGHTS]
                if received & MSG_CTRUNC and not descriptors and MESSAGE.size == len(data):
                    # This process has no room for the descriptor: results travel in the frame, and the call that has
                    # its arguments there fails.
                    if data[16] == ARGUMENTS:
                        self.lost.add(MESSAGE.unpack(data)[0])
                    self.message = None
                    continue
                if len(data) != MESSAGE.size or len(descriptors) != 1:
                    raise bad_slab("a message has not 24 bytes and a descriptor")
                arrived, descriptor = MESSAGE.unpack(data), int.from_bytes(descriptors[0], sys.byteorder)
                self.arrived, self.descriptor, self.message = arrived, descriptor, None
            try:
                self.record(self.descriptor, *self.arrived)
            except OSError as error:  # only of a slab for arguments
                id, size, _ = self.arrived
                if error.errno != EMFILE:  # the call that needs it tries again, and the others go on
                    self.unmapped[id] = size, self.descriptor  # no call between this and the next two statements
                    self.descriptor = -1
                    continue
                # Before Python 3.13, a mapping needs a descriptor of its own. One that is kept until there is another
                # would fail each call that the host puts there.
                self.lost.add(id)
            for _ in map(os.close, (self.descriptor,)):
                self.descriptor = -1  # no call between this and the close

    def record(self, descriptor: int, id: int, size: int, purpose: int) -> None:
        """Map a slab. May be repeated. Raises `ProtocolError` and `OSError`."""
        if purpose == ARGUMENTS:
            if id not in self.arguments:
                check(descriptor, id, size, SIZE_SEALS | WRITE_SEALS)
                self.arguments[id] = ArgumentSlab(id, size, descriptor)
            return
        try:
            if id not in self.results:
                check(descriptor, id, size, SIZE_SEALS)
                self.results[id] = ResultSlab(id, size, descriptor)
            self.results[id].seal(descriptor)
        except OSError:  # no memory: results travel in the frame
            self.results.pop(id, None)

    def map_again(self, id: int) -> None:
        """Map a slab for which there was no room. Raises `OSError` if there is still none."""
        size, descriptor = self.unmapped[id]
        self.record(descriptor, id, size, ARGUMENTS)
        self.forget_unmapped(id)

    def forget_unmapped(self, id: int) -> None:
        """Close the descriptor of a slab that is not mapped, or no longer."""
        for _ in map(os.close, (self.unmapped[id][1],)):
            del self.unmapped[id]  # no call between this and the close

    # --- arguments ----------------------------------------------------------------------------------------------------

    def lease(self, wire_id: int, id: int, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return views of these ranges of a slab, the arguments of a call. `flush` gives it back when no view is left.

        Raises `ProtocolError` and `OSError`, and `CallRejection` if an exception has interrupted this before.
        """
        self.settle(wire_id)
        if id not in self.arguments:
            self.receive()
        if id in self.unmapped:
            self.map_again(id)
        if id in self.lost:
            raise OSError(
                EMFILE,
                "this process has no descriptor left for the memory with the arguments; "
                "close files, or raise the limit (ulimit -n)",
            )
        slab = self.arguments.get(id)
        if slab is None:
            raise bad_slab(f"call {wire_id} has its arguments in slab {id}, which was not passed")
        if slab.wire_id == wire_id:
            raise CallRejection("exception", "an exception interrupted the reading of the arguments")
        if slab.lease is not None:
            raise bad_slab(f"call {wire_id} has its arguments in slab {id}, which is in use")
        if any(end > slab.size for _, end in ranges):
            raise bad_slab(f"call {wire_id} has its arguments beyond the end of slab {id}")
        if ctypes is None:
            copies = [memoryview(slab.mapping[begin:end]) for begin, end in ranges]
            frame = frames.slab_frame(frames.SLAB_FREE, id)
            self.parts += (frame,)  # no call between these two
            slab.wire_id = wire_id
            return copies
        exporter = slab.exporter()
        lease = Lease(exporter, self.released.append)
        lease.slab = slab
        # No call between these two: the slab is leased to this call, or not at all (see `settle`).
        slab.lease = lease
        slab.wire_id = wire_id
        view = memoryview(exporter).cast("B").toreadonly()
        return [view[begin:end] for begin, end in ranges]

    def settle(self, current: int = 0) -> None:
        """Give back the slabs of calls that failed before they had a lease. `current`: the call that gets one now."""
        unleased = self.worker.unleased
        while unleased and unleased[0][0] != current:
            wire_id, id = unleased[0]
            slab = self.arguments.get(id)
            if slab is not None and slab.wire_id == wire_id:
                del unleased[0]
                continue
            frame = frames.slab_frame(frames.SLAB_DROP if id in self.lost else frames.SLAB_FREE, id)
            self.parts += (frame,)  # no call between this and the removal: the host is told once
            del unleased[0]
            self.lost.discard(id)

    def flush(self) -> None:
        """Give back the slabs whose views are gone: add this to the output."""
        self.settle()
        while self.released:
            slab = self.released[0].slab
            frame = frames.slab_frame(frames.SLAB_FREE, slab.id)
            self.parts += (frame,)  # no call between these three
            slab.lease = None
            del self.released[0]

    # --- results ------------------------------------------------------------------------------------------------------

    def place(self, buffers: Sequence[bytes | memoryview]) -> tuple[int, list[int]] | None:
        """Copy the buffers of a result into a slab. Return its id and their offsets, or None if no slab has room.

        The slab is `Worker.filling` until the result is added to the output. If it never is, see `take_back_unsent`.
        """
        offsets, end = [], 0
        for each in buffers:
            offsets.append(end)
            end += len(each) + -len(each) % PLACE
        slab = self.smallest(end)
        if slab is None:
            self.receive()
            slab = self.smallest(end)
            if slab is None:
                return None
        self.worker.filling = slab  # no call between these two
        slab.in_use = True
        # The pages are there already, and no other process writes them: this is one copy, and nothing waits.
        for each, offset in zip(buffers, offsets, strict=True):
            slab.mapping[offset : offset + len(each)] = each
        return slab.id, offsets

    def smallest(self, needed: int) -> ResultSlab | None:
        """Return the smallest free slab of at least `needed` bytes."""
        usable = (slab for slab in self.results.values() if slab.is_sealed and not slab.in_use)
        fitting = (slab for slab in usable if slab.size >= needed)
        return min(fitting, key=lambda slab: slab.size, default=None)

    def on_free(self, ids: tuple[int, ...]) -> None:
        """Use slabs again that the host has read."""
        for id in ids:
            if id in self.results:
                self.results[id].in_use = False

    def on_drop(self, ids: tuple[int, ...]) -> bytes:
        """Unmap slabs that the host no longer uses. Return the answer. May be repeated."""
        self.flush()
        self.receive()  # a slab that was not needed yet may be among them
        for id in ids:
            self.arguments.pop(id, None)
            self.results.pop(id, None)
            self.lost.discard(id)
            if id in self.unmapped:
                self.forget_unmapped(id)
        return frames.slab_frame(frames.SLAB_DROP, *ids)


def map_for_reading(descriptor: int, size: int) -> mmap:
    """Map a slab. Raises `OSError`."""
    if ctypes is None:
        return mmap(descriptor, size, access=ACCESS_READ, **WITHOUT_COPY)
    # A private mapping, since `from_buffer` takes no read-only one. It cannot be written after `mprotect`, and so it
    # never differs from what the host writes.
    mapping = mmap(descriptor, size, access=ACCESS_COPY, **WITHOUT_COPY)
    address = ctypes.c_void_p(ctypes.addressof(ctypes.c_ubyte.from_buffer(mapping)))
    if ctypes.CDLL(None, use_errno=True).mprotect(address, ctypes.c_size_t(size), PROT_READ):
        raise OSError(ctypes.get_errno(), "a slab cannot be mapped read-only")
    return mapping


def check(descriptor: int, id: int, size: int, seals: int) -> None:
    """Check that a slab has these seals and this size. Raises `ProtocolError`."""
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        raise bad_slab(f"slab {id} is no memory file") from None
    status = os.fstat(descriptor)
    # Without the seals, the host could shrink the file, and reading it would end this process. Pages that are not
    # allocated would be charged to this process.
    if found & seals != seals or not 0 < size == status.st_size or status.st_blocks * BLOCK < size:
        raise bad_slab(f"slab {id} lacks seals, or has another size than stated")


def bad_slab(reason: str) -> ProtocolError:
    """Return the error of a slab that the host has not passed as it must."""
    return ProtocolError("bad_slab", reason)
