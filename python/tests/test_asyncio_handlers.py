"""R42, R35: what the handlers of an asyncio worker share, and how they are interrupted."""

import sys

import pytest

from herder import frames

SHARED = """
import contextvars, decimal, subprocess

started = contextvars.ContextVar("started", default=())
seen = contextvars.ContextVar("seen", default="nothing")
gate = asyncio.Event()

@app.on_start
def first():
    started.set(("first",))
    decimal.getcontext().prec = 11

@app.on_start
async def second():
    await asyncio.sleep(0)
    started.set((*started.get(), "second"))

@app.on_start
def third(): started.set((*started.get(), "third"))

def look(value):
    before = [list(started.get()), seen.get(), decimal.getcontext().prec]
    seen.set(value)
    started.set(())
    decimal.getcontext().prec = 5
    return before

@app.command
def sets(value: str): return look(value)

@app.command
async def a_sets(value: str): return look(value)

@app.on_session_end
def ended(session, reason): print("sync hook", *look("a hook"))

@app.on_session_end
async def a_ended(session, reason): print("async hook", *look("a hook"))

@app.command
async def waits(): await gate.wait(); return look("waited")

@app.command
async def opens(): gate.set()

async def double(value):
    await asyncio.sleep(0)
    return 2 * value

def runs_a_loop():
    for here in (asyncio.get_running_loop, asyncio.current_task):
        try: return f"there is {here()}"
        except RuntimeError: pass
    try: current = asyncio.get_event_loop()
    except RuntimeError: current = None
    if current is not None and current.is_running(): return "the loop of the worker"
    return asyncio.run(double(21))

@app.command
def nested(): return runs_a_loop()

@app.on_session_end
def nested_hook(session, reason): print("nested", runs_a_loop())

@app.command
async def spawns():
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(6 * 7)", stdout=subprocess.PIPE)
    return (await child.communicate())[0].decode().strip()
"""
LEFT = [["first", "second", "third"], "nothing", 11]


def test_each_call_and_hook_has_a_context_of_its_own(start):
    """It is a copy of the context after the sync and async `on_start` hooks, including the decimal context."""
    host = start(SHARED, concurrency=4)
    waiting = host.send("waits")
    for command in ("sets", "a_sets", "sets", "a_sets"):
        assert host.call(command, value="set").result == LEFT
    host.send("opens")
    assert host.answers(2)[waiting].result == LEFT
    host.end_session("ann")
    printed = " ".join(map(str, LEFT))
    assert [host.wait_for_line() for _ in range(2)] == [f"sync hook {printed}", f"async hook {printed}"]


def test_a_waiting_call_does_not_get_the_context_of_the_call_before_it(start):
    """The second call begins when the first one ends."""
    host = start(SHARED, concurrency=1, pipeline=3)
    packed = [host.pack_call(name, b'{"value":"set"}') for name in ("a_sets", "a_sets", "sets")]
    host.calls.sendall(b"".join(data for _, data in packed))
    assert [answer.result for answer in host.answers(3).values()] == [LEFT] * 3


def test_a_sync_handler_runs_as_in_an_app_without_async_ones(start):
    """No event loop is running in it, so it may run its own ones while async calls wait."""
    host = start(SHARED, concurrency=4)
    waiting = host.send("waits")
    for _ in range(3):
        assert host.call("nested").result == 42
        assert host.call("a_sets", value="set").result == LEFT
    host.end_session("ann")
    assert [host.wait_for_line() for _ in range(3)][2] == "nested 42"
    assert host.call("nested").result == 42
    host.send("opens")
    assert waiting in host.answers(2)


def test_async_handlers_can_start_programs(start):
    """Also after a handler has run its own event loop."""
    host = start(SHARED, concurrency=4)
    assert host.call("spawns").result == "42"
    assert host.call("nested").result == 42
    assert host.call("spawns").result == "42"


def test_waiting_sync_calls_run_one_in_each_iteration(start):
    """They are not nested on the stack, and other callbacks of the loop run between them."""
    host = start(
        """
        ticks = 0

        def tick():
            global ticks
            ticks += 1
            asyncio.get_running_loop().call_soon(tick)

        @app.command
        async def first():
            tick()
            await asyncio.sleep(0.01)

        @app.command
        def later():
            depth, frame = 0, sys._getframe()
            while frame := frame.f_back: depth += 1
            return [depth, ticks]
        """,
        pipeline=800,
    )
    packed = [host.pack_call("first" if not n else "later") for n in range(800)]
    host.calls.sendall(b"".join(data for _, data in packed))
    answers = [host.answer() for _ in packed]
    assert [answer.wire_id for answer in answers] == [wire_id for wire_id, _ in packed]
    depths, ticks = zip(*(answer.result for answer in answers[1:]), strict=True)
    assert len(set(depths)) == 1
    assert list(ticks) == sorted(set(ticks))


