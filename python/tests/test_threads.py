"""R24, R26, R66: sync handlers that run in threads, with `run_sync="thread"`, and the calls beside them."""

import os
import signal
import threading

import pytest

from herder import frames
from herder.session import Sessions
from host import FakeHost, write_app

THREADS = """
import contextvars, decimal
app = herder.App(run_sync="thread")
gates = [threading.Event() for _ in range(8)]
variable = contextvars.ContextVar("variable", default="unset")

@app.command
async def open_gate(n: int):
    gates[n].set()

@app.command
def wait(n: int, call: herder.Call):
    os.write(1, f"in {n}\\n".encode())  # threads that use `print` may mix their lines
    gates[n].wait()
    return threading.get_ident() != threading.main_thread().ident, herder.current_call().id == call.id, call.cancelled
"""


def test_a_sync_handler_in_a_thread_does_not_hold_up_the_others(start):
    """The call that ends the wait of the first one could not run otherwise."""
    host = start(THREADS, concurrency=2)
    waiting = host.send("wait", n=0)
    assert host.wait_for_line() == "in 0"
    host.send("open_gate", n=0)
    answers = host.answers(2)
    assert answers[waiting].result == [True, True, False]


def test_without_it_a_sync_handler_runs_on_the_main_thread(start):
    app = """
@app.command
def main(): return threading.current_thread() is threading.main_thread()

@app.command(run_sync="thread")
def thread(): return threading.current_thread() is threading.main_thread()
"""
    host = start(app)
    assert [host.call(name).result for name in ("main", "thread", "main")] == [True, False, True]
    host = start("app = herder.App(run_sync='thread')" + app.replace('run_sync="thread"', 'run_sync="main"'))
    assert [host.call(name).result for name in ("main", "thread")] == [False, True]


@pytest.mark.parametrize(
    "line", ["herder.App(run_sync='threads')", "app.command(run_sync='pool')(print)", "herder.App(run_sync=None)"]
)
def test_an_invalid_value_is_refused(tmp_path, line):
    with FakeHost(write_app(tmp_path, line)) as host:
        assert "is invalid; expected 'main' or 'thread'" in host.start_error()["message"]


def test_no_more_than_concurrency_run_at_once(start):
    app = """
import signal
signal.signal(signal.SIGHUP, lambda *_: [gate.set() for gate in gates])
"""
    host = start(THREADS + app, concurrency=2, pipeline=2)
    ids = [host.send("wait", n=n) for n in range(4)]
    assert {host.wait_for_line() for _ in range(2)} == {"in 0", "in 1"}
    host.cancel(ids[2])  # it has not begun
    assert host.state() == (ids[2], frames.WITHDRAWN)
    assert host.answer().error_kind == "cancelled"
    host.kill(signal.SIGHUP)
    assert set(host.answers(3)) == {ids[0], ids[1], ids[3]}


def test_an_interrupt_does_not_reach_the_thread_and_the_call_ends_with_its_handler(start):
    """The place is free and the session's next call begins only when the handler has ended."""
    app = """
@app.command
def poll():
    call = herder.current_call()
    print("in", flush=True)
    while not call.cancelled: time.sleep(0.001)
    print("cancelled", flush=True)
    gates[0].wait()
    return "ended"
"""
    host = start(THREADS + app, concurrency=2)
    wire_id = host.send("poll")
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.state() == (wire_id, frames.RUNNING)
    assert host.wait_for_line() == "cancelled"
    # Other calls are answered meanwhile, and this one is not.
    other = host.send("open_gate", n=1)
    assert host.answer().wire_id == other
    host.send("open_gate", n=0)
    assert host.answers(2)[wire_id].result == "ended"


def test_a_cancelled_task_waits_for_its_handler(start):
    """`asyncio.all_tasks` includes the tasks of calls: whoever cancels them does not free the place too early."""
    app = """
@app.command
async def cancel_all():
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task(): task.cancel()
"""
    host = start(THREADS + app, concurrency=2)
    wire_id = host.send("wait", n=0)
    assert host.wait_for_line() == "in 0"
    assert host.call("cancel_all").result is None
    assert host.call("open_gate", n=1).result is None  # the next answer is not that of the cancelled task
    host.send("open_gate", n=0)
    answer = host.answers(2)[wire_id]
    assert (answer.error_kind, answer.error["type"]) == ("exception", "CancelledError")


