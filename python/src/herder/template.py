"""Imports the application once and forks workers on request, for pools with `start = "template"`.

The host sends a message for each worker, with the descriptors of the worker. The fork continues as any other worker.
Imported only if the host sets HERDER_TEMPLATE. The messages are described in `docs/protocol.md`.
"""

# A fork must be a child of the host, as a spawned worker is: the host then gets its exit status, and its death signal
# is sent at the end of the host, not at that of the template. `os.fork` cannot do that, so this module calls `clone`
# with CLONE_PARENT. It passes what the C library's own `fork` passes, and calls Python's fork hooks as `os.fork` does.
# What only the C library's `fork` does, it does for processes with several threads; a template has one.

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import sys
from importlib import import_module

from herder import error_frames, log_hooks, log_output, schemas, signals, stdlib
from herder.codec import decode, encode, is_orjson_installed
from herder.errors import StartFailed
from herder.load import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.app import App
    from herder.binding import Command

KEY = "HERDER_TEMPLATE"
# Numbers of the kernel, the same on each of the machines in SYS_CLONE.
CLONE_PARENT, CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID = 0x8000, 0x01000000, 0x00200000
PR_SET_PDEATHSIG, PR_GET_TID_ADDRESS = 1, 40
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
# The order of the arguments `child_tid` and `tls` depends on the machine.
TID_FIRST = ("x86_64",)
# The most of a request: calls, control, log records, standard output, standard error, slabs (if there are any), report.
DESCRIPTORS = 7
HEADER = 4  # bytes: the length of a message


class Loaded:
    """An imported application, with what does not depend on the worker that runs it."""

    def __init__(self, target: str) -> None:
        self.app: App = load(target)
        self.commands: dict[str, Command] = self.app._commands()
        self.encode = self.app._encode()
        self.described = schemas.describe_commands(self.app, self.commands, self.encode)


class Fork:
    """What a new worker was sent: its descriptors, and a message with its environment."""

    def __init__(self, fds: list[int], message: dict[str, Any]) -> None:
        self.fds = fds
        self.message = message


def run(fd: int, control_fd: int, log_fd: int, slab_fd: int, target: str) -> Loaded | None:
    """Import the application and fork workers until the host closes the descriptor. Return in each worker.

    Return None in the template itself, after it could not import the application, or cannot be forked.
    """
    host = os.getppid()
    wanted = int(os.environ.pop(KEY))
    os.set_inheritable(fd, False)
    os.set_inheritable(control_fd, False)
    if slab_fd >= 0:
        os.set_inheritable(slab_fd, False)
    channel = socket.socket(fileno=fd)
    before = _descriptors()
    fork, reason = _prepare_fork()
    if fork is None:
        _send(channel, {"state": "unfit", "reason": reason})
        return None
    try:
        loaded = Loaded(target)
        _import_modules(loaded)
    except BaseException as error:
        # A worker that is spawned fails in the same way, and the host reports its error.
        name = "" if isinstance(error, StartFailed) else f"{type(error).__name__}: "
        _send(channel, {"state": "failed", "reason": log_output.cut(f"{name}{log_output.as_text(error)}")})
        return None
    reason = _left_by_import(before)
    if reason:
        _send(channel, {"state": "unfit", "reason": reason})
        return None
    libraries, note = _numeric_libraries(wanted)
    gc.collect()
    gc.freeze()  # a collection in a fork would write to the pages of these objects, which are shared until then
    was_collecting = gc.isenabled()
    gc.disable()
    _send(channel, {"state": "ready", "note": note})
    while True:
        request = _receive(channel)
        if request is None:
            os._exit(0)  # the host has closed the descriptor, or has died; nothing of the application runs
        pid = _fork_worker(channel, fork)
        if pid == 0:
            break
        for each in request.fds:
            os.close(each)
        _send(channel, {"pid": pid} if pid > 0 else {"error": os.strerror(-pid)})
    channel.detach()
    targets = [fd, control_fd, log_fd, 1, 2, *([slab_fd] if slab_fd >= 0 else ())]
    _become_worker(request, host, targets, libraries)
    if was_collecting:
        gc.enable()
    return loaded


