"""Runs one worker process: prepares descriptors and signals, exchanges hellos, loads the app, and runs the main loop.

Owns the state of the process that Herder needs. Code of the application runs in its import, its hooks and its handlers.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from functools import partial

from herder import bytecode, error_frames, frames, log_hooks, log_output, signals, stdlib
from herder.call import calls
from herder.codec import decode, encode, is_orjson_installed
from herder.descriptor_io import OutputBuffer, is_stream_error, read_frame, write_all
from herder.errors import CallRejection, ProtocolError, StartFailed
from herder.load import load
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
    from herder.buffers import ResultEncoder, Section
    from herder.lifecycle import Lifecycle
    from herder.slabs import ResultSlab, Slabs
    from herder.streams import Stream
    from herder.template import Loaded

USAGE = """\
Herder runs this program for each of its workers; it does nothing when started by hand.
To start a server with workers of your application:

    herder serve {app}

APP is `module:app` or `path/to/file.py:app`.
"""


class Worker:
    """The state of one worker process."""

    def __init__(self, fd: int, hello: dict[str, Any], slab_fd: int = -1) -> None:
        self.fd = fd
        self.slab_fd = slab_fd  # -1: buffers travel in frames only
        self.output = OutputBuffer(fd)  # what the loop must write
        self.calls = calls
        self.concurrency: int = hello["concurrency"]
        self.pipeline: int = hello["pipeline"]
        self.max_frame: int = hello["max_frame"]
        self.calls.max_frame = self.max_frame
        self.stream_window: int = hello.get("stream_window", 1)  # bytes of a stream that the consumer has not taken
        # The host may have sent, and cancelled or revoked, this many calls that the loop has not read yet. Their marks
        # must not be dropped, or the calls would run.
        self.calls.max_cancels = max(self.calls.max_cancels, 2 * self.concurrency * self.pipeline)
        limit = hello.get("session_end_timeout_ms")
        self.hook_limit = None if limit is None else limit / 1000  # seconds
        state = hello["session_state"]
        self.sessions = Sessions(state if isinstance(state, str) else None)
        self.app: App
        self.commands: dict[str, Command] = {}
        self.described: list[Any] = []  # the commands as `ready` describes them
        self.decode: Callable[[bytes | memoryview], Any] = decode  # for arguments
        self.encode: Callable[[Any], bytes]  # for results
        self.make_codec: Any = None  # `orjson_codec.make_codec`, until it has been called
        self.section_reader: Callable[[int, memoryview, int], Section] | None = None  # `buffers.read_section`
        self.buffer_encoder: ResultEncoder | None = None  # for callers that take buffers
        self.slabs: Slabs | None = None  # once they are needed
        self.slab_socket: Any = None
        self.unleased: list[tuple[int, int]] = []  # wire ids of calls that are read, and the slabs of their arguments
        self.filling: ResultSlab | None = None  # the slab with the result that is not added to the output yet
        self.run_hook: Callable[..., Any] = _run_sync_hook
        self.interrupt: Callable[[Worker, FrameType | None], None] | None = None
        self.attempt_state: Callable[[int], int] = calls.state  # returns the state of a cancelled call
        self.find_stream: Callable[[int], Stream | None] = _no_stream  # returns the stream of a running call
        # The rest is set in an app with async handlers or hooks: see `aio.prepare`.
        # Handles a cancel in the event loop, and also other news for the stream of a call.
        self.cancel_task: Callable[[int, bool], None] | None = None
        self.interrupting: set[int] = set()  # calls whose tasks may be interrupted too
        self.request_shutdown: Callable[[], None] | None = None
        self.aio: Server | None = None
        limit = hello.get("stop_timeout_ms")
        self.stop_limit = None if limit is None else limit / 1000  # seconds from the shutdown message to the exit
        self.starts_sessions = False  # whether `on_session_start` hooks run
        self.lifecycle: Lifecycle | None = None  # set in an app with a lifespan or `on_stop` hooks

    def end_hooks(self, session: str, epoch: int) -> list[Callable[..., Any]]:
        """Return the `on_session_end` hooks of a session: none if a hook of its start raised."""
        began = not self.starts_sessions or (session, epoch) in self.sessions.started
        return self.app._on_session_end if began else []

    def result_parts(
        self, name: str, head: tuple[int, int, int], value: Any, takes_buffers: bool, copy: bool = False
    ) -> list[Any]:
        """Return the parts of the `result` frame of a call with buffers. `buffers` explains the parameters.

        When they are added to the output, `filling` must become None with no call in between. Raises `CallRejection`.
        """
        if not takes_buffers:
            payload = self.encode(value)
            size = frames.STAMPS_SIZE + len(payload)
            if size > self.max_frame:
                raise error_frames.result_too_large(name, size, self.max_frame)
            return [frames.RESULT_HEAD.pack(size, frames.RESULT, *head), payload]
        from herder import buffers  # most workers never need it

        if self.buffer_encoder is None:
            self.buffer_encoder = buffers.ResultEncoder(self.app._encoders, self.app._nan_as_null)
        return self.buffer_encoder.answer(self, name, head, value, copy)

    def read_section(self, wire_id: int, body: bytes | memoryview, begin: int) -> Section | Unreadable:
        """Read the arguments of a call with buffers, which begin at the offset `begin` of its body.

        Raises `ProtocolError`.
        """
        if self.section_reader is None:
            try:
                from herder.buffers import read_section  # most workers never need it
            except (ImportError, OSError) as error:  # a hook has dropped the rights to read it
                return Unreadable(error)
            self.section_reader = read_section
        return self.section_reader(wire_id, memoryview(body).toreadonly(), begin)

    def get_slabs(self) -> Slabs:
        """Return the slabs. Raises `ProtocolError` if this worker cannot have any."""
        if self.slabs is None:
            from herder.slabs import Slabs  # most workers never need it

            self.slabs = Slabs(self)
        return self.slabs

    def take_back_unsent(self) -> None:
        """Use the slab again into which a result was copied that was not sent: an exception has come before."""
        if self.filling is not None:
            self.filling.in_use = False
            self.filling = None

    def return_slabs(self) -> None:
        """Add to the output which slabs the host may use again."""
        if self.slabs is None:
            if not self.unleased:
                return
            try:
                self.get_slabs()
            except (ImportError, OSError):  # a hook has dropped the rights to read it, or there are no descriptors
                return  # the answer matters more: the next call with buffers tries again
        assert self.slabs is not None
        self.slabs.flush()

    def stop_app(self) -> None:
        """Run the `on_stop` hooks after a shutdown, once. Called when all calls are answered; logs exceptions."""
        # Not after an end of file: the host has died.
        if self.lifecycle is not None and self.calls.closing:
            self.lifecycle.stop()


class Unreadable:
    """The arguments of a call with buffers in a worker that cannot import what reads them."""

    leased = ()
    takes_buffers = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    def arguments(self, _worker: Worker, _command: Command) -> Any:
        """Raise the error."""
        raise self.error


def _no_stream(_wire_id: int) -> None:
    return None


def _run_sync_hook(hook: Callable[..., Any], *arguments: Any) -> Any:
    result = hook(*arguments)
    if hasattr(result, "__await__"):  # nothing would await it
        getattr(result, "close", lambda: None)()
        name = getattr(hook, "__qualname__", hook)
        raise TypeError(f"hook {name} returned an awaitable but is not an async function; declare it with `async def`")
    return result


def main(arguments: list[str], installed: dict[str, str] | None = None) -> int:
    """Run a worker. Return the exit status: 0 after a shutdown or the host's death, 1 on failure, 2 on misuse.

    `installed` describes the installed copy of this package (see `installed.choose`).
    """
    if len(arguments) != 1 or "HERDER_FD" not in os.environ:
        app = arguments[0] if len(arguments) == 1 else "my_workers.py:app"
        sys.stderr.write(USAGE.format(app=app))
        return 2
    fd = int(os.environ.pop("HERDER_FD"))
    control_fd = int(os.environ.pop("HERDER_CTL_FD", "-1"))
    log_fd = int(os.environ.pop("HERDER_LOG_FD", "-1"))
    slab_fd = int(os.environ.pop("HERDER_SLAB_FD", "-1"))
    log_level = os.environ.pop("HERDER_LOG_LEVEL", "")
    fresh_folders = os.environ.pop("HERDER_FRESH_SOURCES", "")
    terminal = os.environ.pop("HERDER_TERMINAL", "")
    is_template = "HERDER_TEMPLATE" in os.environ
    protected = [] if is_template else [each for each in (fd, control_fd, slab_fd) if each >= 0]
    _protect_descriptors(protected)
    signals.install()
    _reconfigure_streams()
    bytecode.restore_environment()
    stdlib.install()
    _prepare_debuggers(terminal)
    if log_fd >= 0:
        log_hooks.install(log_fd, log_level)
    if fresh_folders:
        from herder import fresh_sources

        fresh_sources.install(fresh_folders)
    loaded = None
    if is_template:
        from herder import template

        loaded = template.run(fd, control_fd, log_fd, slab_fd, arguments[0])
        if loaded is None:
            return 1
        # From here on, this process is a fork: a worker like any other, except that the app is imported.
        calls.forked = False
        protected += [each for each in (fd, control_fd, slab_fd) if each >= 0]
    try:
        worker = _exchange_hellos(fd, control_fd, slab_fd, installed)
        if worker is None:
            return 0
        if not _start_app(worker, arguments[0], loaded):
            return 1
        return _serve(worker)
    except ProtocolError as error:
        error_frames.log(f"herder: protocol error from the host ({error.name}): {error}")
        return 1
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the host has died
    finally:
        log_output.output.finish()
        signals.restore_sigterm()  # `atexit` functions of the application may hang: SIGTERM must end the process then


def _protect_descriptors(fds: list[int]) -> None:
    """Keep the descriptors out of forks and of programs that the application starts."""
    # The host detects the death of a worker by the end of its stream. If another process held a descriptor, the stream
    # would not end. A fork gets /dev/null in place of each descriptor. They are not just closed: the numbers would soon
    # be used for other files of the fork, and code of the loop that still runs there could write to those.
    for fd in fds:
        os.set_inheritable(fd, False)

    # A setter in C and not a line of `on_fork`: an exception that another thread raises in the forking one could come
    # before that line (see `descriptor_io`). Without the mark, the child would go on as a second worker.
    os.register_at_fork(after_in_child=partial(setattr, calls, "forked", True))

    def on_fork() -> None:
        try:
            null = os.open(os.devnull, os.O_RDWR)
        except OSError:  # too many open files: close the descriptors instead
            for fd in fds:
                os.close(fd)
            return
        for fd in fds:
            os.dup2(null, fd, inheritable=False)
        os.close(null)

    os.register_at_fork(after_in_child=on_fork)


def _reconfigure_streams() -> None:
    """Set standard output and standard error to UTF-8 in every locale, so that printing never raises."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore
        except (AttributeError, OSError, ValueError):  # `sitecustomize` has replaced or closed the stream
            pass


