"""The control thread: pings, cancels and shutdown, served while the main thread is busy.

It owns the control descriptor. It never runs the application's code, and never writes to the calls descriptor.
"""

from __future__ import annotations

import os
import select
import signal
from _thread import get_ident, start_new_thread

from herder import frames, signals
from herder.errors import ProtocolError
from herder.pipe import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from herder.worker import Worker

RESIGNAL_INTERVAL = 10  # milliseconds between two signals, when the first one met the loop and not the handler


class Control:
    """What the control thread knows: the descriptor, the worker it belongs to, and the thread to signal."""

    def __init__(self, fd: int, worker: Worker) -> None:
        self.fd = fd
        self.worker = worker
        self.main = get_ident()
        self.poll = select.poll()
        self.poll.register(fd, select.POLLIN)

    def start(self) -> None:
        """Begin, in a thread of its own. `_thread`, not `threading`: 0.7 MiB less, and nothing waits for it at exit."""
        start_new_thread(self.serve, ())

    def serve(self) -> None:
        """Until the end. When the host has gone, so does the process: at once, whatever the main thread does."""
        try:
            self._read()
        except OSError:
            pass  # reset: the host died
        except ProtocolError as error:
            os.write(2, f"herder: protocol error on the control descriptor ({error.name}): {error}\n".encode())
            os._exit(1)
        if not self.worker.calls.forked:
            os._exit(0)

    def _read(self) -> None:
        data = b""
        while True:
            if self._signalling() and not self.poll.poll(RESIGNAL_INTERVAL):
                continue
            more = os.read(self.fd, 4096)
            if not more:
                return
            data += more
            while len(data) >= frames.HEADER_SIZE:
                length, kind, flags, reserved, wire_id = frames.HEADER.unpack_from(data)
                end = frames.HEADER_SIZE + length
                known = frames.check_header(length, kind, flags, reserved, wire_id, self.worker.max_frame)
                if len(data) < end:
                    break
                data = data[end:]
                if known:
                    self._on_frame(kind, flags, wire_id)

    def _on_frame(self, kind: int, flags: int, wire_id: int) -> None:
        if kind == frames.PING:
            write_all(self.fd, frames.frame(frames.PONG, wire_id))
        elif kind == frames.CANCEL:
            self.cancel(wire_id, bool(flags & frames.INTERRUPT))
        elif kind == frames.SHUTDOWN:
            self.shutdown()
        else:
            raise ProtocolError("out_of_order", f"unexpected frame of kind {kind} on the control descriptor")

    def cancel(self, wire_id: int, interrupt: bool) -> None:
        """Mark the call, tell the host where it is, and ask its task to stop.

        Marked first, then looked at: the loop does these two the other way round, so that a call that is said to have
        not begun never does.
        """
        worker = self.worker
        worker.calls.cancel(wire_id, interrupt)
        state = worker.attempt_state(wire_id)
        write_all(self.fd, frames.frame(frames.ATTEMPT_STATE, wire_id, bytes((state,))))
        if worker.cancel_task is not None:
            worker.cancel_task(wire_id, interrupt)

    def _signalling(self) -> bool:
        """Signal the running call if it is to be interrupted. True: look again, the loop's own frame ignores it.

        A task that a handler started may run while none of the handlers does; only the main thread knows whose it is.
        """
        calls = self.worker.calls
        running = calls.running
        if not (self.worker.interrupting or (running and calls.cancelled.get(running))):
            return False
        signal.pthread_kill(self.main, signal.SIGUSR2)
        return True

    def shutdown(self) -> None:
        """Let the main loop finish what it received. It sits in a read, which a signal alone would only restart.

        So first the descriptor stops blocking: the read that is restarted then says that nothing is there. Data that
        came before is returned by it, never lost. From now on SIGTERM ends the process.
        """
        signals.restore_sigterm()
        worker = self.worker
        worker.calls.closing = True
        if worker.wake is not None:
            worker.wake()
            return
        os.set_blocking(worker.fd, False)
        if not worker.calls.running:  # the signal would break C code of a handler; the read after it does not block
            signal.pthread_kill(self.main, signal.SIGUSR2)
