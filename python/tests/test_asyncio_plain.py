"""R42: async handlers also work on asyncio's loop, if a package has replaced parts that Herder's loop needs."""

import pytest

from herder import frames

NEST = '''
"""A replacement of nest_asyncio: allows nested runs of a loop."""

import asyncio, heapq, threading

def apply(loop=None):
    asyncio.Task = asyncio.tasks.Task = asyncio.tasks._CTask = asyncio.tasks._PyTask
    asyncio.Future = asyncio.futures.Future = asyncio.futures._CFuture = asyncio.futures._PyFuture
    loop = loop or asyncio._get_running_loop()
    kind = type(loop) if loop else asyncio.SelectorEventLoop
    if not hasattr(kind, "_nest_patched"):
        kind._nest_patched = True
        for each in (run_forever, run_until_complete, _run_once, _check_running):
            setattr(kind, each.__name__, each)

def _check_running(self): pass

def iterate(self, ended):
    before = asyncio._get_running_loop(), self._thread_id
    asyncio._set_running_loop(self)
    self._thread_id = threading.get_ident()
    try:
        while not ended(): self._run_once()
    finally:
        asyncio._set_running_loop(before[0])
        self._thread_id = before[1]

def run_forever(self):
    def stopped():
        stopping, self._stopping = self._stopping, False
        return stopping
    iterate(self, stopped)

def run_until_complete(self, future):
    task = asyncio.ensure_future(future, loop=self)
    iterate(self, lambda: self._stopping or task.done())
    return task.result()

def _run_once(self):
    timers, ready, entered = self._scheduled, self._ready, asyncio.tasks._current_tasks
    wait = 0 if ready or self._stopping else max(0, timers[0]._when - self.time()) if timers else None
    self._process_events(self._selector.select(wait))
    while timers and timers[0]._when <= self.time(): ready.append(heapq.heappop(timers))
    for _ in range(len(ready)):
        if not ready: return
        handle, outer = ready.popleft(), entered.pop(self, None)
        try:
            if not handle._cancelled: handle._run()
        finally:
            if outer is not None: entered[self] = outer
'''
NESTED = """
async def later(value):
    await asyncio.sleep(0.001)
    return value

@app.command
async def nested(n: int):
    await asyncio.sleep(0)
    found = asyncio.get_running_loop().run_until_complete(later(n))
    return found + await later(1)

@app.command
def plain(n: int): return asyncio.run(later(n))
"""
APPLIED = {
    "at import": "import nest_asyncio\nnest_asyncio.apply()\n",
    "in a hook": "import nest_asyncio\n@app.on_start\nasync def applied(): nest_asyncio.apply()\n",
    "in a handler": "import nest_asyncio\n@app.command\nasync def apply(): nest_asyncio.apply()\n",
}
PLAIN = {
    "nest": APPLIED["at import"],
    "imported": "import nest_asyncio\n",
    "patched": "import nest_asyncio\nnest_asyncio.apply()\ndel sys.modules['nest_asyncio']\n",
    "selector": "import selectors\nselectors.DefaultSelector = selectors.PollSelector  # has no `fileno`\n",
}
APP = """
gate = asyncio.Event()
running = 0

@app.command
async def kind(): return type(asyncio.get_running_loop()).__name__

@app.command
async def meet(n: int):
    global running
    running += 1
    if running == n: gate.set()
    await gate.wait()
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
async def waits():
    print("waits")
    await asyncio.Event().wait()

@app.command
async def large(size: int): return "x" * size

@app.command
async def starts_bad_task(kind: str):
    async def bad(): raise getattr(__import__("builtins"), kind)("left")
    asyncio.ensure_future(bad())

@app.command
async def fails_later():
    def fails(): raise ValueError("later")
    loop, seen = asyncio.get_running_loop(), asyncio.Future()
    loop.set_exception_handler(lambda _, found: seen.set_result([found["message"][:21], str(found["exception"])]))
    loop.call_soon(fails)
    return await seen

@app.command
async def nap(session: herder.Session):
    await asyncio.sleep(0.001)
    print("done", session.id)

@app.command
def echo(**a): return a

@app.on_session_end
def first(session: herder.Session, reason: str): print("first", session.id)

@app.on_session_end
async def second(session: herder.Session, reason: str):
    await asyncio.sleep(0.001)
    print("second", session.id)
"""