def _prepare_debuggers(terminal: str) -> None:
    """Let debuggers use the host's terminal, if it lends one; otherwise let `breakpoint()` say what to do."""
    if terminal:
        from herder import breakpoints

        log_hooks.HOOKS["pdb"] = partial(breakpoints.install, path=terminal)
    elif not os.environ.get("PYTHONBREAKPOINT"):  # a debugger named there may need no terminal
        sys.breakpointhook = refuse_breakpoint


def refuse_breakpoint(*arguments: Any, **options: Any) -> Any:
    """Raise an error instead of a prompt that nobody can answer. The default debugger would read /dev/null."""
    if os.environ.get("PYTHONBREAKPOINT"):  # set by the application
        return sys.__breakpointhook__(*arguments, **options)  # noqa: T100
    raise RuntimeError(
        "breakpoint() needs a terminal, which this worker does not have; run the app with `herder dev` at a terminal "
        "(standard input must be the terminal), or set PYTHONBREAKPOINT to a debugger that needs none (0: ignore)"
    )


def _exchange_hellos(fd: int, control_fd: int, slab_fd: int, installed: dict[str, str] | None) -> Worker | None:
    """Read the host's hello, answer it, and start the control thread. Return None if the host has died."""
    frame = read_frame(fd)
    if frame is None:
        return None
    if frame[0] != frames.HELLO:
        raise ProtocolError("out_of_order", f"the first frame must be a hello, but has kind {frame[0]}")
    try:
        worker = Worker(fd, parse_hello(frame[1]), slab_fd)
    except ProtocolError as error:
        write_all(fd, error_frames.error_frame(0, {"kind": "start_failed", "message": text(error)}))
        raise
    install_interrupt_handler(worker)
    hello: dict[str, Any] = {
        "protocol": frames.PROTOCOL,
        "pid": os.getpid(),
        "window": worker.concurrency * worker.pipeline,
        "control": control_fd >= 0,
        "stack_signal": int(signal.SIGUSR1),
        "buffers": True,
        "slabs": slab_fd >= 0,
        "log_level": log_output.output.fd >= 0,
    }
    if installed is not None:
        # Names of directories may have any bytes, which JSON cannot have.
        hello["installed"] = {name: text(value) for name, value in installed.items()}
    write_all(fd, frames.frame(frames.HELLO, 0, encode(hello)))
    if control_fd >= 0:
        from herder.control import Control

        signals.hold_sigterm()  # before the thread runs, which may restore SIGTERM at once
        Control(control_fd, worker).start()
    return worker


