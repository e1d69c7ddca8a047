"""The app of the fault tests: one command for each fault of a handler."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time

import herder

app = herder.App()
kept: list[object] = []


def calls_fd() -> int:
    """Return the calls descriptor, which is private to the package and found in a frame of its loop."""
    frame = sys._getframe()
    while "worker" not in frame.f_locals or frame.f_code.co_name != "serve":
        frame = frame.f_back
    return frame.f_locals["worker"].fd


if os.environ.get("FAULTS_BATCH"):  # an app with batches runs on an event loop, unlike this one otherwise

    @app.batch
    def batch(items: list[dict]) -> list[int]:
        return [1] * (len(items) + 1)


# --- without a fault --------------------------------------------------------------------------------------------------


@app.command(idempotent=True)
def ok() -> int:
    return os.getpid()


@app.command
def count(session: herder.Session) -> int:
    session.state["count"] = session.state.get("count", 0) + 1
    return session.state["count"]


@app.command
def add(left: int, right: int = 0) -> int:
    return left + right


@app.command
def length(data: bytes) -> int:
    return len(data)


@app.command
def gate(path: str) -> int:
    """Keep the worker busy until the file exists."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return os.getpid()


# --- results ----------------------------------------------------------------------------------------------------------


class Changing(dict[str, int]):
    def items(self) -> object:  # type: ignore[override]
        for key in self:
            self[key + key] = 2
            yield key, 1


@app.command
def result(of: str) -> object:
    if of == "deep with a raised recursion limit":
        sys.setrecursionlimit(1_000_000)
    cycle: list[object] = []
    cycle.append(cycle)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    return {
        "nan": float("nan"),
        "object": {"lines": [object()]},
        "cycle": cycle,
        "generator": (each for each in [1]),
        "key": {(1, 2): 3},
        "deep": deep,
        "deep with a raised recursion limit": deep,
        "changes": Changing(value=1),
        "surrogate": "\ud800",
    }[of]


@app.command
def yields(how: str):
    if how != "never":
        yield 1
    if how == "raises":
        raise ValueError("no more items")
    if how == "an object":
        yield object()
    while how == "never":
        time.sleep(0.01)


@app.command
def huge(size: int) -> str:
    return "x" * size


# --- exceptions -------------------------------------------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


class Initless(herder.Rejected):
    def __init__(self) -> None:
        pass


class UnprintableCode(str):
    def __str__(self) -> str:
        raise ValueError("not even this")


@app.command
def fail(how: str) -> None:
    if how == "exception":
        raise ValueError("the price of gold is unknown")
    if how == "keyboard":
        raise KeyboardInterrupt
    if how == "exit":
        sys.exit(4)
    if how == "rejected":
        raise herder.Rejected("no gold today", code="sold-out")
    if how == "initless":
        raise Initless
    if how == "code":
        raise herder.Rejected("no gold today", code=UnprintableCode("sold-out"))
    if how == "long":
        raise ValueError("gold " * 400)
    if how == "unprintable":
        raise Unprintable
    if how == "cancelled":
        raise asyncio.CancelledError
    if how == "generator":
        raise GeneratorExit
    if how == "memory":
        hog()


@app.command
def recurse(depth: int = 0) -> int:
    return recurse(depth=depth + 1) + 1