def test_contexts_are_those_of_the_call(start):
    app = """
@app.on_start
async def on_start(): variable.set("start")

@app.command
def context():
    before = variable.get(), decimal.getcontext().prec
    variable.set("changed")
    decimal.getcontext().prec = 3
    return before
"""
    host = start(THREADS + app)
    assert [host.call("context").result for _ in range(3)] == [["start", 28]] * 3


@pytest.mark.parametrize("name", ["ValueError", "StopIteration", "SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_exceptions_are_those_of_the_handler(start, name):
    host = start(THREADS + f"\n@app.command\ndef fail():\n    raise {name}('reason')\n")
    for _ in range(2):
        error = host.call("fail").error
        assert (error["kind"], error["type"], error["message"]) == ("exception", name, "reason")
        first = error["traceback"].splitlines()[1]
        assert "workers_0.py" in first
        assert "in fail" in first


def test_rejections_generators_sessions_and_arguments_work_as_on_the_main_thread(start):
    app = """
@app.command
def items(n: int):
    yield from range(n)

@app.command
def reject(): raise herder.Rejected("no", code="c")

@app.command
def counter(session: herder.Session):
    session.state["n"] = session.state.get("n", 0) + 1
    return session.state["n"]
"""
    host = start(THREADS + app)
    assert host.call("items", n=3).result == [0, 1, 2]
    assert host.call("reject").error["code"] == "c"
    assert [host.call("counter", session="ann").result for _ in range(3)] == [1, 2, 3]
    assert host.call("counter", session="ann", epoch=2).result == 1
    assert host.call("items").error_kind == "bad_arguments"


@pytest.mark.parametrize("before", [{}, {"ann": (1, {"old": 1})}], ids=["new", "older epoch"])
def test_threads_that_ask_for_a_state_at_once_get_the_same(before):
    """Both find no state, or an older one, before either of them has created it."""
    both, local, found = threading.Barrier(2), threading.local(), []

    class States(dict):
        def get(self, *arguments):
            value = super().get(*arguments)
            if not hasattr(local, "waited"):
                local.waited = True
                both.wait(60)
            return value

    sessions = Sessions()
    sessions.states = States(before)
    threads = [threading.Thread(target=lambda: found.append(sessions.state("ann", 2))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] is found[1] is dict.get(sessions.states, "ann")[1]
    assert found[0] == {}


def test_the_hook_of_a_session_waits_for_its_thread(start):
    app = """
@app.on_session_end
def on_end(session, reason): print("ended", flush=True)
"""
    host = start(THREADS + app, concurrency=2)
    wire_id = host.send("wait", session="ann", n=0)
    assert host.wait_for_line() == "in 0"
    host.end_session("ann")
    host.send("open_gate", n=0)
    assert host.answers(2)[wire_id].result == [True, True, False]
    assert host.wait_for_line() == "ended"


def test_a_drain_waits_for_threads(start):
    host = start(THREADS + "\n@app.command\ndef stop(): threading.Timer(0, gates[0].set).start()", concurrency=2)
    wire_id = host.send("wait", n=0)
    assert host.wait_for_line() == "in 0"
    stop = host.send("stop")
    host.shutdown()
    answers = host.answers(2)
    assert set(answers) == {wire_id, stop}
    assert host.wait_for_exit()[0] == 0


def test_a_fork_in_a_thread_answers_once_and_the_child_exits(start):
    app = """
@app.command
def fork():
    child = os.fork()
    return [os.getpid(), os.waitpid(child, 0)[1]] if child else None
"""
    host = start(THREADS + app, concurrency=2)
    for _ in range(3):
        assert host.call("fork").result == [host.process.pid, 0]


@pytest.mark.skipif(not os.path.exists("/proc"), reason="counts threads in /proc")
def test_an_app_without_async_handlers_may_use_threads(start):
    """R66: calls overlap without a line of asyncio in the application."""
    app = """
app = herder.App(run_sync="thread")
barrier = threading.Barrier(4)

@app.command
def meet(): return barrier.wait() >= 0
"""
    host = start(app, concurrency=4)
    assert host.hello["window"] == 4
    for _ in range(3):
        for _ in range(4):
            host.send("meet")
        assert [answer.result for answer in host.answers(4).values()] == [True] * 4
    threads = len(os.listdir(f"/proc/{host.process.pid}/task"))
    assert threads == 2 + 4  # the main thread, the control thread, and one for each call