def install_interrupt_handler(worker: Worker) -> None:
    """Install the handler of SIGUSR2, the signal with which the control thread interrupts a call."""

    def handler(_signal: int, frame: FrameType | None) -> None:
        if worker.interrupt is not None:
            worker.interrupt(worker, frame)

    signal.signal(signal.SIGUSR2, handler)


LIMITS = ("concurrency", "pipeline", "max_frame")
OPTIONAL_LIMITS = ("session_end_timeout_ms", "stop_timeout_ms", "stream_window")  # absent: no limit, or no streams


def parse_hello(body: bytes) -> dict[str, Any]:
    """Decode and check the host's hello. Raises `ProtocolError`; the protocol version is checked first."""
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
        raise ProtocolError("malformed_json", "hello: `session_state` is invalid; allowed: true or a string")
    for key in LIMITS:
        if type(hello.get(key)) is not int or hello[key] < 0:
            raise ProtocolError("malformed_json", f"hello: `{key}` is invalid; allowed: a positive integer")
        if hello[key] == 0:
            raise ProtocolError("zero_limit", f"hello: `{key}` is 0; it must be at least 1")
    for key in OPTIONAL_LIMITS:
        limit = hello.get(key, 1)
        if type(limit) is not int or limit < 1:
            raise ProtocolError("malformed_json", f"hello: `{key}` is invalid; allowed: a positive integer")
    checked: dict[str, Any] = hello
    return checked


