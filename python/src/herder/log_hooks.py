"""Connects `logging`, loguru and structlog to the host's log when the application imports them.

A worker whose application imports none of them pays for none. Nothing here changes another process: only a worker that
has a log descriptor installs the hooks.
"""

# The libraries are changed below their configuration, not by a configuration of Herder's: whatever the application
# configures, before, after or never, has the effect that it has elsewhere.

from __future__ import annotations

import os
import sys
from _thread import allocate_lock, start_new_thread

from herder import error_frames
from herder.log_output import LEVELS, as_text, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

SENT = "_herder_sent"  # the attribute of a record of `logging` that was sent
# The attributes that each record has. All others were given by the application, with `extra`.
ATTRIBUTES = """
    args asctime created exc_info exc_text filename funcName levelname levelno lineno message module msecs msg name
    pathname process processName relativeCreated stack_info taskName thread threadName
"""
RECORD_ATTRIBUTES = frozenset(ATTRIBUTES.split()) | {SENT}


def install(fd: int, level: str) -> None:
    """Connect the libraries that are imported, and those that will be. `level` is that of the host's log."""
    output.fd, output.inode = fd, os.fstat(fd).st_ino
    output.level = LEVELS.get(level, LEVELS["info"])
    os.set_inheritable(fd, False)
    for name, hook in HOOKS.items():
        module = sys.modules.get(name)
        if module is not None:
            call_hook(hook, module)
    sys.meta_path.insert(0, Finder)


# --- the level --------------------------------------------------------------------------------------------------------


class HostLevel(int):
    """A level that Herder has set. Levels that the application sets are of type `int`, and remain."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """Pickle it as an `int`: processes of `multiprocessing` get the level, and may not find this package."""
        return int, (int(self),)


def set_level(level: str) -> None:
    """Send records up to this level of the host's log from now on."""
    output.level = LEVELS.get(level, output.level)
    apply_level()


def change_level(level: str) -> None:
    """Do the same on the control thread, which must not wait for the locks of `logging` and loguru."""
    output.level = LEVELS.get(level, output.level)
    if any(each in sys.modules for each in LEVEL_SETTERS):
        changes.apply()


NO_THREAD = b"herder: the log level of `logging` and loguru was not changed: no thread can be started\n"


class LevelChanges:
    """Applies changes of the level on a thread: one at a time, however long it waits for the application's locks."""

    def __init__(self) -> None:
        self.running = allocate_lock()  # held while there is a thread
        self.count = 0

    def apply(self) -> None:
        """Have the level applied, by the thread that runs or by a new one. Called by the control thread only."""
        self.count += 1
        if self.running.acquire(False):
            try:
                start_new_thread(self.run, ())
            except RuntimeError:
                self.running.release()
                os.write(2, NO_THREAD)

    def run(self) -> None:
        """Apply the level until there is no further change."""
        while True:
            applied = self.count
            try:
                apply_level()
            finally:
                self.running.release()
            # In this order: a change either finds no thread and starts one, or was counted before this comparison.
            if self.count == applied or not self.running.acquire(False):
                return


changes = LevelChanges()


def apply_level() -> None:
    """Set the level in the libraries that are imported and whose level the application has not set."""
    for name, setter in LEVEL_SETTERS.items():
        module = sys.modules.get(name)
        if module is not None:
            try:
                setter(module)
            except Exception as error:
                error_frames.log(f"herder: the log level of `{name}` was not changed: {error!r}")


class Finder:
    """Finds the modules in `HOOKS` as the other finders do, and calls the hook after the import."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module with a hook; None for all others."""
        hook = HOOKS.get(name)
        if hook is None:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            spec: Any = None if finder is Finder or find_spec is None else find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = Loader(spec.loader, hook)
                return spec  # type: ignore[no-any-return]
        return None


class Loader:
    """Loads a module with its own loader and then calls the hook."""

    def __init__(self, loader: Any, hook: Callable[[Any], None]) -> None:
        self.loader = loader
        self.hook = hook

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader does."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: Any) -> None:
        """Run the module and then the hook."""
        module.__spec__.loader = module.__loader__ = self.loader
        with_own_sink = module.__name__ == "loguru" and AUTOINIT not in os.environ
        if with_own_sink:
            os.environ[AUTOINIT] = "0"
        try:
            self.loader.exec_module(module)
        finally:
            if with_own_sink:
                del os.environ[AUTOINIT]
        if with_own_sink or module.__name__ != "loguru":
            call_hook(self.hook, module)


def call_hook(hook: Callable[[Any], None], module: Any) -> None:
    """Call a hook. What it raises is logged: a module of another version must not fail to import because of it."""
    try:
        hook(module)
    except Exception as error:
        error_frames.log(f"herder: the log of `{module.__name__}` is not sent as records: {error!r}")


# --- logging ----------------------------------------------------------------------------------------------------------


def connect_logging(logging: Any) -> None:
    """Send what handlers would write to standard output and error to the host, and what no handler takes."""
    # The two methods are replaced in their classes, so it does not matter when and how handlers are configured. No
    # handler is added: with one, `basicConfig` would do nothing.
    emit, call_handlers, null_handler = logging.StreamHandler.emit, logging.Logger.callHandlers, logging.NullHandler
    standard_streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)

    def emit_or_send(handler: Any, record: Any) -> None:
        # Not `sys.stderr` as it is now: code that redirects it wants to have what is written.
        stream = handler.stream
        if any(stream is each for each in standard_streams):
            send_record(record)
        else:
            emit(handler, record)

    def call_handlers_or_send(logger: Any, record: Any) -> None:
        last_resort, ancestor = logging.lastResort, logger
        while ancestor is not None and last_resort is not None:
            if not ancestor.propagate or any(type(each) is not null_handler for each in ancestor.handlers):
                break
            ancestor = ancestor.parent
        else:
            # No handler but `NullHandler`s, which libraries have for applications that configure nothing.
            if last_resort is not None and record.levelno >= last_resort.level:
                last_resort.handle(record)
                return
        call_handlers(logger, record)

    logging.StreamHandler.emit = emit_or_send
    logging.Logger.callHandlers = call_handlers_or_send
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.NOTSET)
    if logging.root.level == logging.WARNING:  # the default; what the application sets later replaces this
        logging.root.setLevel(HostLevel(output.level))
        set_logging_level(logging)  # in case that the level changes at this moment


