"""R42: generator handlers send their items as a stream, and stop when nobody takes them."""

import json

import pytest

from herder import frames
from host import Answer

# The four ways in which a generator handler runs: what stands before `def` in its definition, and the rest of its app.
KINDS = {
    "sync": ("@app.command\ndef", ""),
    "async": ("@app.command\nasync def", ""),
    "sync in an async app": ("@app.command\ndef", "@app.command\nasync def other(): return 'other'\n"),
    "thread": ("@app.command(run_sync='thread')\ndef", ""),
}

APP = """
import contextvars, functools
from collections.abc import AsyncIterator, Iterator
seen = contextvars.ContextVar("seen", default=0)
produced = 0

GENERATOR count(n: int, size: int = 0, fail_at: int = -1) -> ITERATOR:
    global produced
    produced = 0
    try:
        for i in range(n):
            if i == fail_at:
                raise ValueError(f"failed at {i}")
            produced += 1
            yield i if not size else "x" * size
        return RETURNED
    except BaseException as error:
        print(type(error).__name__, produced)
        raise

GENERATOR looks(call: herder.Call, session: herder.Session):
    for i in range(3):
        seen.set(seen.get() + 1)
        session.state["steps"] = session.state.get("steps", 0) + 1
        yield [seen.get(), session.state["steps"], call.id == herder.current_call().id]

GENERATOR unencodable():
    yield 1
    yield {"a": [object()]}

GENERATOR never():
    if False: yield

GENERATOR stubborn():
    while True:
        try: yield "x" * 100
        except GeneratorExit: pass

@app.command
def plain(n: int): return [n]
"""


@pytest.fixture(params=KINDS)
def start_kind(start, request):
    """Start a worker whose generator handlers are of one kind."""
    generator, rest = KINDS[request.param]
    is_async = "async def" in generator
    replaced = {
        "GENERATOR": generator,
        "ITERATOR": "AsyncIterator[int]" if is_async else "Iterator[int]",
        "RETURNED": "" if is_async else "'ignored'",
    }

    def start_it(app=APP, **options):
        for name, text in replaced.items():
            app = app.replace(name, text)
        return start(app + rest, **options)

    return start_it


def cancelled(host, wire_id, interrupt=False):
    """Cancel a stream that runs; return its error. Skips chunks that were sent before."""
    host.cancel(wire_id, interrupt)
    assert host.state() == (wire_id, frames.RUNNING)
    while (frame := host.frame())[0] == frames.CHUNK:
        pass
    kind, _, received, body = frame
    assert (kind, received) == (frames.ERROR, wire_id)
    return Answer(kind, wire_id, body).error


def test_items_arrive_in_order_and_the_caller_decides_whether_they_are_a_stream(start_kind):
    host = start_kind()
    described = {each["name"]: each for each in host.ready_message["commands"]}
    assert described["count"]["stream"] is True
    assert described["count"]["result"] == {"type": "array", "items": {"type": "integer"}}
    assert "stream" not in described["plain"]
    assert host.stream("count", n=2000) == (list(range(2000)), None)
    assert host.call("count", n=3).result == [0, 1, 2]
    assert host.stream("never") == ([], None)
    wire_id = host.send_stream("plain", n=7)
    answer = host.answer()
    assert (answer.wire_id, answer.result) == (wire_id, [7])


def test_without_credit_the_producer_stops_and_a_cancel_closes_it(start_kind):
    """It sends while less than the window is out: six chunks of 17 bytes. The seventh item waits in the worker."""
    host = start_kind(stream_window=100)
    wire_id = host.send_stream("count", n=100_000)
    assert [host.chunk(wire_id) for _ in range(6)] == list(range(6))
    host.credit(wire_id, 17 * 2)
    assert [host.chunk(wire_id) for _ in range(2)] == [6, 7]
    host.credit(wire_id + 1, 1 << 20)  # of another stream, which has ended
    assert cancelled(host, wire_id)["kind"] == "cancelled"
    assert host.wait_for_line() == "GeneratorExit 9"
    assert host.stream("count", n=50) == (list(range(50)), None)