def _start_app(worker: Worker, target: str, loaded: Loaded | None) -> bool:
    """Load the application, run its `on_start` hooks and add the ready frame. On failure, report it; return False.

    `loaded` is the application that the template has imported, if this process is a fork of one.
    """
    try:
        worker.app = load(target) if loaded is None else loaded.app
        worker.commands = worker.app._commands() if loaded is None else loaded.commands
        worker.app._check_scopes(worker.sessions.unavailable)
        worker.starts_sessions = bool(worker.app._on_session_start) and worker.sessions.unavailable is None
        uses_asyncio = _prepare_lifecycle(worker) or worker.app._uses_asyncio()
        if worker.app._health is not None:
            with stdlib.prefer_stdlib():
                from herder import health  # noqa: F401  # pyright: ignore[reportUnusedImport]
        with stdlib.prefer_stdlib():  # these imports must not find files of the application
            if uses_asyncio:
                from herder import aio

                aio.prepare(worker)
            worker.encode = worker.app._encode() if loaded is None else loaded.encode
            _import_remaining_modules(worker)
        worker.described = _describe_commands(worker, loaded)
        if worker.lifecycle is not None:
            worker.lifecycle.enter_lifespan()
        for hook in worker.app._on_start:
            worker.run_hook(hook)
    except BaseException as error:
        if calls.forked:
            os._exit(1)
        _report_start_failure(worker, error, target)
        if worker.lifecycle is not None:
            worker.lifecycle.undo_start()
        return False
    gc.collect()
    gc.freeze()  # the objects so far are permanent: later collections skip them
    ready = frames.frame(frames.READY, 0, encode(_ready_message(worker)))
    # The main loop writes the frame. An exception of a signal handler could otherwise leave it half written.
    worker.output.parts += (ready,)
    return True


