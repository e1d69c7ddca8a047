"""The worker of `herder-chaos`: runs calls, logs them, and fails in the ways that calls request.

All workers append to one execution log, the file named in CHAOS_EXECUTION_LOG: a record when a call begins and one when
it ends. A call that ran twice is therefore found even if its worker was killed in between.
"""
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

import herder

app = herder.App()
EXECUTION_LOG = os.open(os.environ["CHAOS_EXECUTION_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
FAIL_STARTS = os.environ["CHAOS_FAIL_STARTS"]  # while this file exists, workers fail to start
# With CHAOS_MIXED, the workers with an odd process id run asyncio, the others do not.
ASYNC = bool(os.environ["CHAOS_MIXED"]) and os.getpid() % 2 == 1
GIB = 1 << 30
kept: list[Any] = []


def record(id: int, call: herder.Call, event: str) -> None:
    line = f"{id} {call.id} {os.getpid()} {event} {time.monotonic_ns()}"
    # One write of 64 bytes at a multiple of 64: the record lies within one page of the file, so that it is complete
    # or missing even if this process is killed during the write.
    os.write(EXECUTION_LOG, line.ljust(63).encode() + b"\n")


@app.on_start
def limits() -> None:
    if os.path.exists(FAIL_STARTS):
        raise RuntimeError(f"start refused: {FAIL_STARTS} exists")
    for limit, value in [(resource.RLIMIT_AS, GIB), (resource.RLIMIT_NOFILE, 256), (resource.RLIMIT_CORE, 0)]:
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


# --- successful calls -------------------------------------------------------------------------------------------------


def run_call(id: int, call: herder.Call, ms: float, pad: str) -> list[Any]:
    record(id, call, "begins")
    if ms:
        time.sleep(ms / 1000)
    record(id, call, "ends")
    return [id, 0, pad]


def run_batch(ids: list[int], calls: list[herder.Call]) -> list[Any]:
    for event in ("begins", "ends"):
        for id, call in zip(ids, calls, strict=True):
            record(id, call, event)
    return [[id, 0, ""] for id in ids]


def items_of(id: int, call: herder.Call, n: int, size: int) -> Iterator[list[Any]]:
    record(id, call, "begins")
    for number in range(n):
        yield [id, number, "x" * size]
    record(id, call, "ends")


@app.command
def binary(id: int, call: herder.Call, data: memoryview) -> list[Any]:
    """Return binary data as it came."""
    record(id, call, "begins")
    record(id, call, "ends")
    return [id, len(data), data]


def count_in_session(id: int, session: herder.Session) -> list[Any]:
    """Increment the session's count. Run between the two records, so that the log shows whether it may have run."""
    session.state["count"] = session.state.get("count", 0) + 1
    return [id, session.state["count"], ""]


if ASYNC:
    import asyncio

    async def run_call_async(id: int, call: herder.Call, ms: float, pad: str) -> list[Any]:
        record(id, call, "begins")
        await asyncio.sleep(ms / 1000)
        record(id, call, "ends")
        return [id, 0, pad]

    @app.command
    async def once(id: int, call: herder.Call, ms: float = 0, pad: str = "") -> list[Any]:
        return await run_call_async(id, call, ms, pad)

    @app.command(idempotent=True)
    async def repeatable(id: int, call: herder.Call, ms: float = 0, pad: str = "") -> list[Any]:
        return await run_call_async(id, call, ms, pad)

    @app.command
    async def count(id: int, call: herder.Call, session: herder.Session, ms: float = 0) -> list[Any]:
        record(id, call, "begins")
        await asyncio.sleep(ms / 1000)
        answer = count_in_session(id, session)
        record(id, call, "ends")
        return answer

    @app.command
    async def items(id: int, call: herder.Call, n: int, size: int) -> AsyncIterator[list[Any]]:
        for item in items_of(id, call, n, size):
            yield item

    @app.batch(max_batch_size=4, max_wait="1ms")
    def batched(items: list[dict[str, Any]]) -> list[Any]:
        return run_batch([item["id"] for item in items], herder.current_call().calls)

else:

    @app.command
    def items(id: int, call: herder.Call, n: int, size: int) -> Iterator[list[Any]]:
        yield from items_of(id, call, n, size)

    @app.command
    def batched(id: int, call: herder.Call) -> list[Any]:
        return run_batch([id], [call])[0]

    @app.command
    def once(id: int, call: herder.Call, ms: float = 0, pad: str = "") -> list[Any]:
        return run_call(id, call, ms, pad)

    @app.command(idempotent=True)
    def repeatable(id: int, call: herder.Call, ms: float = 0, pad: str = "") -> list[Any]:
        return run_call(id, call, ms, pad)

    @app.command
    def count(id: int, call: herder.Call, session: herder.Session, ms: float = 0) -> list[Any]:
        record(id, call, "begins")
        if ms:
            time.sleep(ms / 1000)
        answer = count_in_session(id, session)
        record(id, call, "ends")
        return answer


# --- failures that the worker survives --------------------------------------------------------------------------------


@app.command
def refuse(id: int, call: herder.Call, how: str) -> Any:
    record(id, call, "begins")
    if how == "no":
        raise herder.Rejected("not today", code="today")
    if how == "result":
        return object()
    if how == "memory":  # more than the limit: only this call fails, with a MemoryError
        bytearray(2 * GIB)
    if how == "descriptors":  # 100 more with each call, until the limit is reached
        kept.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(100))
        record(id, call, "ends")
        return [id, 0, ""]
    raise ValueError("on purpose")


# --- failures that end the worker -------------------------------------------------------------------------------------


@app.command
def die(id: int, call: herder.Call, how: str) -> NoReturn:
    record(id, call, "begins")
    if how == "fork":  # a child process that outlives the worker and keeps its socket open
        os.set_inheritable(calls_fd(), True)
        os.posix_spawnp("sleep", ["sleep", "5"], os.environ)
    if how == "hog":  # SIGKILL at the memory limit, as by the kernel when it is out of memory
        try:
            while True:
                kept.append(bytearray(GIB // 8))
        except MemoryError:
            os.kill(os.getpid(), signal.SIGKILL)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    print("exiting", file=sys.stderr, flush=True)
    os._exit(3)


# --- faults on the socket of the calls --------------------------------------------------------------------------------


def calls_fd() -> int:
    """Return the descriptor of the calls. It is private to the library, so it is taken from the stack frames."""
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
    if how == "half":  # half a frame; afterwards the worker neither answers nor exits
        os.write(calls_fd(), (1000).to_bytes(4, "little") + b"\x04\x00")
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                continue


@app.command
def read_nothing(id: int, call: herder.Call, ms: float) -> list[Any]:
    """Read nothing from the socket for `ms` milliseconds."""
    return run_call(id, call, ms, "")
