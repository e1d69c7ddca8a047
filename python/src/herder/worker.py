"""One worker process from its first to its last line: descriptors, signals, hello, loading, ready, the loop.

Owns everything of the process that Herder's side needs. The application's code runs only from the loop and the hooks.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

from herder import answers, bytecode, frames, signals, stdlib
from herder.call import calls
from herder.codec import decode, encode
from herder.errors import ProtocolError, CallRejection, StartFailed
from herder.load import load
from herder.pipe import OutputBuffer, is_stream_error, read_frame, write_all
from herder.session import Sessions
from herder.text import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from herder.aio import Server
    from herder.app import App
    from herder.binding import Command

USAGE = """\
Herder runs this for each of its workers; by itself it has nobody to talk to.
Start a server with workers of your application:

    herder serve {app}

APP is `module:app` or `path/to/file.py:app`.
"""


class Worker:
    """The state of one worker process."""

    def __init__(self, fd: int, hello: dict[str, Any]) -> None:
        self.fd = fd
        self.output = OutputBuffer(fd)  # what the loop has to write
        self.calls = calls
        self.concurrency: int = hello["concurrency"]
        self.pipeline: int = hello["pipeline"]
        self.max_frame: int = hello["max_frame"]
        # A call that the host may have sent and the loop has not read must not be forgotten: it would run.
        self.calls.remembered = max(self.calls.remembered, 2 * self.concurrency * self.pipeline)
        limit = hello.get("session_end_timeout_ms")
        self.hook_limit = None if limit is None else limit / 1000  # seconds
        state = hello["session_state"]
        self.sessions = Sessions(state if isinstance(state, str) else None)
        self.app: App
        self.commands: dict[str, Command] = {}
        self.run_hook: Callable[..., Any] = _call
        self.interrupt: Callable[[Worker, FrameType | None], None] | None = None
        self.attempt_state: Callable[[int], int] = calls.state  # where a call is that was cancelled
        self.cancel_task: Callable[[int, bool], None] | None = None  # of the asyncio loop, when there is one
        self.interrupting: set[int] = set()  # calls of the asyncio loop: what they started may be interrupted too
        self.wake: Callable[[], None] | None = None
        self.aio: Server | None = None


def _call(hook: Callable[..., Any], *arguments: Any) -> None:
    result = hook(*arguments)
    if hasattr(result, "__await__"):  # it would never run
        getattr(result, "close", lambda: None)()
        name = getattr(hook, "__qualname__", hook)
        raise TypeError(f"hook {name} returned an awaitable but is not an async function; declare it with `async def`")


def main(arguments: list[str]) -> int:
    """Be a worker; the exit status. 0: told to end, or the host has gone. 1: the start failed. 2: misused."""
    if len(arguments) != 1 or "HERDER_FD" not in os.environ:
        app = arguments[0] if len(arguments) == 1 else "my_workers.py:app"
        sys.stderr.write(USAGE.format(app=app))
        return 2
    fd = int(os.environ.pop("HERDER_FD"))
    control_fd = int(os.environ.pop("HERDER_CTL_FD", "-1"))
    _own([each for each in (fd, control_fd) if each >= 0])
    signals.install()
    _streams()
    bytecode.restore()
    stdlib.install()
    try:
        worker = _hello(fd, control_fd)
        if worker is None:
            return 0
        if not _start(worker, arguments[0]):
            return 1
        return _serve(worker)
    except ProtocolError as error:
        answers.log(f"herder: protocol error from the host ({error.name}): {error}")
        return 1
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the host has gone
    finally:
        signals.restore_sigterm()  # what runs at exit may never return


def _own(fds: list[int]) -> None:
    """Keep the descriptors out of other programs and of forks: whoever else holds one would hide this worker's death.

    A fork gets /dev/null in their place: closed numbers would soon be files of its own, which the loop might write to.
    """
    for fd in fds:
        os.set_inheritable(fd, False)

    def forked() -> None:
        calls.forked = True
        try:
            null = os.open(os.devnull, os.O_RDWR)
        except OSError:  # no descriptor is left
            for fd in fds:
                os.close(fd)
            return
        for fd in fds:
            os.dup2(null, fd, inheritable=False)
        os.close(null)

    os.register_at_fork(after_in_child=forked)


def _streams() -> None:
    """Make both streams UTF-8 whatever the locale, so that no text that a handler prints raises."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore
        except (AttributeError, OSError, ValueError):  # `sitecustomize` replaced or closed the stream
            pass