CHILDREN = """
async def busy(name):
    try:
        print(name)
        while True: pass
    finally:
        for _ in range(5): time.sleep(0.02)
        print("clean")

async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(busy("in"))
        tasks.create_task(busy("again"))

async def group_of_one():
    async with asyncio.TaskGroup() as tasks: tasks.create_task(busy("in"))

async def gathers(): await asyncio.gather(busy("in"), busy("again"))

async def starts():
    task = asyncio.create_task(busy("in"))
    await asyncio.Event().wait()

async def calls_back():
    def back():
        print("in")
        while True: pass
    asyncio.get_running_loop().call_soon(back)
    await asyncio.Event().wait()

@app.command
async def run(how: str): await globals()[how]()

@app.command
def nested(how: str): asyncio.run(globals()[how]())

@app.command
async def quick(): return "quick"
"""


GROUPS = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has task groups since Python 3.11")


@pytest.mark.parametrize("how", ["gathers", pytest.param("group", marks=GROUPS), "starts", "calls_back"])
def test_tasks_and_callbacks_of_an_interrupted_handler_are_interrupted(start, how):
    """R35: the task computes and never awaits. Its cleanup is not interrupted again."""
    host = start(CHILDREN, concurrency=2)
    wire_id = host.send("run", how=how)
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.state() == (wire_id, frames.RUNNING)
    answer = host.answer()
    assert (answer.wire_id, answer.error_kind) == (wire_id, "cancelled")
    if how != "calls_back":
        assert "clean" in [host.wait_for_line() for _ in range(1 if how == "starts" else 2)]
    assert host.call("quick").result == "quick"


@GROUPS
def test_an_interrupt_in_an_exception_group_is_answered_as_cancelled(start):
    """R35: `asyncio.run` in a sync handler; a task group raises the interrupt in an exception group."""
    host = start(CHILDREN)
    wire_id = host.send("nested", how="group_of_one")
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().error_kind == "cancelled"
    assert host.call("quick").result == "quick"


def test_a_thread_of_an_ended_call_gets_no_other_current_call(start):
    """`current_call()` in the thread is the call that started it, or raises."""
    host = start(
        """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(3)
        asked, reported, results = threading.Semaphore(0), threading.Semaphore(0), []

        def late():
            asked.acquire()
            try: results.append(herder.current_call().id)
            except RuntimeError: results.append(None)
            reported.release()

        @app.command
        async def starts_threads():
            threading.Thread(target=late).start()
            asyncio.get_running_loop().run_in_executor(pool, late)
            asyncio.ensure_future(asyncio.to_thread(late))
            await asyncio.sleep(0)
            return herder.current_call().id

        def ask():
            for _ in range(3): asked.release()
            for _ in range(3): reported.acquire()
            return [herder.current_call().id, *results]

        @app.command
        def asks(): return ask()

        @app.command
        async def a_asks(): return ask()
        """
    )
    for command in ("asks", "a_asks"):
        starter = host.call("starts_threads").result
        here, *there = host.call(command).result
        assert starter == here - 1
        assert set(there) <= {starter, None, 1}


LOOPS = """
    tasks = []

    @app.on_start
    def begin():
        app.state.loop = asyncio.get_event_loop()
        tasks.append(app.state.loop.create_task(background()))

    async def background():
        print("in the background", flush=True)

    @app.command
    async def same() -> bool: return app.state.loop is asyncio.get_running_loop()

    @app.command
    def sync() -> list:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return [asyncio.get_event_loop() is not app.state.loop, loop.run_until_complete(asyncio.sleep(0, "ran"))]
"""


def test_a_sync_on_start_hook_gets_the_loop_of_the_handlers(start):
    host = start(LOOPS)
    assert host.wait_for_line() == "in the background"
    assert host.call("same").result is True
    assert host.call("sync").result == [True, "ran"]
    assert host.call("same").result is True


def test_programs_start_under_a_policy_without_a_child_watcher(start):
    """Such as uvloop's, if the application sets only the policy."""
    host = start(
        """
        class Policy(asyncio.AbstractEventLoopPolicy):
            loop = None
            def get_event_loop(self): return self.loop
            def set_event_loop(self, loop): self.loop = loop
            def new_event_loop(self): return asyncio.SelectorEventLoop()

        asyncio.set_event_loop_policy(Policy())

        @app.command
        async def run() -> int:
            process = await asyncio.create_subprocess_exec("false")
            return await process.wait()
        """
    )
    assert host.call("run").result == 1


def test_a_shared_task_survives_the_interrupt_of_the_call_that_started_it(start):
    """R35: such as the reader of a connection that the first call opened. Its steps are too short to block the loop."""
    host = start(
        """
        steps = []

        async def serve_all():
            while True:
                end = time.monotonic() + 0.015
                while time.monotonic() < end: pass
                steps.append(1)
                await asyncio.sleep(0)

        @app.command
        async def first():
            app.state.task = asyncio.ensure_future(serve_all())
            try:
                print("in", flush=True)
                await asyncio.Event().wait()
            finally:
                begun = len(steps)
                while len(steps) < begun + 20: await asyncio.sleep(0)

        @app.command
        async def is_running() -> bool: return not app.state.task.done()
        """
    )
    wire_id = host.send("first")
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().error_kind == "cancelled"
    assert host.call("is_running").result is True
