"""R42: async handlers overlap up to the pool's concurrency; all other rules apply too."""

import threading

import pytest

from herder import frames

APP = """
@app.on_start
async def load(): app.state.loaded = True

gate = asyncio.Event()
running = 0

@app.command
async def meet(n: int):
    global running
    running += 1
    if running == n: gate.set()
    await gate.wait()
    running -= 1
    if not running: gate.clear()
    return herder.current_call().id

@app.command
async def peak():
    global running
    running += 1
    seen = running
    await asyncio.sleep(0)
    running -= 1
    return seen

@app.command
async def agen(n: int):
    for i in range(n):
        await asyncio.sleep(0)
        yield i

@app.command
async def fails(): await asyncio.sleep(0); raise ValueError("async")

@app.command
async def exits(): sys.exit(4)

@app.command
async def starts_a_bad_task():
    async def bad(): raise KeyboardInterrupt
    asyncio.ensure_future(bad())
    return "left"

@app.command
async def nap(ms: int): await asyncio.sleep(ms / 1000); return ms

@app.command
async def works(ms: int, session: herder.Session):
    await asyncio.sleep(ms / 1000)
    print("done", session.id)
    return ms

@app.command
async def echo(**a): return a

@app.command
def plain(): return app.state.loaded

@app.on_session_end
async def ended(session: herder.Session, reason: str):
    await asyncio.sleep(0)
    print("end", session.id, reason)
"""


def test_calls_overlap(start):
    """Each call waits until all have begun, so it is answered only if the calls overlap."""
    host = start(APP, concurrency=8)
    assert "window" not in host.ready_message and host.hello["window"] == 8
    sent = [host.send("meet", n=8) for _ in range(8)]
    answers = host.answers(8)
    assert sorted(answers) == sent
    assert all(answer.result == wire_id for wire_id, answer in answers.items())


def test_not_more_at_once_than_the_concurrency(start):
    host = start(APP, concurrency=2, pipeline=10)
    packed = [host.pack_call("peak") for _ in range(20)]
    host.calls.sendall(b"".join(data for _, data in packed))
    assert max(answer.result for answer in host.answers(20).values()) == 2


def test_each_kind_of_result_and_error(start):
    host = start(APP, concurrency=2)
    assert host.call("agen", n=3).result == [0, 1, 2]
    assert host.call("plain").result is True
    assert host.call("fails").error["type"] == "ValueError"
    assert host.call("exits").error["type"] == "SystemExit"
    assert host.call("starts_a_bad_task").result == "left"
    assert host.call("nope").error_kind == "unknown_command"
    assert host.call("agen", n="x").error_kind == "bad_arguments"
    assert host.call("echo", b"{").error_kind == "malformed"
    assert "aio.py" not in host.call("fails").error["traceback"]


def test_a_session_ends_after_its_calls(start):
    """R22: the hook runs after the calls, also when calls overlap."""
    host = start(APP, concurrency=4)
    host.send("works", ms=30, session="ann")
    host.end_session("ann", 1, reason=3)
    assert host.answer().result == 30
    assert [host.wait_for_line() for _ in range(2)] == ["done ann", "end ann moved"]


def test_a_shutdown_waits_for_the_hooks_of_ended_sessions(start):
    """R22, R30: the hook is async, and there is no output to write when it ends."""
    host = start(APP, concurrency=2)
    host.end_session("ann")
    host.calls.sendall(frames.frame(frames.SHUTDOWN))
    status, out, _ = host.wait_for_exit()
    assert (status, out) == (0, "end ann ended\n")


@pytest.mark.parametrize("way", ["calls", "control"])
def test_a_shutdown_answers_the_received_calls(start, way):
    host = start(APP, concurrency=2, pipeline=10)
    sent = [host.send("nap", ms=20) for _ in range(6)]
    (host.calls if way == "calls" else host.control).sendall(frames.frame(frames.SHUTDOWN))
    assert sorted(host.answers(6)) == sent
    assert host.wait_for_exit()[0] == 0


def test_the_worker_exits_when_the_calls_descriptor_is_closed(start):
    host = start(APP, concurrency=2)
    host.calls.close()
    assert host.wait_for_exit()[0] == 0


def test_large_frames_are_read_and_written_at_the_same_time(start):
    """The frames are larger than the socket's buffer, so reads and writes must alternate."""
    host = start(APP, concurrency=4)
    text = "z" * (3 << 20)
    sender = threading.Thread(target=lambda: [host.send("echo", n=n, text=text) for n in range(4)])
    sender.start()
    assert sorted(answer.result["n"] for answer in host.answers(4).values()) == [0, 1, 2, 3]
    sender.join()