def set_logging_level(logging: Any) -> None:
    """Give the root logger the level of `output`, unless the application has given it one."""
    # Several threads may do this at once, and a fork could find a lock taken. So whoever sets the level compares it
    # again, and the last one is set in the end.
    root = getattr(logging, "root", None)  # absent while the module is imported
    while root is not None and type(root.level) is HostLevel and root.level != output.level:
        root.setLevel(HostLevel(output.level))


def send_record(record: Any) -> None:
    """Send a record of `logging`, once."""
    attributes = record.__dict__
    if SENT in attributes:
        return
    attributes[SENT] = True
    exception = record.exc_info if record.exc_info and record.exc_info[0] is not None else None
    output.log(
        record.levelno,
        record.levelname,
        record.name,
        message_of(record),
        fields=[(name, value) for name, value in list(attributes.items()) if name not in RECORD_ATTRIBUTES],
        exception=exception,
        stack=record.stack_info,
    )


def message_of(record: Any) -> str:
    """Return the message with its arguments. If they do not fit, both are shown: the record must not be lost."""
    try:
        return str.__getitem__(record.getMessage(), slice(None))
    except Exception as error:
        reason = f"{type(error).__name__}: {as_text(error)}"
        return f"{as_text(record.msg)} (arguments that do not fit: {as_text(record.args)}; {reason})"


# --- loguru -----------------------------------------------------------------------------------------------------------

AUTOINIT = "LOGURU_AUTOINIT"  # with "0" in this variable, loguru adds no sink when it is imported


def connect_loguru(loguru: Any) -> None:
    """Add a sink that sends to the host instead of loguru's own, which writes to standard error."""
    # It is the first sink and so has the number 0, as loguru's own: `logger.remove(0)` and `logger.remove()` work.
    level = {} if "LOGURU_LEVEL" in os.environ else {"level": output.level}
    loguru.logger.add(send_loguru, format=format_nothing, backtrace=False, diagnose=False, **level)
    if level:
        set_loguru_level(loguru)  # in case that the level changes at this moment


def set_loguru_level(loguru: Any) -> None:
    """Give the sink that `connect_loguru` has added the level of `output`, unless the application has removed it."""
    # loguru has no function for this, and a sink that is added again would have another number.
    core = getattr(getattr(loguru, "logger", None), "_core", None)  # absent while the module is imported
    if core is None or "LOGURU_LEVEL" in os.environ:
        return
    with core.lock:
        sink = core.handlers.get(0)
        if sink is not None and getattr(sink._sink, "_function", None) is send_loguru:
            sink._levelno = output.level
            core.min_level = min(each.levelno for each in core.handlers.values())


def format_nothing(_record: Any) -> str:
    """Return no text: a format that is a function also keeps loguru from formatting the exception."""
    return ""


def send_loguru(message: Any) -> None:
    """Send a record of loguru. This is the sink."""
    record = message.record
    level, exception = record["level"], record["exception"]
    output.log(
        level.no,
        level.name,
        record["name"],
        as_text(record["message"], 1 << 20),
        fields=list(record["extra"].items()),
        exception=None if exception is None else tuple(exception),
    )


# --- structlog --------------------------------------------------------------------------------------------------------

STRUCTLOG_LEVELS = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "exception": 40, "critical": 50}
STRUCTLOG_KEYS = frozenset({"event", "exc_info", "level", "logger", "stack", "timestamp"})


def connect_structlog(structlog: Any) -> None:
    """Replace the renderer of the default configuration by one that sends to the host."""
    # In the list itself, so that `is_configured` stays False and `configure` replaces it as it replaces the default.
    processors = structlog.get_config()["processors"]
    if not structlog.is_configured() and type(processors[-1]).__name__ == "ConsoleRenderer":
        drop = structlog.DropEvent
        frames = structlog.__name__ + "."

        def send(_logger: Any, method: str, event: Any) -> Any:
            send_event(method, event, caller_module(frames))
            raise drop

        processors[-1] = send


def caller_module(frames: str) -> str:
    """Return the name of the module that has called structlog."""
    frame = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if not name.startswith(frames):
            return name
        frame = frame.f_back  # type: ignore[assignment]
    return "structlog"


def send_event(method: str, event: Any, module: str) -> None:
    """Send an event of structlog."""
    exception = event.get("exc_info")
    if exception is True:
        exception = sys.exc_info()
    if isinstance(exception, tuple) and exception[0] is None:
        exception = None
    output.log(
        STRUCTLOG_LEVELS.get(method, LEVELS["info"]),
        method.upper() if method != "exception" else "ERROR",
        event.get("logger", module),
        as_text(event.get("event", ""), 1 << 20),
        fields=[(name, value) for name, value in event.items() if name not in STRUCTLOG_KEYS],
        exception=exception,
        stack=event.get("stack"),
    )


HOOKS: dict[str, Callable[[Any], None]] = {
    "logging": connect_logging,
    "loguru": connect_loguru,
    "structlog": connect_structlog,
}
LEVEL_SETTERS: dict[str, Callable[[Any], None]] = {"logging": set_logging_level, "loguru": set_loguru_level}