@pytest.fixture(autouse=True)
def _stand_in(tmp_path):
    (tmp_path / "nest_asyncio.py").write_text(NEST)


@pytest.fixture(params=PLAIN)
def plain(request, start):
    """A function that starts a worker of `APP` where Herder's loop cannot be used."""
    return lambda **options: start(PLAIN[request.param] + APP, **options)


@pytest.mark.parametrize("when", APPLIED)
def test_nested_runs_of_the_loop_work(start, when):
    """Overlapping calls nest their runs of the loop; the last one that begins ends first."""
    host = start(APPLIED[when] + NESTED, concurrency=4, pipeline=4)
    if when == "in a handler":
        assert host.call("apply").error is None
    assert host.call("nested", n=1).result == 2
    sent = {host.send("nested" if n % 3 else "plain", n=n): n for n in range(16)}
    answers = host.answers(16)
    assert {wire_id: answer.result for wire_id, answer in answers.items()} == {
        wire_id: n + bool(n % 3) for wire_id, n in sent.items()
    }
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")


@pytest.mark.parametrize("hook", ["def", "async def"])
def test_nest_asyncio_imported_after_the_start_does_not_patch_the_loop(start, hook):
    """The module is imported after the loop was chosen. A nested run raises, and calls are still answered."""
    host = start(f"@app.on_start\n{hook} late():\n    import nest_asyncio\n    nest_asyncio.apply()\n" + NESTED)
    for n in range(3):
        answer = host.call("nested", n=n)
        assert answer.error["message"] == "This event loop is already running", answer.error
    host.shutdown()
    assert host.process.wait() == 0


def test_nest_asyncio_in_a_handler_does_not_patch_the_loop(start):
    host = start(
        """
        @app.command
        async def apply():
            import nest_asyncio
            nest_asyncio.apply()
            asyncio.get_running_loop().run_until_complete(asyncio.sleep(0))

        @app.command
        async def nap(): await asyncio.sleep(0.001)
        """
    )
    for _ in range(2):
        assert host.call("apply").error["message"] == "This event loop is already running"
        assert host.call("nap").error is None


def test_the_plain_loop_is_used_where_asyncio_is_patched(plain):
    assert plain().call("kind").result == "PlainLoop"


def test_herders_loop_is_used_otherwise(start):
    assert start(APP).call("kind").result == "WorkerEventLoop"


def test_calls_overlap(plain):
    host = plain(concurrency=8)
    sent = [host.send("meet", n=8) for _ in range(8)]
    assert {wire_id: answer.result for wire_id, answer in host.answers(8).items()} == {each: each for each in sent}


def test_not_more_at_once_than_the_concurrency(plain):
    host = plain(concurrency=2, pipeline=10)
    packed = [host.pack_call("peak") for _ in range(20)]
    host.calls.sendall(b"".join(data for _, data in packed))
    assert max(answer.result for answer in host.answers(20).values()) == 2


def test_many_sync_calls_in_one_read_are_answered(plain):
    """After each call there is more work but nothing to read."""
    host = plain(concurrency=2, pipeline=50)
    packed = [host.pack_call("echo", b'{"n":%d}' % n) for n in range(100)]
    host.calls.sendall(b"".join(data for _, data in packed))
    answers = host.answers(100)
    assert [answers[wire_id].result["n"] for wire_id, _ in packed] == list(range(100))


def test_a_session_ends_after_its_calls(plain):
    """R22: its hooks run one after the other, although no other event wakes the loop."""
    host = plain(concurrency=4)
    host.send("nap", session="ann")
    host.end_session("ann")
    host.answer()
    assert [host.wait_for_line() for _ in range(3)] == ["done ann", "first ann", "second ann"]