def test_a_large_item_is_sent_as_soon_as_anything_is(start_kind):
    host = start_kind(stream_window=100)
    wire_id = host.send_stream("count", n=2, size=200_000)
    assert host.chunk(wire_id) == "x" * 200_000
    host.credit(wire_id, 200_018)
    assert host.chunk(wire_id) == "x" * 200_000
    assert host.frame(frames.RESULT)[1] == frames.END_OF_STREAM


def test_errors_come_after_the_items_before_them(start_kind):
    host = start_kind(max_frame=5000)
    items, error = host.stream("count", n=5, fail_at=2)
    assert (items, error["kind"], error["type"], error["message"]) == ([0, 1], "exception", "ValueError", "failed at 2")
    assert error["traceback"].count("File") == 1
    assert host.stream("count", n=5, fail_at=0)[0] == []
    assert host.wait_for_line() == "ValueError 2"
    assert host.wait_for_line() == "ValueError 0"
    items, error = host.stream("unencodable")
    assert (items, error["kind"]) == ([1], "unencodable")
    assert error["message"].startswith("item 1 of the stream: result.a[0]: a value of type object")
    items, error = host.stream("count", n=3, size=6000)
    assert (items, error["kind"]) == ([], "too_large")
    assert error["message"].startswith("item 0 of the stream of count has 6002 bytes; the limit is 5000 bytes")
    assert host.wait_for_line() == "GeneratorExit 1"
    items, error = host.stream("count", n="many")
    assert (items, error["kind"]) == ([], "bad_arguments")
    assert host.stream("count", n=2) == ([0, 1], None)


def test_a_generator_that_ignores_its_end_does_no_harm(start_kind):
    host = start_kind(stream_window=100)
    wire_id = host.send_stream("stubborn")
    host.chunk(wire_id)
    error = cancelled(host, wire_id)
    assert (error["kind"], error["type"]) == ("exception", "RuntimeError")
    assert "ignored GeneratorExit" in error["message"]
    assert host.call("plain", n=1).result == [1]


def test_all_steps_run_in_the_context_of_the_call(start_kind):
    host = start_kind()
    assert host.stream("looks", session="ann") == ([[1, 1, True], [2, 2, True], [3, 3, True]], None)
    assert host.stream("looks", session="ann")[0][2] == [3, 6, True]
    assert host.stream("looks")[1]["kind"] == "bad_arguments"


DEPENDENCIES = """
from typing import Annotated

def connect():
    print("connect")
    try: yield "a connection"
    except BaseException as error: print("provider:", type(error).__name__); raise
    finally: print("disconnect")

GENERATOR rows(n: int, connection: Annotated[str, herder.Depends(connect)], fail: bool = False):
    try:
        for i in range(n): yield f"{connection} {i}"
        if fail: raise ValueError("failed")
    finally: print("rows end")

@app.on_session_start
def begins(session): print("session", session.id)
"""


def test_dependencies_are_cleaned_up_after_the_end_of_the_stream(start_kind):
    host = start_kind(DEPENDENCIES, stream_window=100)

    def lines(count):
        return [host.wait_for_line() for _ in range(count)]

    assert host.stream("rows", n=2, session="ann") == (["a connection 0", "a connection 1"], None)
    assert lines(4) == ["session ann", "connect", "rows end", "disconnect"]
    assert host.stream("rows", n=1, fail=True)[1]["message"] == "failed"
    assert lines(4) == ["connect", "rows end", "provider: ValueError", "disconnect"]
    wire_id = host.send_stream("rows", n=100_000)
    host.chunk(wire_id)
    assert cancelled(host, wire_id)["kind"] == "cancelled"
    assert lines(4) == ["connect", "rows end", "provider: GeneratorExit", "disconnect"]
    assert host.call("rows", n=1).result == ["a connection 0"]


ASYNC_PROVIDER = """
from typing import Annotated

async def connect():
    try: yield "a connection"
    finally:
        await asyncio.sleep(0)
        print("disconnect")

@app.command
def rows(connection: Annotated[str, herder.Depends(connect)]):
    try:
        while True: yield connection
    finally: print("rows end")

@app.command
async def a_rows(connection: Annotated[str, herder.Depends(connect)]):
    try:
        while True: yield connection
    finally:
        await asyncio.sleep(0)
        print("rows end")
"""


