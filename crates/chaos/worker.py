"""The worker of `herder-chaos`: does its calls, keeps an account of them, and misbehaves when told to.

The account (the file in CHAOS_LEDGER) is one for all workers: a record when a call begins and one when it ends, so
that a call that ran twice is seen even if the worker was killed in the middle. A record is 64 bytes, written at once,
and no page of a file ends inside one: none is half there, whenever the writer was killed.
"""
import os
import resource
import signal
import sys
import time
from typing import Any, NoReturn

import herder

app = herder.App()
LEDGER = os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
BROKEN = os.environ["CHAOS_BROKEN"]  # while this file is there, no worker starts
# Some workers of a pool run asyncio, the others do not.
ASYNC = bool(os.environ["CHAOS_MIXED"]) and os.getpid() % 2 == 1
GIB = 1 << 30
kept: list[Any] = []


def record(id: int, call: herder.Call, what: str) -> None:
    line = f"{id} {call.id} {os.getpid()} {what} {time.monotonic_ns()}"
    os.write(LEDGER, line.ljust(63).encode() + b"\n")


@app.on_start
def limits() -> None:
    if os.path.exists(BROKEN):
        raise RuntimeError("told not to start")
    for what, most in [(resource.RLIMIT_AS, GIB), (resource.RLIMIT_NOFILE, 256), (resource.RLIMIT_CORE, 0)]:
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


# --- what goes well ---------------------------------------------------------------------------------------------------


def worked(id: int, call: herder.Call, ms: float, pad: str) -> list[Any]:
    record(id, call, "begins")
    if ms:
        time.sleep(ms / 1000)
    record(id, call, "ends")
    return [id, 0, pad]


def counted(id: int, session: herder.Session) -> list[Any]:
    """One more in the session's state; between the two records, so that the account says how far it came."""
    session.state["count"] = session.state.get("count", 0) + 1
    return [id, session.state["count"], ""]


if ASYNC:
    import asyncio

    async def awaited(id: int, call: herder.Call, ms: float, pad: str) -> list[Any]:
        record(id, call, "begins")
        await asyncio.sleep(ms / 1000)
        record(id, call, "ends")
        return [id, 0, pad]

    @app.command
    async def once(id: int, call: herder.Call, ms: float = 0, pad: str = "") -> list[Any]:
        return await awaited(id, call, ms, pad)

    @app.command(idempotent=True)
    async def again(id: int, call: herder.Call, ms: float = 0, pad: str = "") -> list[Any]:
        return await awaited(id, call, ms, pad)

    @app.command
    async def count(id: int, call: herder.Call, session: herder.Session, ms: float = 0) -> list[Any]:
        record(id, call, "begins")
        await asyncio.sleep(ms / 1000)
        answer = counted(id, session)
        record(id, call, "ends")
        return answer

else:

    @app.command
    def once(id: int, call: herder.Call, ms: float = 0, pad: str = "") -> list[Any]:
        return worked(id, call, ms, pad)

    @app.command(idempotent=True)
    def again(id: int, call: herder.Call, ms: float = 0, pad: str = "") -> list[Any]:
        return worked(id, call, ms, pad)

    @app.command
    def count(id: int, call: herder.Call, session: herder.Session, ms: float = 0) -> list[Any]:
        record(id, call, "begins")
        if ms:
            time.sleep(ms / 1000)
        answer = counted(id, session)
        record(id, call, "ends")
        return answer


# --- what goes wrong, and the worker lives on -------------------------------------------------------------------------


@app.command
def refuse(id: int, call: herder.Call, how: str) -> Any:
    record(id, call, "begins")
    if how == "no":
        raise herder.Rejected("not today", code="today")
    if how == "result":
        return {1, 2}
    if how == "memory":  # more than the limit: an exception of this call alone
        bytearray(2 * GIB)
    if how == "descriptors":  # some more each time, until there are none left
        kept.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(100))
        record(id, call, "ends")
        return [id, 0, ""]
    raise ValueError("on purpose")


# --- deaths -----------------------------------------------------------------------------------------------------------


@app.command
def die(id: int, call: herder.Call, how: str) -> NoReturn:
    record(id, call, "begins")
    if how == "fork":  # what holds this worker's descriptor lives on
        os.set_inheritable(calls_fd(), True)
        os.posix_spawnp("sleep", ["sleep", "5"], os.environ)
    if how == "hog":  # as the kernel does it when memory runs out
        try:
            while True:
                kept.append(bytearray(GIB // 8))
        except MemoryError:
            os.kill(os.getpid(), signal.SIGKILL)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    print("last words", file=sys.stderr, flush=True)
    os._exit(3)


# --- the descriptor ---------------------------------------------------------------------------------------------------


def calls_fd() -> int:
    """The descriptor of the calls, which no application should know."""
    frame = sys._getframe()
    while "worker" not in frame.f_locals or frame.f_code.co_name != "serve":
        assert frame.f_back is not None
        frame = frame.f_back
    return int(frame.f_locals["worker"].fd)


@app.command
def corrupt(id: int, call: herder.Call, how: str) -> None:
    record(id, call, "begins")
    if how == "garbage":
        os.write(calls_fd(), b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    if how == "half":  # of a frame; then nothing, whatever is asked
        os.write(calls_fd(), (1000).to_bytes(4, "little") + b"\x04\x00")
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                continue


@app.command
def dawdle(id: int, call: herder.Call, ms: float) -> list[Any]:
    """Read nothing for a while, whatever waits on the descriptor."""
    return worked(id, call, ms, "")
