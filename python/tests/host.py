"""A fake host: starts `python .../herder/__main__.py APP` with its socket pairs and exchanges frames with it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

from herder import frames

SOURCE = Path(__file__).resolve().parent.parent / "src"
TIMEOUT = 60  # seconds until a test that waits for a frame fails instead of hanging


class Answer:
    """The result or error frame of a call."""

    def __init__(self, kind, wire_id, body):
        self.kind, self.wire_id = kind, wire_id
        self.started, self.ended = frames.STAMPS.unpack_from(body)
        self.payload = body[frames.STAMPS_SIZE :]
        self.error = json.loads(self.payload) if kind == frames.ERROR else None

    @property
    def result(self):
        assert self.kind == frames.RESULT, self.error
        return json.loads(self.payload)

    @property
    def error_kind(self):
        assert self.error is not None, self.payload
        return self.error["kind"]


class FakeHost:
    """One worker process and the host's ends of its descriptors. `command` starts another executable as the worker."""

    def __init__(
        self,
        target,
        *,
        env=None,
        cwd=None,
        control=True,
        log=None,
        slabs=False,
        python=sys.executable,
        arguments=(),
        command=None,
        **hello,
    ):
        self.calls, worker_calls = socket.socketpair()
        self.control, worker_control = socket.socketpair()
        self.calls.settimeout(TIMEOUT)
        self.control.settimeout(TIMEOUT)
        self.log_socket, worker_log = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.log_socket.settimeout(TIMEOUT)
        worker_log.setblocking(False)
        self.slabs, worker_slabs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker_slabs.setblocking(False)
        scripts = [
            Path(each, "herder", "__main__.py") for each in (env or {}).get("PYTHONPATH", str(SOURCE)).split(":")
        ]
        script = next(filter(Path.exists, scripts))
        descriptors = {"HERDER_FD": worker_calls} | ({"HERDER_CTL_FD": worker_control} if control else {})
        descriptors |= {"HERDER_LOG_FD": worker_log} if log else {}
        descriptors |= {"HERDER_SLAB_FD": worker_slabs} if slabs else {}
        self.process = subprocess.Popen(
            command or [python, *arguments, str(script), str(target)],
            pass_fds=[each.fileno() for each in descriptors.values()],
            env={
                **os.environ,
                "PYTHONPATH": str(SOURCE),
                **{name: str(each.fileno()) for name, each in descriptors.items()},
                **({"HERDER_LOG_LEVEL": log} if log else {}),
                **(env or {}),
            },
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # so that `select` reports every unread line
        )
        worker_calls.close()
        worker_control.close()
        worker_log.close()
        worker_slabs.close()
        self.next_id = 0
        self.hello_sent = {
            "protocol": 1,
            "concurrency": 1,
            "pipeline": 1,
            "max_frame": 64 << 20,
            "session_state": True,
            "stream_window": 256 << 10,
        } | hello
        body = json.dumps(self.hello_sent).encode()
        self.calls.sendall(frames.frame(frames.HELLO, 0, body))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.calls.close()
        self.control.close()
        self.log_socket.close()
        self.slabs.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def ready(self):
        """Wait for hello and ready; decode both."""
        self.hello = json.loads(self.frame(frames.HELLO)[3])
        self.ready_message = json.loads(self.frame(frames.READY)[3])
        return self

    def frame(self, kind=None):
        """Receive the next frame: kind, flags, wire id, body."""
        length, received, flags, _, wire_id = frames.HEADER.unpack(receive_exactly(self.calls, 16))
        body = receive_exactly(self.calls, length)
        assert kind in (None, received), (kind, received, body)
        return received, flags, wire_id, body

    def start_error(self):
        """Wait for hello and for the error of a failed start; return the decoded error."""
        self.frame(frames.HELLO)
        return json.loads(self.frame(frames.ERROR)[3][frames.STAMPS_SIZE :])

    def answer(self):
        """Receive the next frame, which must answer a call."""
        kind, _, wire_id, body = self.frame()
        assert kind in (frames.RESULT, frames.ERROR), kind
        return Answer(kind, wire_id, body)

    def record(self):
        """Receive the next log record. Needs the option `log`, the level of the host's log."""
        return json.loads(self.log_socket.recv(1 << 16))

    def records(self, until):
        """Receive the log records up to the one with this message."""
        records = [self.record()]
        while records[-1].get("message") != until:
            records.append(self.record())
        return records

    def answers(self, count):
        """Receive `count` answers, by wire id."""
        return {answer.wire_id: answer for answer in (self.answer() for _ in range(count))}

    def pack_call(self, command, payload=b"{}", *, session=None, epoch=1, deadline=0, flags=0):
        """Return a new wire id and the frame of a call."""
        self.next_id += 1
        names = command.encode() + (session or "").encode()
        prefix = frames.PREFIX.pack(deadline, epoch, len(command.encode()), len((session or "").encode()))
        return self.next_id, frames.frame(frames.CALL, self.next_id, prefix + names + payload, flags)

    def send_headers(self, wire_id, **headers):
        """Send the headers of the call that gets this wire id, as an optional frame."""
        body = json.dumps({name.replace("_", "-"): value for name, value in headers.items()}).encode()
        self.calls.sendall(frames.frame(frames.HEADERS, wire_id, body, frames.OPTIONAL))

    def send(self, command, _payload=None, *, session=None, epoch=1, deadline=0, **arguments):
        """Send a call; return its wire id."""
        payload = json.dumps(arguments).encode() if _payload is None else _payload
        wire_id, data = self.pack_call(command, payload, session=session, epoch=epoch, deadline=deadline)
        self.calls.sendall(data)
        return wire_id

    def send_stream(self, command, *, session=None, **arguments):
        """Send a call whose caller takes a stream; return its wire id."""
        payload = json.dumps(arguments).encode()
        wire_id, data = self.pack_call(command, payload, session=session, flags=frames.STREAM)
        self.calls.sendall(data)
        return wire_id

    def credit(self, wire_id, count):
        """Send a credit on the control descriptor."""
        self.control.sendall(frames.frame(frames.CREDIT, wire_id, frames.CREDIT_BODY.pack(count)))

    def log_level(self, level):
        """Change the level of the log records, and wait until the control thread has handled the frame."""
        body = bytes((frames.LOG_LEVELS.index(level),))
        self.control.sendall(frames.frame(frames.LOG_LEVEL, 0, body) + frames.frame(frames.PING, 7))
        assert receive_exactly(self.control, 16)[4] == frames.PONG

    def chunk(self, wire_id):
        """Receive the next frame, which must be a chunk; return its value."""
        _, _, received, body = self.frame(frames.CHUNK)
        assert received == wire_id
        return json.loads(body)

    def stream(self, command, **options):
        """Send a call, give credit for each chunk, and return the items and the error, or None."""
        wire_id, items = self.send_stream(command, **options), []
        while True:
            kind, flags, received, body = self.frame()
            assert received == wire_id
            if kind != frames.CHUNK:
                break
            items.append(json.loads(body))
            self.credit(wire_id, frames.HEADER_SIZE + len(body))
        if kind == frames.RESULT:
            assert (flags, len(body)) == (frames.END_OF_STREAM, frames.STAMPS_SIZE)
        return items, Answer(kind, wire_id, body).error

    def call(self, command, _payload=None, **options):
        """Send a call and wait for its answer."""
        wire_id = self.send(command, _payload, **options)
        answer = self.answer()
        assert answer.wire_id == wire_id
        return answer

    def end_session(self, session, epoch=1, reason=1):
        """Send session_end."""
        self.calls.sendall(frames.frame(frames.SESSION_END, 0, frames.ENDING.pack(epoch, reason) + session.encode()))

    def cancel(self, wire_id, interrupt=False):
        """Send cancel on the control descriptor."""
        self.control.sendall(frames.frame(frames.CANCEL, wire_id, b"", frames.INTERRUPT if interrupt else 0))

    def revoke(self, wire_id):
        """Send revoke on the control descriptor."""
        self.control.sendall(frames.frame(frames.REVOKE, wire_id))

    def state(self):
        """Receive the next control frame, which must be an `attempt_state`: wire id and state."""
        length, kind, _, _, wire_id = frames.HEADER.unpack(receive_exactly(self.control, 16))
        assert (kind, length) == (frames.ATTEMPT_STATE, 1)
        return wire_id, receive_exactly(self.control, 1)[0]

    def ping(self, nonce=7):
        """Send a ping and wait for its pong. Skips answers to cancels and revokes."""
        self.control.sendall(frames.frame(frames.PING, nonce))
        while (header := receive_exactly(self.control, 16)) != frames.frame(frames.PONG, nonce):
            assert header[4] == frames.ATTEMPT_STATE
            receive_exactly(self.control, 1)

    def shutdown(self):
        """Send shutdown on the control descriptor."""
        self.control.sendall(frames.frame(frames.SHUTDOWN))

    def wait_for_exit(self):
        """Wait for the exit; return the status, standard output and standard error."""
        out, err = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, out.decode(), err.decode()

    def wait_for_line(self):
        """Wait for the next line that the worker prints."""
        if not select.select([self.process.stdout], [], [], TIMEOUT)[0]:  # noqa: TID251 (fails instead of hanging)
            raise TimeoutError("the worker printed nothing")
        return self.process.stdout.readline().decode().rstrip("\n")

    def kill(self, number=signal.SIGKILL):
        """Send a signal to the worker."""
        self.process.send_signal(number)


def receive_exactly(stream, count):
    """Receive `count` bytes. Raises EOFError."""
    data = bytearray()
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise EOFError(f"the stream ended after {len(data)} of {count} bytes")
        data += more
    return bytes(data)


def write_app(folder, text, name="workers.py"):
    """Write an application file; return its target for the command line."""
    path = folder / name
    path.write_text(
        "import asyncio, os, sys, threading, time\nimport herder\napp = herder.App()\n" + textwrap.dedent(text)
    )
    return f"{path}:app"
