"""`on_session_start` hooks: once for each session, as the first part of its first call."""

import asyncio

import pytest

import herder
from herder import frames
from herder.testing import CallError, Client

HOOKS = """
import contextvars
name = contextvars.ContextVar("name", default="nobody")

@app.on_session_start
def first(session):
    session.state["steps"] = ["first", name.get()]
    name.set(session.id)
    print("first", session.id, herder.current_call().id)

@app.on_session_start
async def second(session):
    await asyncio.sleep(0)
    session.state["steps"] += ["second", name.get()]
    if session.id == "bad" and not os.path.exists("good"): raise herder.Rejected("no", code="bad")
    if session.id == "slow":
        print("sleeps")
        await asyncio.sleep(1000)

@app.on_session_start
def third(session):
    session.state["steps"].append("third")
    if session.id == "runs": asyncio.run(asyncio.sleep(0))

@app.on_session_end
def end(session, reason): print("end", session.id)

@app.command
async def steps(session: herder.Session): return session.state["steps"] + [name.get()]

@app.command
def sync_steps(session: herder.Session): return session.state["steps"] + [name.get()]

@app.command(run_sync="thread")
def thread_steps(session: herder.Session): return session.state["steps"] + [name.get()]

@app.command
async def no_session(): return 1
"""
STEPS = ["first", "nobody", "second", "nobody", "third", "nobody"]
SYNC_HOOKS = (
    HOOKS.replace("await asyncio.sleep", "time.sleep").replace("async def", "def").replace('(run_sync="thread")', "")
)
APPS = pytest.mark.parametrize("app", [SYNC_HOOKS, HOOKS], ids=["sync", "asyncio"])


@APPS
@pytest.mark.parametrize("command", ["steps", "sync_steps", "thread_steps"])
def test_the_hooks_run_once_before_the_first_call(start, app, command):
    """Each hook has a context of its own, and the handler has another one."""
    host = start(app)
    assert host.call("no_session").result == 1
    assert host.call(command, unknown=1, session="ann").error_kind == "bad_arguments"  # begins no session
    for _ in range(2):
        assert host.call(command, session="ann").result == STEPS
    host.end_session("ann")
    assert host.call(command, session="ann", epoch=2).result == STEPS
    assert host.call(command, session="runs").result == STEPS
    host.shutdown()
    lines = ["first ann 3", "end ann", "first ann 5", "first runs 6"]
    assert host.wait_for_exit() == (0, "\n".join(lines) + "\n", "")


@APPS
def test_a_hook_that_raises_fails_the_call_and_begins_no_session(start, app, tmp_path):
    """The next call runs the hooks again, with an empty state. The end of a session that never began runs no hook."""
    host = start(app, cwd=tmp_path)
    for _ in range(2):
        answer = host.call("steps", session="bad")
        assert (answer.error_kind, answer.error["code"]) == ("rejected", "bad")
    host.end_session("bad")
    assert host.call("no_session").result == 1
    (tmp_path / "good").touch()
    assert host.call("steps", session="bad", epoch=2).result == STEPS
    host.end_session("bad", epoch=2)
    host.shutdown()
    lines = ["first bad 1", "first bad 2", "first bad 4", "end bad"]
    assert host.wait_for_exit() == (0, "\n".join(lines) + "\n", "")


@APPS
def test_a_cancel_interrupts_the_hook(start, app):
    host = start(app)
    wire_id = host.send("sync_steps", session="slow")
    assert [host.wait_for_line(), host.wait_for_line()] == ["first slow 1", "sleeps"]
    host.cancel(wire_id, interrupt=True)
    assert host.state() == (wire_id, frames.RUNNING)
    assert host.answer().error_kind == "cancelled"
    assert host.call("no_session").result == 1


def test_calls_wait_for_the_hooks_of_their_session_only(start):
    """A call that waits can be cancelled. Calls of other sessions go on."""
    host = start(HOOKS, concurrency=4)
    first = host.send("steps", session="slow")
    assert [host.wait_for_line(), host.wait_for_line()] == ["first slow 1", "sleeps"]
    second = host.send("steps", session="slow")
    assert host.call("steps", session="ann").result == STEPS
    host.cancel(second)
    assert host.state() == (second, frames.WITHDRAWN)
    assert (cancelled := host.answer()).wire_id == second and cancelled.error_kind == "cancelled"
    host.cancel(first, interrupt=True)
    assert (cancelled := host.answer()).wire_id == first and cancelled.error_kind == "cancelled"


@APPS
def test_a_pool_without_affinity_runs_no_hooks(start, app):
    host = start(app, session_state="sessions need affinity")
    assert "sessions need affinity" in host.call("steps", session="ann").error["message"]
    host.shutdown()
    assert host.wait_for_exit()[1] == ""


def client_app(is_async):
    app, done = herder.App(), []

    def begin(session):
        done.append(f"begin {session.id}")
        session.state["cart"] = []
        if session.id == "bad":
            raise ValueError("no cart")

    async def begin_async(session):
        begin(session)

    app.on_session_start(begin_async if is_async else begin)
    app.on_session_end(lambda session, reason: done.append(f"end {session.id}"))

    @app.command
    def cart(session: herder.Session) -> list:
        return session.state["cart"]

    return app, done


@pytest.mark.parametrize("is_async", [False, True])
def test_a_client_runs_the_hooks(is_async):
    app, done = client_app(is_async)
    with Client(app) as client:
        assert client.call("cart", session="ann") == client.call("cart", session="ann") == []
        for _ in range(2):
            with pytest.raises(CallError, match="no cart"):
                client.call("cart", session="bad")
        client.end_session("ann")
        client.end_session("bad")
    assert done == ["begin ann", "begin bad", "begin bad", "end ann"]


def test_an_async_client_runs_the_hooks_once():
    app, done = client_app(True)

    async def run():
        async with Client(app) as client:
            assert await asyncio.gather(*(client.call("cart", session="ann") for _ in range(3))) == [[], [], []]
            await client.end_session("ann")

    asyncio.run(run())
    assert done == ["begin ann", "end ann"]
