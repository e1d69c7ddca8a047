"""The lifespan of an app and its `on_stop` hooks: their order, their contexts, and what a failure of one does."""

import asyncio
import contextlib
import contextvars
import functools
import signal

import pytest

import herder
from herder import frames
from herder.testing import Client

SYNC = """
import contextlib, contextvars
name = contextvars.ContextVar("name", default="nobody")

@contextlib.contextmanager
def lifespan(app):
    token = name.set("lifespan")
    print("enter", threading.current_thread() is threading.main_thread())
    yield {"db": "open"}
    name.reset(token)  # only works in the context of `set`
    print("leave", app.state.db, name.get())

app = herder.App(lifespan=lifespan)

@app.on_start
def first(): print("start", name.get(), app.state.db)

@app.on_stop
def stop_first(): print("stop first")

@app.on_stop
def stop_second(): print("stop second", name.get())

@app.command
def who(): return name.get()
"""
ASYNC = (
    SYNC.replace("@contextlib.contextmanager\ndef", "@contextlib.asynccontextmanager\nasync def")
    .replace('print("enter"', 'app.state.task = asyncio.current_task()\n    print("enter"')
    .replace('print("leave"', 'assert app.state.task is asyncio.current_task()\n    print("leave"')
    .replace("def stop_second", "async def stop_second")
    .replace("def who", "async def who")
)
MIXED = SYNC + "\n@app.command\nasync def makes_it_asyncio(): pass\n"
APPS = pytest.mark.parametrize("app", [SYNC, ASYNC, MIXED], ids=["sync", "asyncio", "sync-in-asyncio"])


@APPS
def test_the_order_of_a_life(start, app):
    """The lifespan is the outermost part, the `on_stop` hooks run in reverse order, and context variables hold."""
    host = start(app)
    assert host.call("who").result == "lifespan"
    host.calls.sendall(frames.frame(frames.SHUTDOWN))  # on both descriptors, as a pool sends it
    host.shutdown()
    status, out, err = host.wait_for_exit()
    lines = ["enter True", "start lifespan open", "stop second lifespan", "stop first", "leave open nobody"]
    assert (status, out.splitlines(), err) == (0, lines, "")


@APPS
def test_a_failed_start_leaves_the_lifespan(start, app):
    """The hooks of the stop do not run: the worker never served."""
    host = start(app + "\n@app.on_start\ndef fails(): raise ValueError('no database')\n", wait=False)
    assert host.start_error()["message"].startswith("no database")
    status, out, _ = host.wait_for_exit()
    assert (status, out.splitlines()) == (1, ["enter True", "start lifespan open", "leave open nobody"])


@APPS
def test_the_death_of_the_host_is_no_stop(start, app):
    host = start(app)
    host.calls.close()  # not the control descriptor, whose end ends the process at once
    assert host.wait_for_exit()[1].splitlines() == ["enter True", "start lifespan open"]


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "asyncio"])
def test_a_stop_waits_for_the_calls(start, kind):
    """A shutdown during a call: the call is answered first, and the exceptions of hooks change nothing but the log."""
    host = start(f"""
        @app.command
        {kind}def slow():
            print("slow")
            {"await asyncio" if kind else "time"}.sleep(0.2)
            print("slow ends")
            return 1

        @app.on_stop
        {kind}def last(): print("last")

        @app.on_stop
        {kind}def fails():
            print("fails")
            raise SystemExit("cannot close")
        """)
    wire_id = host.send("slow")
    assert host.wait_for_line() == "slow"
    host.shutdown()
    answer = host.answer()
    assert (answer.wire_id, answer.result) == (wire_id, 1)
    status, out, err = host.wait_for_exit()
    assert (status, out.splitlines()) == (0, ["slow ends", "fails", "last"])
    assert "the on_stop hook fails raised an exception" in err and "SystemExit: cannot close" in err


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "asyncio"])
def test_a_hook_that_hangs_is_killed_with_its_worker(start, kind):
    """SIGTERM is ignored while the hooks run: a service manager may send it to all processes a second time."""
    host = start(
        f"""
        @app.command
        def pid(): return os.getpid()

        @app.on_stop
        {kind}def hangs():
            os.kill(os.getpid(), signal.SIGTERM)
            print("hangs")
            {"await asyncio" if kind else "time"}.sleep(1000)

        import signal
        """,
        stop_timeout_ms=300,
    )
    host.shutdown()
    assert host.wait_for_line() == "hangs"
    host.kill(signal.SIGTERM)
    status, _, err = host.wait_for_exit()
    assert status == 1
    assert "the on_stop hook hangs did not end within 0.3 s (`stop.grace`)" in err
    assert "Thread 0x" in err or "thread 0x" in err  # the stacks


def test_background_tasks_still_run_during_the_stop(start):
    """A connection may need its tasks to be closed. They are cancelled after the lifespan."""
    host = start("""
        queue, done = asyncio.Queue(), asyncio.Event()

        async def write():
            try:
                print("wrote", await queue.get())
                done.set()
                await asyncio.sleep(1000)
            finally:
                print("cancelled")

        @app.on_start
        async def connect(): app.state.task = asyncio.create_task(write())

        @app.on_stop
        async def flush():
            queue.put_nowait("all")
            await done.wait()

        @app.command
        async def nothing(): pass
        """)
    host.shutdown()
    assert host.wait_for_exit() == (0, "wrote all\ncancelled\n", "")