def _import_modules(loaded: Loaded) -> None:
    """Import the modules that a worker imports at its start."""
    with stdlib.prefer_stdlib():
        from herder import control  # noqa: F401  # pyright: ignore[reportUnusedImport]

        if loaded.app._lifespan is not None or loaded.app._on_stop:
            from herder import lifecycle  # noqa: F401  # pyright: ignore[reportUnusedImport]
        if loaded.app._health is not None:
            from herder import health  # noqa: F401  # pyright: ignore[reportUnusedImport]
        if loaded.app._uses_asyncio():
            from herder import aio  # noqa: F401  # pyright: ignore[reportUnusedImport]
        else:
            from herder import loop  # noqa: F401  # pyright: ignore[reportUnusedImport]
        if any(command.stream is not None for command in loaded.commands.values()):
            from herder import streams  # noqa: F401  # pyright: ignore[reportUnusedImport]
        if is_orjson_installed():
            from herder import orjson_codec  # noqa: F401  # pyright: ignore[reportUnusedImport]
    try:
        stdlib.import_stdlib("traceback")
    except Exception:  # the application has replaced a module that `traceback` needs
        pass


# --- whether the process can be forked --------------------------------------------------------------------------------


def _left_by_import(before: set[int]) -> str:
    """Return what the import has left that a fork would not have, or must not share; "" if there is nothing."""
    threads = _threads()
    if threads:
        return f"the import left threads, which a fork does not have: {', '.join(threads)}"
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            return "the import initialised CUDA (torch.cuda), which does not work in a fork"
    except AttributeError:  # a module of the application, or a build without CUDA
        pass
    shared = [text for fd in sorted(_descriptors() - before) if (text := _not_shareable(fd))]
    if shared:
        return f"the import left open what forks must not share: {', '.join(shared)}"
    return ""


def _threads() -> list[str]:
    """Return the names of all threads but the main thread."""
    names = {}
    threading = sys.modules.get("threading")
    for thread in [] if threading is None else threading.enumerate():
        names[getattr(thread, "native_id", None)] = thread.name
    ids = [int(name) for name in os.listdir("/proc/self/task")]
    return [names.get(each) or _thread_name(each) for each in sorted(ids) if each != os.getpid()]


def _thread_name(thread: int) -> str:
    try:
        with open(f"/proc/self/task/{thread}/comm") as file:
            return f"{file.read().strip()} (of a library)"
    except OSError:  # it has ended meanwhile, but others may follow
        return "a thread that is ending"


def _descriptors() -> set[int]:
    """Return the open descriptors. The one that reads the directory is closed again, and does not count."""
    listed = (int(name) for name in os.listdir("/proc/self/fd"))
    return {fd for fd in listed if _target(fd)}