@pytest.mark.parametrize("command", ["rows", "a_rows"])
def test_async_dependencies_are_cleaned_up_after_a_cancel(start, command):
    host = start(ASYNC_PROVIDER, stream_window=100)
    wire_id = host.send_stream(command)
    assert host.chunk(wire_id) == "a connection"
    assert cancelled(host, wire_id)["kind"] == "cancelled"
    assert [host.wait_for_line() for _ in range(2)] == ["rows end", "disconnect"]


WAITING = """
GENERATOR waits():
    try:
        yield "first"
        SLEEP
    except BaseException as error:
        print(type(error).__name__)
        raise
"""


@pytest.mark.parametrize(
    "define, sleep, error",
    [
        ("@app.command\ndef", "print('waits'); time.sleep(60)", "Interrupted"),
        (
            "@app.command\nasync def",
            "asyncio.get_running_loop().call_soon(print, 'waits'); await asyncio.sleep(60)",
            "CancelledError",
        ),
        ("@app.command\nasync def", "print('waits'); time.sleep(60)", "Interrupted"),
        ("@app.command\nasync def other(): pass\n@app.command\ndef", "print('waits'); time.sleep(60)", "Interrupted"),
    ],
)
def test_an_interrupt_ends_a_step_that_takes_long(start, define, sleep, error):
    host = start(WAITING.replace("GENERATOR", define).replace("SLEEP", sleep))
    wire_id = host.send_stream("waits")
    assert host.chunk(wire_id) == "first"
    assert host.wait_for_line() == "waits"
    interrupted = cancelled(host, wire_id, interrupt=True)
    assert interrupted["message"] == "the call was interrupted"
    assert "in waits\n" in interrupted["traceback"]  # where the handler was
    assert host.wait_for_line() == error


@pytest.mark.parametrize("start_kind", list(KINDS)[1:], indirect=True)  # a sync worker runs one call at a time
def test_streams_that_wait_hold_up_no_other_call(start_kind):
    host = start_kind(stream_window=100, concurrency=3)
    waiting = [host.send_stream("count", n=100_000, size=90) for _ in range(2)]
    assert sorted(host.frame(frames.CHUNK)[2] for _ in range(2)) == waiting
    assert host.call("plain", n=1).result == [1]
    host.credit(waiting[1], 108)
    assert host.chunk(waiting[1]) == "x" * 90
    for wire_id in waiting:
        assert cancelled(host, wire_id)["kind"] == "cancelled"


def test_a_stream_that_never_waits_lets_other_tasks_run(start):
    host = start(
        """
        @app.command
        async def spins():
            while True: yield 1

        @app.command
        async def other(): return "other"
        """,
        concurrency=2,
        stream_window=(1 << 32) - 1,
    )
    wire_id, other = host.send_stream("spins"), host.send("other")
    while (frame := host.frame())[0] == frames.CHUNK:
        assert frame[2] == wire_id
    assert frame[2] == other


def test_items_that_follow_at_once_are_written_together(start, tmp_path):
    """But an item that is followed by code which blocks does not wait for the next one."""
    host = start(
        """
        from pathlib import Path
        from herder import aio_streams

        writes = 0
        flush = aio_streams.SharedOutput.flush

        def counted(output):
            global writes
            writes += bool(output.parts)
            return flush(output)

        aio_streams.SharedOutput.flush = counted

        @app.command
        async def items(n: int, go: str):
            for number in range(n): yield number
            while not Path(go).exists(): time.sleep(0.001)
            yield "last"

        @app.command
        def count(): return writes
        """
    )
    wire_id = host.send_stream("items", n=1000, go=str(tmp_path / "go"))
    assert [host.chunk(wire_id) for _ in range(1000)] == list(range(1000))
    (tmp_path / "go").touch()
    assert host.chunk(wire_id) == "last"
    assert host.frame(frames.RESULT)[1] == frames.END_OF_STREAM
    assert host.call("count").result < 1000


