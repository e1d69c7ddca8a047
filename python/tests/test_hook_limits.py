"""R35: the time limit of `on_session_end` hooks."""

import pytest

from herder import frames

HOOKS = """
import threading
from herder import hooks

# A loaded machine may stop the worker for longer than the limit at any moment. So the limit counts only once the hook
# blocks, and a hook that was interrupted may end as late as it likes.
blocks = threading.Event()
enforce_limit = hooks.HookTimer.enforce_limit

def enforce_limit_while_it_blocks(timer, limit):
    blocks.wait()
    if "stubborn" not in timer.what:
        timer.end_worker = lambda: None
    enforce_limit(timer, limit)

hooks.HookTimer.enforce_limit = enforce_limit_while_it_blocks

@app.on_session_end
def first(session, reason):
    print("hook", session.id)
    if session.id == "sleeps":
        blocks.set()
        try:
            time.sleep(1000)
        finally:
            blocks.clear()
    if session.id == "stubborn":
        blocks.set()
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                print("stubborn")

@app.on_session_end
def second(session, reason): print("second", session.id)

@app.command
def quick(): return "quick"
"""
ASYNC_HOOKS = (
    HOOKS
    + """
@app.on_session_end
async def third(session, reason):
    if session.id == "awaits": await asyncio.sleep(1000)

@app.command
async def makes_it_asyncio(): pass
"""
)


@pytest.mark.parametrize("app", [HOOKS, ASYNC_HOOKS], ids=["sync", "asyncio"])
def test_a_hook_that_exceeds_its_limit_is_interrupted(start, app):
    """R22: the other hooks run, the calls after it are answered, and the reason is logged."""
    host = start(app, session_end_timeout_ms=50)
    host.end_session("sleeps")
    wire_id = host.send("quick")
    assert [host.wait_for_line(), host.wait_for_line()] == ["hook sleeps", "second sleeps"]
    assert host.answer().wire_id == wire_id
    host.shutdown()
    status, _, err = host.wait_for_exit()
    assert status == 0 and "HookTimeout" in err and "'sleeps'" in err


DEPENDENCIES = """
from herder import Depends, Session

def provider(name):
    def value(session: Session):
        yield name
        print("cleans up", name)
        blocks.set()
        try:
            time.sleep(1000)
        finally:
            blocks.clear()
    return value

first, last = provider("first"), provider("last")

@app.command
def use(a: str = Depends(first, scope="session"), b: str = Depends(last, scope="session")): return a + b
"""


ASYNC_DEPENDENCIES = DEPENDENCIES.replace("def value", "async def value").replace("time.sleep", "await asyncio.sleep")


@pytest.mark.parametrize(
    "app",
    [HOOKS + DEPENDENCIES, ASYNC_HOOKS + DEPENDENCIES, ASYNC_HOOKS + ASYNC_DEPENDENCIES],
    ids=["sync", "asyncio", "async"],
)
def test_each_value_of_a_session_has_its_own_limit(start, app):
    """R35: otherwise the interrupt of the first clean-up would be the last one, and the second would end the worker."""
    host = start(app, session_end_timeout_ms=50)
    assert host.call("use", session="ann").result == "firstlast"
    host.end_session("ann")
    assert [host.wait_for_line() for _ in range(4)] == ["hook ann", "second ann", "cleans up last", "cleans up first"]
    assert host.call("quick").result == "quick"
    host.shutdown()
    status, _, err = host.wait_for_exit()
    assert status == 0 and err.count("HookTimeout: the hook exceeded its time limit") == 2


def test_an_async_hook_that_exceeds_its_limit_is_cancelled(start):
    host = start(ASYNC_HOOKS, session_end_timeout_ms=50)
    host.end_session("awaits")
    host.shutdown()
    status, _, err = host.wait_for_exit()
    assert status == 0 and "HookTimeout" in err and "'awaits'" in err


@pytest.mark.parametrize("app", [HOOKS, ASYNC_HOOKS], ids=["sync", "asyncio"])
def test_a_hook_that_cannot_be_interrupted_ends_the_worker(start, app):
    """R22: the calls after it would wait for ever otherwise."""
    host = start(app, session_end_timeout_ms=50)
    host.end_session("stubborn")
    status, out, err = host.wait_for_exit()
    assert status == 1 and "stubborn" in out and "cannot be interrupted" in err and "in first" in err


def test_the_limit_of_a_hook_applies_without_standard_error(start):
    """R22: the application has closed it."""
    host = start(HOOKS + "@app.on_start\ndef close(): os.close(2)\n", session_end_timeout_ms=50)
    host.end_session("sleeps")
    assert host.call("quick").result == "quick"
    host.end_session("stubborn")
    assert host.wait_for_exit()[0] == 1


def test_a_cancel_while_a_hook_runs_withdraws_the_waiting_call(start):
    """R35: the running hook is not taken for the call."""
    host = start(HOOKS)
    host.end_session("sleeps")
    assert host.wait_for_line() == "hook sleeps"
    wire_id = host.send("quick")
    host.cancel(wire_id, interrupt=True)
    assert host.state() == (wire_id, frames.WITHDRAWN)