def _target(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _not_shareable(fd: int) -> str:
    """Return what a descriptor is, if two processes that use it would disturb each other; "" if they would not."""
    target = _target(fd)
    if target in ("anon_inode:[eventpoll]", "anon_inode:[io_uring]"):
        return f"an event loop (descriptor {fd})"
    if target.startswith("socket:"):
        try:
            copy = socket.socket(fileno=os.dup(fd))
        except OSError:
            return ""
        with copy:
            # Datagrams of several processes do not mix, such as those to a system log.
            return f"a connection or listening socket (descriptor {fd})" if copy.type == socket.SOCK_STREAM else ""
    return ""


def _prepare_fork() -> tuple[Callable[[], int] | None, str]:
    """Return a function that forks this process into a child of its parent, or why there is none.

    The function returns 0 in the child, its process id in the template, and a negative error number on failure.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None, "a free-threaded Python cannot be forked safely"
    machine = os.uname().machine
    if not sys.platform.startswith("linux") or machine not in SYS_CLONE:
        return None, f"templates need Linux on {' or '.join(SYS_CLONE)}, and this is {sys.platform} on {machine}"
    try:
        import ctypes
    except ImportError as error:
        return None, f"this Python has no ctypes: {error}"
    libc, api = ctypes.PyDLL(None, use_errno=True), ctypes.pythonapi
    # The C library stores the id of each thread at an address that the kernel knows. A fork of its own writes the new
    # id there, and so must this one.
    address = ctypes.c_void_p()
    if libc.prctl(PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) != 0 or not address.value:
        return None, "this kernel does not report the address of the thread id (PR_GET_TID_ADDRESS)"
    if ctypes.c_int.from_address(address.value).value != os.getpid():
        return None, "this C library does not keep the thread id where a fork can set it; only glibc does"
    libc.syscall.restype = ctypes.c_long
    flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | signal.SIGCHLD
    last = (address.value, 0) if machine in TID_FIRST else (0, address.value)
    arguments = tuple(map(ctypes.c_long, (SYS_CLONE[machine], flags, 0, 0, *last)))
    clone, get_errno = libc.syscall, ctypes.get_errno
    before, in_parent, in_child = api.PyOS_BeforeFork, api.PyOS_AfterFork_Parent, api.PyOS_AfterFork_Child

    def fork() -> int:
        before()
        pid: int = clone(*arguments)  # no other statement here: Python holds locks of its own
        if pid == 0:
            in_child()
            libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            return 0
        in_parent()
        return pid if pid > 0 else -(get_errno() or errno.EAGAIN)

    return fork, ""


# --- requests ---------------------------------------------------------------------------------------------------------


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    body = encode(message)
    try:
        channel.sendall(len(body).to_bytes(HEADER, "little") + body)
    except OSError:  # the host has died
        os._exit(0)


def _receive(channel: socket.socket) -> Fork | None:
    """Read the next request. Return None at the end of the stream."""
    try:
        head, fds, _, _ = socket.recv_fds(channel, HEADER, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        if not head:
            return None
        head += _read(channel, HEADER - len(head))
        return Fork(fds, decode(_read(channel, int.from_bytes(head, "little"))))
    except (OSError, EOFError):
        return None


def _read(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = channel.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _fork_worker(channel: socket.socket, fork: Callable[[], int]) -> int:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()  # otherwise each fork would print what is in the buffer
        except (AttributeError, OSError, ValueError):
            pass
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    pid = fork()
    if pid == 0:
        signals.ignore_interrupts()  # a fork of a worker has the defaults, and this is a worker itself
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _become_worker(request: Fork, host: int, targets: list[int], libraries: Any) -> None:
    """Set up the fork: group, descriptors, environment, random generators, threads. Ends the process on failure."""
    try:
        *fds, report = request.fds
        os.setpgid(0, 0)
        # The host has died before the death signal was set if the parent is another process.
        if os.getppid() != host or not _report(report):
            os._exit(1)
        for fd, target in zip(fds, targets, strict=True):
            os.dup2(fd, target, inheritable=target in (1, 2))
            os.close(fd)
        os.close(report)
        _set_environment(request.message)
        output = log_output.output
        output.inode = os.fstat(output.fd).st_ino
        log_hooks.set_level(request.message["log_level"])
        _reseed()
        threads = request.message["threads"]
        if libraries is not None and threads:
            libraries.limit(limits=threads)
    except BaseException as error:
        error_frames.log_unhandled(error)
        os._exit(1)


def _report(report: int) -> bool:
    """Tell the host that this process is in its group, and wait until the host has registered it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    os.write(report, os.getpid().to_bytes(4, "little") + peak.to_bytes(8, "little"))
    return bool(os.read(report, 1))


def _set_environment(message: dict[str, Any]) -> None:
    for name, value in message["env"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _reseed() -> None:
    """Give the fork random numbers of its own. Python itself reseeds `random` in a fork."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def _numeric_libraries(wanted: int) -> tuple[Any, str]:
    """Return an object that sets the thread count of numeric libraries in a fork, or None, and what forks will have."""
    # The environment sets one thread for the import: OpenBLAS and OpenMP start their threads when they are loaded.
    if wanted == 1:
        return None, "numeric libraries have 1 thread in each worker"
    if "numpy" not in sys.modules and "torch" not in sys.modules:
        return None, "the import loaded no numeric libraries"
    try:
        threadpoolctl: Any = import_module("threadpoolctl")
    except ImportError:
        return None, (
            "numeric libraries have 1 thread in each worker, since they were loaded by a template; install"
            " threadpoolctl for workers to have more"
        )
    if wanted == 0:
        return None, "numeric libraries have 1 thread in each worker: set `numeric_threads` to a number for more"
    libraries = threadpoolctl.ThreadpoolController()
    names = sorted({each.internal_api for each in libraries.lib_controllers})
    return libraries, f"threadpoolctl sets {wanted} threads in each worker for: {', '.join(names) or 'no library'}"