def test_a_lifespan_that_ends_early_is_reported(start):
    host = start("""
        import contextlib

        @contextlib.asynccontextmanager
        async def lifespan(app):
            app.state.task = asyncio.current_task()
            try:
                yield
            finally:
                print("left")

        app = herder.App(lifespan=lifespan)

        @app.command
        async def crash():
            app.state.task.cancel()
            await asyncio.sleep(0)
        """)
    assert host.call("crash").result is None
    assert host.wait_for_line() == "left"
    host.shutdown()
    status, out, err = host.wait_for_exit()
    assert (status, out) == (0, "") and "the lifespan ended while the worker was serving" in err


@pytest.mark.parametrize(
    "lifespan, text",
    [
        ("def lifespan(app): yield", "decorate it with contextlib.asynccontextmanager"),
        ("async def lifespan(app): yield", "decorate it with contextlib.asynccontextmanager"),
        ("async def lifespan(app): pass", "decorate it with contextlib.asynccontextmanager"),
        ("@contextlib.contextmanager\ndef lifespan(app): yield 5", "the lifespan yielded an object of type int"),
        ("@contextlib.asynccontextmanager\nasync def lifespan(app): yield 5", "the lifespan yielded an object of"),
        ("@contextlib.contextmanager\ndef lifespan(app): 1 / 0; yield", "division by zero"),
        ("@contextlib.asynccontextmanager\nasync def lifespan(app): 1 / 0; yield", "division by zero"),
    ],
)
def test_a_lifespan_that_cannot_be_entered_stops_the_start(start, lifespan, text):
    host = start(
        f"import contextlib\n{lifespan}\napp = herder.App(lifespan=lifespan)\n@app.command\ndef f(): pass\n", wait=False
    )
    assert text in host.start_error()["message"]
    status, _, err = host.wait_for_exit()
    assert (status, err) == (1, "")


def test_a_lifespan_must_be_a_function():
    with pytest.raises(TypeError, match="expected a function that returns a context manager"):
        herder.App(lifespan=contextlib.nullcontext())


def nothing(): ...


DEPENDENCY = herder.Depends(nothing)


def two(session, reason): ...


def three(session, reason, other): ...


def keyword(session, *, reason): ...


def injected(conn=DEPENDENCY): ...


def generator():
    yield


class Hook:
    def __call__(self, *arguments, more=1): ...


@pytest.mark.parametrize(
    ("kind", "hook", "reason", "allowed"),
    [
        (
            "on_start",
            two,
            r"the on_start hook two\(session, reason\) \(.*test_lifecycle.py:\d+\) .*'session'",
            r"two\(\)",
        ),
        ("on_stop", two, "the on_stop hook two.*missing a required argument", r"two\(\)"),
        ("on_session_start", two, "'reason'", r"two\(session\)"),
        ("on_session_end", nothing, r"nothing\(\) .*too many positional arguments", r"nothing\(session, reason\)"),
        ("on_session_end", three, r"three\(session, reason, other\) .*'other'", r"three\(session, reason\)"),
        ("on_session_end", keyword, "too many positional arguments", r"keyword\(session, reason\)"),
        ("health", two, r"the health function two\(session, reason\)", r"two\(\)"),
        (
            "health",
            injected,
            r"injected\(conn=..\) .*: herder.Depends applies to commands and providers",
            r"injected\(\)",
        ),
        ("on_start", generator, "a call of a generator function runs nothing of it", "a function without `yield`"),
    ],
)
def test_a_hook_with_other_parameters_is_refused(kind, hook, reason, allowed):
    with pytest.raises(TypeError, match=f"{reason}.*; allowed: {allowed}"):
        getattr(herder.App(), kind)(hook)


def test_the_parameters_of_a_lifespan_are_checked():
    with pytest.raises(
        TypeError, match=r"the lifespan nothing\(\) .*: too many positional arguments; allowed: .*\(app\)"
    ):
        herder.App(lifespan=nothing)


def test_hooks_may_have_more_parameters_with_defaults():
    app = herder.App()
    for hook in (Hook(), lambda *arguments: None, functools.partial(three, 1, 2, 3), print):
        for kind in ("on_start", "on_stop"):
            getattr(app, kind)(hook)
    app.on_session_end(functools.partial(three, other=1))


def life(is_async):
    """Return an app and the list of what it does."""
    done, name = [], contextvars.ContextVar("name", default="nobody")

    def enter():
        done.append("enter")
        name.set("lifespan")
        yield {"db": "open"}
        done.append("leave")

    async def enter_async():
        for value in enter():
            yield value

    app = herder.App(
        lifespan=contextlib.asynccontextmanager(lambda app: enter_async())
        if is_async
        else contextlib.contextmanager(lambda app: enter())
    )
    app.on_start(lambda: done.append("start"))
    app.on_stop(lambda: done.append("stop 1"))
    app.on_stop(lambda: done.append("stop 2"))
    app.command(name="who")(lambda: f"{name.get()} {app.state.db}")
    return app, done


LIFE = ["enter", "start", "stop 2", "stop 1", "leave"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_client_lives_as_a_worker_does(is_async):
    app, done = life(is_async)
    with Client(app) as client:
        assert client.call("who") == "lifespan open"
    client.close()  # a second time: nothing runs again
    assert done == LIFE


@pytest.mark.parametrize("is_async", [False, True])
def test_an_async_client_lives_as_a_worker_does(is_async):
    app, done = life(is_async)

    async def run():
        async with Client(app) as client:
            assert await client.call("who") == "lifespan open"

    asyncio.run(run())
    assert done == LIFE


@pytest.mark.parametrize("is_async", [False, True])
def test_a_client_whose_start_fails_leaves_the_lifespan(is_async):
    app, done = life(is_async)

    @app.on_start
    def fails():
        raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        Client(app)

    async def run():
        async with Client(app):
            pass

    with pytest.raises(ValueError, match="no database"):
        asyncio.run(run())
    assert done == 2 * ["enter", "start", "leave"]