def _hello(fd: int, control_fd: int) -> Worker | None:
    """Read the host's hello, answer it, and start the control thread. None: the host has gone."""
    frame = read_frame(fd)
    if frame is None:
        return None
    if frame[0] != frames.HELLO:
        raise ProtocolError("out_of_order", f"the first frame must be a hello, but has kind {frame[0]}")
    try:
        worker = Worker(fd, parse_hello(frame[1]))
    except ProtocolError as error:
        write_all(fd, answers.error_frame(0, {"kind": "start_failed", "message": text(error)}))
        raise
    interruptible(worker)
    hello = {
        "protocol": frames.PROTOCOL,
        "pid": os.getpid(),
        "window": worker.concurrency * worker.pipeline,
        "control": control_fd >= 0,
        "stack_signal": int(signal.SIGUSR1),
    }
    write_all(fd, frames.frame(frames.HELLO, 0, encode(hello)))
    if control_fd >= 0:
        from herder.control import Control

        signals.hold_sigterm()
        Control(control_fd, worker).start()
    return worker


def interruptible(worker: Worker) -> None:
    """Install the handler of SIGUSR2, by which the control thread breaks a call."""

    def handler(_signal: int, frame: FrameType | None) -> None:
        if worker.interrupt is not None:
            worker.interrupt(worker, frame)

    signal.signal(signal.SIGUSR2, handler)


LIMITS = ("concurrency", "pipeline", "max_frame")


def parse_hello(body: bytes) -> dict[str, Any]:
    """The host's hello, checked. Raises `ProtocolError`; another protocol is named first, whatever else differs."""
    try:
        hello = decode(body)
        protocol = hello["protocol"]
    except (CallRejection, KeyError, TypeError, IndexError):
        raise ProtocolError("malformed_json", "a hello must be a JSON object with the key `protocol`") from None
    if protocol != frames.PROTOCOL:
        text = f"the host uses protocol version {protocol}, this worker uses version {frames.PROTOCOL}"
        raise ProtocolError("protocol_mismatch", text)
    state = hello.get("session_state")
    if not (state is True or isinstance(state, str)):
        raise ProtocolError("malformed_json", "hello: `session_state` is invalid; expected true or a string")
    for key in LIMITS:
        if type(hello.get(key)) is not int or hello[key] < 0:
            raise ProtocolError("malformed_json", f"hello: `{key}` is invalid; expected a positive integer")
        if hello[key] == 0:
            raise ProtocolError("zero_limit", f"hello: `{key}` is 0; it must be at least 1")
    limit = hello.get("session_end_timeout_ms", 1)
    if type(limit) is not int or limit < 1:
        raise ProtocolError("malformed_json", "hello: `session_end_timeout_ms` is invalid; expected a positive integer")
    checked: dict[str, Any] = hello
    return checked


def _start(worker: Worker, target: str) -> bool:
    """Load the application, run its hooks, say ready. False: it failed, and the host was told why."""
    try:
        worker.app = load(target)
        worker.commands = worker.app._commands()
        with stdlib.prefer_stdlib():  # what is imported here is not to be found in the application's folders
            if worker.app._uses_asyncio():
                from herder import aio

                aio.prepare(worker)
            _import_the_rest(worker)
        for hook in worker.app._on_start:
            worker.run_hook(hook)
    except BaseException as error:
        if calls.forked:
            os._exit(1)
        _start_failed(worker, error, target)
        return False
    gc.collect()
    gc.freeze()  # what is here now stays: no collection need look at it again
    ready = frames.frame(frames.READY, 0, encode(_ready(worker)))
    worker.output.parts += (ready,)  # the loop writes it: an exception of a signal handler cannot cut it off
    return True


def _import_the_rest(worker: Worker) -> None:
    """Import whatever the worker may need later: a hook may drop the rights to read these files."""
    try:
        stdlib.module("traceback")
    except Exception:  # the application has replaced a module that it needs: tracebacks have no source lines
        pass
    if worker.wake is None:
        from herder import loop  # noqa: F401


def _ready(worker: Worker) -> dict[str, Any]:
    commands = [{"name": command.name, "idempotent": command.idempotent} for command in worker.commands.values()]
    if worker.wake is not None:
        return {"commands": commands}
    # Only sync handlers: one call at a time, plus `pipeline` waiting.
    return {"commands": commands, "window": worker.pipeline}


def _start_failed(worker: Worker, error: BaseException, target: str) -> None:
    """Send the reason to the host, which logs it. It is not printed, or it would be in the log twice."""
    message, refused = text(error), issubclass(type(error), StartFailed)
    try:
        from herder import explain

        message = text(explain.with_hints(message, error, target))
        error = error.with_traceback(explain.trimmed(error.__traceback__))
    except BaseException:  # the exception raises, or a hook has dropped the rights to read this package
        pass
    fields = {} if refused else answers.raised("start_failed", error)
    fields = {**fields, "kind": "start_failed", "message": message}
    write_all(worker.fd, answers.error_frame(0, fields, max_frame=worker.max_frame))


def _serve(worker: Worker) -> int:
    if worker.wake is not None:
        from herder import aio as chosen
    else:
        from herder import loop as chosen  # type: ignore[no-redef]
    worker.interrupt = chosen.interrupt
    while True:
        try:
            chosen.serve(worker)
            return 0
        except BaseException as error:
            if is_stream_error(error):
                raise
            answers.log_unhandled(error)
