"""The control thread: handles pings, cancels, credits, log levels and the shutdown while the main thread is busy.

It owns the control descriptor. It never runs the application's code and never writes to the calls descriptor.
"""

from __future__ import annotations

import os
import select
import signal
from _thread import get_ident, start_new_thread

from herder import frames, log_hooks, signals
from herder.descriptor_io import write_all
from herder.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from herder.worker import Worker

RESIGNAL_INTERVAL = 10  # milliseconds between signals while an interrupt is not delivered


class Control:
    """The state of the control thread: its descriptor, its worker, and the main thread's id."""

    def __init__(self, fd: int, worker: Worker) -> None:
        self.fd = fd
        self.worker = worker
        self.main_thread = get_ident()
        self.poll = select.poll()
        self.poll.register(fd, select.POLLIN)

    def start(self) -> None:
        """Start the thread."""
        # `_thread`, not `threading`: that takes 0.7 MiB, and the exit would wait for the thread.
        start_new_thread(self.serve, ())

    def serve(self) -> None:
        """Handle frames until the host closes the descriptor; then end the process, whatever the main thread does."""
        try:
            self._read_frames()
        except OSError:
            pass  # connection reset: the host has died
        except ProtocolError as error:
            os.write(2, f"herder: protocol error on the control descriptor ({error.name}): {error}\n".encode())
            os._exit(1)
        if not self.worker.calls.forked:
            os._exit(0)

    def _read_frames(self) -> None:
        data = b""
        while True:
            if self._signal_if_interrupted() and not self.poll.poll(RESIGNAL_INTERVAL):
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
                body, data = data[frames.HEADER_SIZE : end], data[end:]
                if known:
                    self._on_frame(kind, flags, wire_id, body)

    def _on_frame(self, kind: int, flags: int, wire_id: int, body: bytes) -> None:
        if kind == frames.PING:
            write_all(self.fd, frames.frame(frames.PONG, wire_id))
        elif kind == frames.CANCEL:
            self.cancel(wire_id, bool(flags & frames.INTERRUPT))
        elif kind == frames.REVOKE:
            self.revoke(wire_id)
        elif kind == frames.CREDIT:
            self.add_credit(wire_id, frames.credit(body))
        elif kind == frames.LOG_LEVEL:
            log_hooks.change_level(frames.log_level(body))
        elif kind == frames.SHUTDOWN:
            self.shutdown()
        else:
            raise ProtocolError("out_of_order", f"unexpected frame of kind {kind} on the control descriptor")

    def cancel(self, wire_id: int, interrupt: bool) -> None:
        """Mark the call as cancelled, send its state to the host, and cancel its task."""
        worker = self.worker
        # First mark, then read the state: the loop does the opposite (see `Calls.state` and `Runner.state`). So a call
        # that is reported as "withdrawn" to the host never runs.
        worker.calls.cancel(wire_id, interrupt)
        state = worker.attempt_state(wire_id)
        write_all(self.fd, frames.frame(frames.ATTEMPT_STATE, wire_id, bytes((state,))))
        stream = worker.find_stream(wire_id)
        if stream is not None:
            stream.wake()  # it may wait for credit
        if worker.cancel_task is not None:
            worker.cancel_task(wire_id, interrupt)

    def add_credit(self, wire_id: int, count: int) -> None:
        """Allow a stream to send `count` more bytes, if it has not ended."""
        stream = self.worker.find_stream(wire_id)
        if stream is not None:
            stream.add_credit(count)

    def revoke(self, wire_id: int) -> None:
        """Take a call back if it has not begun, otherwise do nothing. Send its state to the host."""
        worker = self.worker
        state = worker.calls.revoke(wire_id, worker.attempt_state)
        write_all(self.fd, frames.frame(frames.ATTEMPT_STATE, wire_id, bytes((state,))))
        if state == frames.WITHDRAWN and worker.cancel_task is not None:
            worker.cancel_task(wire_id, False)  # the loop answers the call now

    def _signal_if_interrupted(self) -> bool:
        """Signal the main thread if the running call is to be interrupted. Return whether to check again soon."""
        # One signal may not be enough: the signal handler ignores it while Herder's own frame or an import runs.
        # A task that a handler started may run while no handler does, and only the main thread can determine to which
        # call it belongs. So the signal is also sent while any call is in `interrupting`.
        calls = self.worker.calls
        running = calls.running
        if not (self.worker.interrupting or (running and calls.cancelled.get(running))):
            return False
        signal.pthread_kill(self.main_thread, signal.SIGUSR2)
        return True

    def shutdown(self) -> None:
        """Make the main loop answer the calls that it has received and then end. SIGTERM ends the process from now.

        Except in an app with `on_stop` hooks or a lifespan: there, when these have ended.
        """
        worker = self.worker
        # A service manager may send SIGTERM to all processes again while the app stops. So it stays ignored meanwhile,
        # and `Lifecycle` limits the time.
        if worker.lifecycle is None or worker.stop_limit is None:
            signals.restore_sigterm()
        worker.calls.closing = True
        if worker.request_shutdown is not None:
            worker.request_shutdown()
            return
        # The main thread usually waits in a read of the calls descriptor. A signal alone does not end it: Python
        # restarts a read after a signal (PEP 475). So the descriptor becomes non-blocking first. The restarted read
        # then returns the data that has arrived, or fails with `BlockingIOError` if there is none. No data is lost.
        os.set_blocking(worker.fd, False)
        # No signal while a handler runs: its C code may fail with EINTR. It is not needed either, since the next read
        # does not block.
        if not worker.calls.running:
            signal.pthread_kill(self.main_thread, signal.SIGUSR2)