def test_threads_encode_their_items_independently(start):
    host = start(
        """
        @app.encoder(complex)
        def pair(number):
            time.sleep(0.001)  # another thread runs
            return [number.real, number.imag]

        SHARED = [1j]

        @app.command(run_sync="thread")
        def items():
            for _ in range(20): yield SHARED

        @app.command(run_sync="thread")
        def failing():
            yield [1j, object()]

        @app.command
        def plain(): return SHARED
        """,
        concurrency=8,
    )
    streams = {host.send_stream("items"): 20, host.send_stream("items"): 20, host.send_stream("failing"): 0}
    plain = [host.send("plain") for _ in range(5)]
    received, ends = dict.fromkeys(streams, 0), {}
    while len(ends) < len(streams) + len(plain):
        kind, _, wire_id, body = host.frame()
        if kind == frames.CHUNK:
            assert json.loads(body) == [[0.0, 1.0]]
            received[wire_id] += 1
        else:
            ends[wire_id] = Answer(kind, wire_id, body).error
    assert received == streams
    assert [error for error in ends.values() if error] == [
        {
            "kind": "unencodable",
            "message": "item 0 of the stream: result[1]: a value of type object cannot be encoded as JSON; convert it,"
            " or register @app.encoder(object)",
        }
    ]


def test_the_limit_of_a_command_counts_its_streams(start):
    host = start(
        """
        @app.command(concurrency=1)
        async def rows():
            yield "x" * 100
            yield "end"
        """,
        concurrency=2,
        stream_window=100,
    )
    first, second = host.send_stream("rows"), host.send_stream("rows")
    host.chunk(first)
    host.credit(first, 118)
    assert host.chunk(first) == "end"
    assert host.frame(frames.RESULT)[2] == first
    host.chunk(second)


WRAPPED = """
import functools

def traced(function):
    @functools.wraps(function)
    def wrapper(**arguments):
        print("called")
        return function(**arguments)
    return wrapper

@app.command
@traced
def rows(n: int): yield from range(n)

@app.command
@functools.wraps(lambda: None)
def plain(): return 1

def total(function):
    @functools.wraps(function)
    def wrapper(**arguments): return sum(function(**arguments))
    return wrapper

@app.command
@total
def summed(n: int): yield from range(n)
"""


ASYNC_WRAPPED = """
@app.command
@traced
async def a_rows(n: int):
    for i in range(n): yield i
"""


@pytest.mark.parametrize("rest", ["", ASYNC_WRAPPED])
def test_wrappers_of_generators_stream_too(start, rest):
    host = start(WRAPPED + rest)
    assert host.stream("rows", n=3) == ([0, 1, 2], None)
    assert host.stream("summed", n=4) == ([6], None)
    assert host.call("summed", n=4).result == 6
    if rest:
        assert host.stream("a_rows", n=3) == ([0, 1, 2], None)


FORKS = """
GENERATOR forks():
    yield os.getpid()
    child = os.fork()
    yield os.getpid()
    if child: os.waitpid(child, 0)
"""


def test_a_fork_in_a_generator_sends_nothing(start_kind):
    host = start_kind(FORKS)
    pids, error = host.stream("forks")
    assert (error, set(pids)) == (None, {host.process.pid})


def test_a_shutdown_lets_a_stream_end(start_kind):
    host = start_kind(stream_window=100)
    wire_id = host.send_stream("count", n=8)
    assert [host.chunk(wire_id) for _ in range(6)] == list(range(6))
    host.shutdown()
    host.ping()
    host.credit(wire_id, 1000)
    assert [host.chunk(wire_id) for _ in range(2)] == [6, 7]
    assert host.frame(frames.RESULT)[1] == frames.END_OF_STREAM
    assert host.wait_for_exit()[0] == 0


def test_a_worker_without_generators_does_not_import_streams(start):
    host = start("@app.command\ndef modules(): return [each for each in sys.modules if 'stream' in each]")
    assert not [each for each in host.call("modules").result if each.startswith("herder")]