def test_a_shutdown_waits_for_the_hooks_of_ended_sessions(plain):
    """R22, R30."""
    host = plain(concurrency=2)
    host.end_session("ann")
    host.calls.sendall(frames.frame(frames.SHUTDOWN))
    assert host.wait_for_exit() == (0, "first ann\nsecond ann\n", "")


def test_a_shutdown_by_the_control_thread_ends_an_idle_worker(plain):
    """R30: the loop waits in its selector."""
    host = plain()
    host.call("echo")
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")


def test_the_end_of_the_descriptor_ends_the_worker(plain):
    host = plain()
    host.call("echo")
    host.calls.close()
    assert host.process.wait() == 0


def test_cancels_wake_the_loop(plain):
    """R24: a cancel of a waiting call, then an interrupt of the call before it."""
    host = plain(pipeline=2)
    runs, waits = host.send("waits"), host.send("echo")
    assert host.wait_for_line() == "waits"
    host.ping()
    host.cancel(waits)
    host.cancel(runs, interrupt=True)
    answers = host.answers(2)
    assert answers[waits].error_kind == answers[runs].error_kind == "cancelled"
    assert host.call("echo", n=1).result == {"n": 1}


def test_large_answers_wait_until_the_host_reads(plain):
    """The answers are larger than the socket's buffer; the rest is written when there is room."""
    host = plain(concurrency=4, pipeline=2)
    for _ in range(8):
        host.send("large", size=3 << 20)
    host.ping()
    assert {len(answer.result) for answer in host.answers(8).values()} == {3 << 20}


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "SystemExit", "ValueError"])
def test_calls_are_answered_after_a_background_task_raised(plain, raised):
    host = plain(concurrency=2)
    for n in range(3):
        assert host.call("starts_bad_task", kind=raised).error is None
        assert host.call("echo", n=n).result == {"n": n}
    host.shutdown()
    status, _, err = host.wait_for_exit()
    assert (status, raised in err) == (0, True)


def test_an_exception_of_a_callback_is_passed_to_the_exception_handler(plain):
    """To the application's exception handler, as in asyncio."""
    host = plain()
    assert host.call("fails_later").result == ["Exception in callback", "later"]


def test_an_exception_in_an_iteration_is_logged_and_fails_no_call(start):
    """A signal handler may raise it there. The next iteration follows without another event."""
    host = start(
        PLAIN["selector"]
        + APP
        + """
raised = []

@app.on_start
async def fail_once():
    from herder.aio import Server
    apply_requests = Server.apply_requests

    def fails(self):
        if len(self.runner.waiting) == 1 and not raised:
            raised.append(True)
            raise ValueError("in an iteration")
        apply_requests(self)

    Server.apply_requests = fails
""",
        pipeline=8,
    )
    packed = [host.pack_call("echo") for _ in range(8)]
    host.calls.sendall(b"".join(data for _, data in packed))
    assert all(answer.error is None for answer in host.answers(8).values())
    host.shutdown()
    status, _, err = host.wait_for_exit()
    assert (status, "in an iteration" in err) == (0, True)


# --- Herder's own loop, when a handler runs it by its private method --------------------------------------------------


def test_a_callback_may_run_the_loop(start):
    """It then runs the callbacks after it, and the loop continues without an error."""
    host = start(
        """
        @app.command
        async def iterates():
            loop, seen = asyncio.get_running_loop(), []
            loop.call_soon(loop._run_once)
            for n in range(3): loop.call_soon(seen.append, n)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return seen
        """
    )
    assert host.call("iterates").result == [0, 1, 2]
    host.shutdown()
    assert host.wait_for_exit() == (0, "", "")


def test_a_task_that_runs_the_loop_is_not_stuck(start):
    """R19: while the exception of another callback is handled, the task waits for no future, but it runs."""
    host = start(
        """
        def bad(): raise KeyboardInterrupt("bad")

        @app.command
        async def iterates():
            loop = asyncio.get_running_loop()
            loop.call_soon(bad)
            for _ in range(2): loop._run_once()
            return "done"
        """
    )
    assert host.call("iterates").result == "done"
    assert host.call("iterates").result == "done"