def _prepare_lifecycle(worker: Worker) -> bool:
    """Create the lifespan of the app, if it has one. Return whether that needs an event loop."""
    if worker.app._lifespan is None and not worker.app._on_stop:
        return False
    with stdlib.prefer_stdlib():
        from herder.lifecycle import Lifecycle
    worker.lifecycle = Lifecycle(worker)
    return worker.lifecycle.needs_loop


def _import_remaining_modules(worker: Worker) -> None:
    """Import all modules that the worker needs later: a hook may drop the rights to read their files."""
    try:
        stdlib.import_stdlib("traceback")
    except Exception:  # the application has replaced a module that `traceback` needs: no source lines in tracebacks
        pass
    if any(command.stream is not None for command in worker.commands.values()):
        from herder import streams  # noqa: F401  # pyright: ignore[reportUnusedImport]
    if worker.request_shutdown is None:
        from herder import loop  # noqa: F401  # pyright: ignore[reportUnusedImport]
    if worker.slab_fd >= 0 and "herder.buffers" in sys.modules:  # the app uses `herder.Buffer`
        from herder import slabs  # noqa: F401  # pyright: ignore[reportUnusedImport]
    if is_orjson_installed():
        from herder import orjson_codec

        worker.make_codec = orjson_codec.make_codec


def _describe_commands(worker: Worker, loaded: Loaded | None) -> list[Any]:
    """Describe the commands, before a hook drops the rights to read files of libraries."""
    from herder import schemas

    if loaded is None:
        described = schemas.describe_commands(worker.app, worker.commands, worker.encode)
    else:
        described = loaded.described
    return schemas.within(described, worker.max_frame - READY_KEYS)


READY_KEYS = 100  # bytes of a `ready` without its commands


def _ready_message(worker: Worker) -> dict[str, Any]:
    commands, worker.described = worker.described, []
    health = {} if worker.app._health is None else {"health": True}
    if worker.request_shutdown is not None:
        return {"commands": commands, **health}
    # With sync handlers only, one call runs at a time. So the window is `pipeline`, whatever `concurrency` is. The host
    # relies on `in_order`: the loop begins calls in the order in which they arrive, and writes the answers that are
    # ready before each handler. An asyncio worker does not: its tasks end in any order, and a task that blocks the loop
    # delays the answers of the others.
    return {"commands": commands, "window": worker.pipeline, "in_order": 1, **health}


def _report_start_failure(worker: Worker, error: BaseException, target: str) -> None:
    """Send the error to the host, which logs it. It is not printed, since it would be logged twice."""
    message, is_start_failed = text(error), issubclass(type(error), StartFailed)
    try:
        from herder import start_hints

        message = text(start_hints.with_hints(message, error, target))
        error = error.with_traceback(start_hints.skip_herder_frames(error.__traceback__))
    except BaseException:  # printing the exception raises, or a hook has dropped the rights to read this package
        pass
    fields = {} if is_start_failed else error_frames.describe_exception("start_failed", error)
    fields = {**fields, "kind": "start_failed", "message": message}
    write_all(worker.fd, error_frames.error_frame(0, fields, max_frame=worker.max_frame))


def _serve(worker: Worker) -> int:
    if worker.request_shutdown is not None:
        from herder import aio as main_loop
    else:
        from herder import loop as main_loop  # type: ignore[no-redef]
    worker.interrupt = main_loop.interrupt
    while True:
        try:
            _use_orjson(worker)
            main_loop.serve(worker)
            return 0
        except BaseException as error:
            if is_stream_error(error):
                raise
            error_frames.log_unhandled(error)


def _use_orjson(worker: Worker) -> None:
    """Decode and encode with orjson, if it is installed and no hook has dropped the rights to read it."""
    make_codec, worker.make_codec = worker.make_codec, None
    if make_codec is None:
        return
    worker.output.finish()  # the host is told that the worker is ready before the import, which takes milliseconds
    worker.decode, worker.encode = make_codec(worker.encode, worker.app._nan_as_null) or (worker.decode, worker.encode)