@app.command
def leak_fds() -> None:
    """Open files until the limit is reached and `open` raises."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    while True:
        kept.append(open(os.devnull))


def hog() -> int:
    """Allocate more memory than the limit of the address space (`ulimit -v`) allows, then restore the limit."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), before[1]))
    try:
        return len(bytearray(1 << 30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@app.command
def close_leaked() -> int:
    leaked = len(kept)
    for file in kept:
        file.close()
    kept.clear()
    return leaked


# --- output -----------------------------------------------------------------------------------------------------------


@app.command
def say(text: str) -> None:
    libc = ctypes.CDLL(None)
    print(f"{text} from Python")
    print(f"{text} to stderr", file=sys.stderr)
    libc.puts(f"{text} from C".encode())
    libc.fflush(None)
    os.write(1, f"{text} by write\n".encode())


@app.command
def shout(megabytes: int) -> int:
    """Write more to stderr than any buffer on the way to the log holds."""
    line = "x" * 1023 + "\n"
    for _ in range(megabytes * 1024):
        sys.stderr.write(line)
    sys.stderr.flush()
    return megabytes


# --- after the call ---------------------------------------------------------------------------------------------------


class TooLate(Exception):
    """The exception of a time limit that outlives its call."""


@app.command
def late(how: str, path: str) -> str:
    """Raise an exception on the main thread after this call was answered, which the test signals with a file."""
    main = threading.main_thread().ident

    def alarm(*_: object) -> None:
        raise TooLate

    def raise_it() -> None:
        while not os.path.exists(path):
            time.sleep(0.005)
        if how == "alarm":
            os.kill(os.getpid(), signal.SIGALRM)
        else:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(TooLate))
        print("raised")

    signal.signal(signal.SIGALRM, alarm)
    threading.Thread(target=raise_it, daemon=True).start()
    return "in time"


# --- deaths -----------------------------------------------------------------------------------------------------------


@app.command
def die(how: str) -> None:
    print(f"last line before {how}", file=sys.stderr)
    if how == "exit":
        os._exit(7)
    if how == "exit 0":
        os._exit(0)
    if how == "segv":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    if how == "term":
        os.kill(os.getpid(), signal.SIGTERM)  # as a service manager does to every process of a service
    if how == "thread":
        threading.Thread(target=lambda: os._exit(9)).start()
        time.sleep(1000)


@app.command(idempotent=True)
def die_once(path: str) -> int:
    """End the process in the first attempt and succeed in the second."""
    if not os.path.exists(path):
        open(path, "w").close()
        os._exit(5)
    return os.getpid()


@app.command(idempotent=True)
def die_always() -> None:
    os._exit(6)


# --- processes --------------------------------------------------------------------------------------------------------


@app.command
def fork(child: str) -> int:
    """Fork. The child returns into Herder's loop, raises, or keeps running."""
    pid = os.fork()
    if pid == 0:
        if child == "raises":
            raise ValueError("from the fork")
        if child == "slow":
            time.sleep(0.05)
        if child == "stays":
            time.sleep(1000)
        return -1
    if child != "stays":
        os.waitpid(pid, 0)
    return pid


@app.command
def grandchild(session: bool, then: str, path: str) -> int:
    """Leave a process that holds the calls descriptor."""
    fd = calls_fd()
    process = subprocess.Popen(["sleep", "1000"], pass_fds=[fd], start_new_session=session)
    with open(path, "w") as file:
        file.write(str(process.pid))
    if then == "die":
        print("the worker exits, the grandchild does not", file=sys.stderr, flush=True)
        os._exit(3)
    return process.pid


# --- the descriptor ---------------------------------------------------------------------------------------------------


@app.command
def raw(data: str, then: str, path: str = "") -> None:
    """Write bytes on the calls descriptor that violate the protocol."""
    fd = calls_fd()
    if path:
        open(path, "w").close()
    os.write(fd, bytes.fromhex(data))
    if then in ("close", "close and return"):
        os.close(fd)
    if then == "exit":
        os._exit(0)
    if then in ("close", "silence"):
        time.sleep(1000)


@app.command
def forge(result: str) -> None:
    """Write a forged result of this call. The result that Herder writes afterwards is late."""
    call = herder.current_call()
    body = bytes(16) + result.encode()
    os.write(calls_fd(), struct.pack("<IBBHQ", len(body), 4, 0, 0, call.id) + body)


# --- time -------------------------------------------------------------------------------------------------------------


@app.command
def compute(path: str) -> None:
    """Run Python code without end."""
    open(path, "w").close()
    number = 0
    while True:
        number += 1


@app.command
def wait(path: str) -> None:
    """Wait in a system call."""
    open(path, "w").close()
    time.sleep(1000)


@app.command
def hold_the_gil(path: str) -> None:
    """Wait in C without releasing the GIL, so that no thread of this process runs Python."""
    open(path, "w").close()
    ctypes.PyDLL(None).sleep(1000)


@app.command
def deadlock(path: str) -> None:
    """Wait in C for a mutex without releasing the GIL. Only SIGKILL ends it."""
    open(path, "w").close()
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)


@app.command
def compute_in_c(rounds: int) -> int:
    """Compute in C and hold the GIL during all rounds."""
    return sum(range(rounds)) % 7


@app.command
def digest(path: str) -> None:
    """Compute in C without the GIL. An interrupt takes effect when the C function returns."""
    open(path, "w").close()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 1_000_000)
    time.sleep(1000)


@app.command
def never(path: str) -> None:
    """Ignore every interrupt and never return."""
    open(path, "w").close()
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass
