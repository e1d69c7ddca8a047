"""R35: pings, cancels and interrupts of a busy worker."""

import json
import os
import select
import signal
import threading

import pytest

from herder import frames
from herder.call import Calls

WAITS = """
@app.command
def sleep():
    print("in")
    time.sleep(1000)

@app.command
def loop():
    print("in")
    while True: pass

@app.command
def locked():
    print("in")
    threading.Event().wait()

@app.command
def careful():
    try:
        print("in")
        time.sleep(1000)
    finally:
        print("clean")

@app.command
def stubborn():
    try:
        print("in")
        time.sleep(1000)
    except BaseException:
        return "survived"

@app.command
def generated():
    yield 1
    print("in")
    time.sleep(1000)

@app.command
def polite(call: herder.Call):
    print("in")
    while not call.cancelled: time.sleep(0.001)
    return "stopped"

@app.command
def quick(): return "quick"

@app.command
def either(long: bool):
    if long:
        print("in")
        time.sleep(1000)

@app.command
async def a_sleep():
    print("in")
    await asyncio.sleep(1000)

@app.command
async def a_loop():
    print("in")
    while True: pass

@app.command
async def a_careful():
    try:
        print("in")
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0)
        print("clean")
"""
SYNC = WAITS.partition("@app.command\nasync")[0]
BOTH = pytest.mark.parametrize("app", [SYNC, WAITS], ids=["sync", "asyncio"])


@BOTH
def test_pings_are_answered_while_busy(start, app):
    host = start(app)
    host.ping(1)
    host.send("loop")
    assert host.wait_for_line() == "in"
    host.ping(2)


@BOTH
@pytest.mark.parametrize("command", ["sleep", "loop", "locked", "generated", "careful"])
def test_an_interrupt_ends_the_running_call(start, app, command):
    host = start(app)
    wire_id = host.send(command)
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    answer = host.answer()
    assert answer.wire_id == wire_id and answer.error_kind == "cancelled" and answer.ended >= answer.started > 0
    if command == "careful":
        assert host.wait_for_line() == "clean"
    assert host.call("quick").result == "quick"


@pytest.mark.parametrize("command", ["a_sleep", "a_loop", "a_careful"])
def test_an_interrupt_ends_a_task(start, command):
    host = start(WAITS, concurrency=2)
    wire_id = host.send(command)
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().error_kind == "cancelled"
    if command == "a_careful":
        assert host.wait_for_line() == "clean"
    assert host.call("quick").result == "quick"


@BOTH
def test_a_cancel_without_interrupt_only_sets_cancelled(start, app):
    host = start(app)
    wire_id = host.send("polite")
    assert host.wait_for_line() == "in"
    host.cancel(wire_id)
    assert host.answer().result == "stopped"


@BOTH
def test_a_handler_that_catches_the_interrupt_returns_its_result(start, app):
    host = start(app)
    wire_id = host.send("stubborn")
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().result == "survived"


@BOTH
@pytest.mark.parametrize("interrupt", [False, True])
def test_a_waiting_call_is_cancelled_without_being_run(start, app, interrupt):
    """Three calls are sent together. The second is cancelled while the first runs; the third runs."""
    host = start(app, pipeline=3)
    packed = [host.pack_call(name) for name in ("polite", "loop", "quick")]
    host.calls.sendall(b"".join(data for _, data in packed))
    assert host.wait_for_line() == "in"
    host.cancel(packed[1][0], interrupt)
    host.cancel(packed[0][0])
    answers = host.answers(3)
    assert answers[packed[0][0]].result == "stopped"
    assert answers[packed[1][0]].error_kind == "cancelled" and answers[packed[1][0]].started == 0
    assert answers[packed[2][0]].result == "quick"


@BOTH
def test_a_cancel_that_arrives_before_its_call_applies(start, app):
    host = start(app)
    host.cancel(1, interrupt=True)
    host.ping()  # the cancel is read by then
    assert host.call("quick").error_kind == "cancelled"
    assert host.call("quick").result == "quick"


@pytest.mark.parametrize("app", ["herder.demo:app", "@app.command\nasync def echo(**a): return a\n"])
def test_late_interrupts_have_no_effect(start, app):
    """A race: interrupts of calls that are just ending. Each call gets its own answer, and the worker keeps running."""
    host = start(app, pipeline=4)
    rounds = 3000
    for n in range(rounds):
        wire_id = host.send("echo", n=n)
        host.cancel(wire_id, interrupt=True)
        assert host.state()[0] == wire_id
        answer = host.answer()
        assert answer.wire_id == wire_id
        assert answer.error_kind == "cancelled" if answer.error else answer.result == {"n": n}
    assert host.call("echo", n="alive").result == {"n": "alive"}
    assert host.process.poll() is None


def test_signals_at_any_moment_have_no_effect(start):
    """SIGUSR2 without a call to interrupt, in the loop, in reads and in handlers."""
    host = start("herder.demo:app")
    for n in range(2000):
        wire_id = host.send("echo", n=n)
        os.kill(host.process.pid, signal.SIGUSR2)
        answer = host.answer()
        assert (answer.wire_id, answer.result) == (wire_id, {"n": n})


def test_forgotten_cancels_are_bounded(start):
    """R54: cancels of calls that are never sent do not accumulate."""
    host = start(
        """
        from herder.call import calls
        @app.command
        def remembered(): return len(calls.cancelled)
        """
    )
    for wire_id in range(10_000, 14_000):
        host.cancel(wire_id)
        assert host.state() == (wire_id, frames.WITHDRAWN)
    assert host.call("remembered").result == 1024


def test_garbage_on_the_control_descriptor_ends_the_worker(start):
    host = start("herder.demo:app")
    host.control.sendall(b"hello, world, this is text")
    status, _, err = host.wait_for_exit()
    assert status == 1 and "(reserved_bytes)" in err


def test_a_control_frame_in_two_pieces_is_handled(start):
    host = start("herder.demo:app")
    ping = frames.frame(frames.PING, 9)
    host.control.sendall(ping[:5])
    assert host.call("echo", x=1).result == {"x": 1}
    host.control.sendall(ping[5:])
    assert host.control.recv(16) == frames.frame(frames.PONG, 9)


@pytest.mark.parametrize("kind,module", [("def", "loop"), ("def", "aio"), ("async def", "aio")])
def test_an_interrupt_is_raised_once_and_never_in_the_loop(start, kind, module):
    """No interrupt is raised in the loop's frame, and none in a handler's cleanup."""
    host = start(
        f"""
        from types import SimpleNamespace
        from herder import {module} as loop
        from herder.call import calls

        @app.command
        {kind} probe():
            worker, here = SimpleNamespace(calls=calls), sys._getframe()
            calls.cancelled[calls.running] = True
            loop.interrupt(worker, here.f_back)
            try:
                loop.interrupt(worker, here)
            except herder.Interrupted:
                loop.interrupt(worker, here)
                return "once"

        {"@app.command" if module == "aio" else ""}
        async def makes_it_asyncio(): pass
        """
    )
    assert host.call("probe").result == "once"


@BOTH
def test_a_cancel_is_answered_with_the_state_of_the_call(start, app):
    """R35: one call runs, one waits, one is answered, and one is not read yet."""
    host = start(app, pipeline=3)
    assert host.call("quick").result == "quick"
    finished = host.next_id
    packed = [host.pack_call(name) for name in ("polite", "quick")]
    host.calls.sendall(b"".join(data for _, data in packed))
    (running, _), (waiting, _) = packed
    assert host.wait_for_line() == "in"
    unread = waiting + 1
    for wire_id, state in [
        (finished, frames.FINISHED),
        (waiting, frames.WITHDRAWN),
        (unread, frames.WITHDRAWN),
        (running, frames.RUNNING),
    ]:
        host.cancel(wire_id)
        assert host.state() == (wire_id, state)
    answers = host.answers(2)
    assert answers[running].result == "stopped" and answers[waiting].error_kind == "cancelled"
    assert host.call("quick").error_kind == "cancelled"  # the call that was not read at the time of its cancel
    assert host.call("quick").result == "quick"


def test_a_waiting_task_is_reported_as_running(start):
    """R35: a call is running from the first step of its task, also while it awaits."""
    host = start(WAITS, concurrency=2)
    first, second = host.send("a_sleep"), host.send("a_careful")
    assert [host.wait_for_line(), host.wait_for_line()] == ["in", "in"]
    for wire_id in (second, first):
        host.cancel(wire_id)
        assert host.state() == (wire_id, frames.RUNNING)


def test_a_cancelled_call_that_waits_is_answered_at_once(start):
    """R35: an asyncio worker answers a withdrawn call at once, not when it would begin."""
    host = start(WAITS, pipeline=2)
    host.send("a_sleep")
    assert host.wait_for_line() == "in"
    waiting = host.send("quick")
    host.cancel(waiting)
    assert host.state() == (waiting, frames.WITHDRAWN)
    answer = host.answer()
    assert (answer.wire_id, answer.error_kind, answer.started) == (waiting, "cancelled", 0)


@pytest.mark.parametrize("app", [SYNC, WAITS], ids=["sync", "asyncio"])
def test_a_finished_answer_does_not_wait_for_the_next_handler(start, app):
    """R35: two fast calls and one that never ends are read together, after a thousand fast calls of the command."""
    host = start(app, pipeline=3)
    for _ in range(1100):
        host.call("either", long=False)
    packed = [host.pack_call("either", json.dumps({"long": long}).encode()) for long in (False, False, True)]
    host.calls.sendall(b"".join(data for _, data in packed))
    assert [host.answer().wire_id, host.answer().wire_id] == [packed[0][0], packed[1][0]]
    assert host.wait_for_line() == "in"


REVOKES = """
@app.command
def wait(path: str, call: herder.Call):
    print("in")
    while not os.path.exists(path): time.sleep(0.001)
    return call.cancelled

@app.command
def say(n: int):
    print("say", n)
    return n
"""
ASYNC_REVOKES = REVOKES + "@app.command\nasync def pause():\n    print('in')\n    await asyncio.sleep(1000)\n"
BOTH_REVOKES = pytest.mark.parametrize("app", [REVOKES, ASYNC_REVOKES], ids=["sync", "asyncio"])


@BOTH_REVOKES
def test_revoked_calls_never_begin(start, app, tmp_path):
    """R35: three calls wait behind one that runs; two of the three and the one that runs are revoked."""
    host = start(app, pipeline=4)
    gate = tmp_path / "gate"
    packed = [host.pack_call("wait", json.dumps({"path": str(gate)}).encode())]
    packed += [host.pack_call("say", json.dumps({"n": n}).encode()) for n in (1, 2, 3)]
    host.calls.sendall(b"".join(data for _, data in packed))
    running, first, second, third = (wire_id for wire_id, _ in packed)
    assert host.wait_for_line() == "in"
    for wire_id, state in [(first, frames.WITHDRAWN), (third, frames.WITHDRAWN), (running, frames.RUNNING)]:
        host.revoke(wire_id)
        assert host.state() == (wire_id, state)
    gate.touch()
    answers = host.answers(4)
    assert answers[running].result is False, "the call that runs is not cancelled"
    assert answers[second].result == 2
    for wire_id in (first, third):
        assert answers[wire_id].error_kind == "cancelled" and answers[wire_id].started == 0
    host.shutdown()
    assert host.wait_for_exit()[1] == "say 2\n"


@BOTH_REVOKES
def test_a_revoke_that_arrives_before_its_call_applies(start, app):
    host = start(app)
    host.revoke(1)
    assert host.state() == (1, frames.WITHDRAWN)
    answer = host.call("say", n=1)
    assert answer.error_kind == "cancelled" and answer.started == 0
    assert host.call("say", n=2).result == 2
    host.shutdown()
    assert host.wait_for_exit()[1] == "say 2\n"


@BOTH_REVOKES
def test_a_revoke_after_the_answer_has_no_effect(start, app):
    host = start(app)
    assert host.call("say", n=1).result == 1
    host.revoke(1)
    assert host.state() == (1, frames.FINISHED)
    assert host.call("say", n=2).result == 2


@BOTH_REVOKES
def test_a_cancel_after_a_revoke_is_answered_as_ever(start, app, tmp_path):
    host = start(app, pipeline=2)
    running = host.send("wait", path=str(tmp_path / "never"))
    waiting = host.send("say", n=1)
    assert host.wait_for_line() == "in"
    for wire_id, state in [(waiting, frames.WITHDRAWN), (running, frames.RUNNING)]:
        host.revoke(wire_id)
        assert host.state() == (wire_id, state)
        host.cancel(wire_id, interrupt=True)
        assert host.state() == (wire_id, state)
    assert {answer.error_kind for answer in host.answers(2).values()} == {"cancelled"}


def test_a_revoked_call_that_waits_is_answered_at_once(start):
    """An asyncio worker answers a withdrawn call at once, not when it would begin."""
    host = start(ASYNC_REVOKES, pipeline=2)
    host.send("pause")
    assert host.wait_for_line() == "in"
    waiting = host.send("say", n=1)
    host.ping()
    host.revoke(waiting)
    assert host.state() == (waiting, frames.WITHDRAWN)
    answer = host.answer()
    assert (answer.wire_id, answer.error_kind, answer.started) == (waiting, "cancelled", 0)


@pytest.mark.parametrize("app", ["herder.demo:app", "@app.command\nasync def echo(**a): return a\n"])
def test_the_answer_to_a_revoke_is_exact(start, app):
    """A race: calls are revoked that are just beginning. Each is withdrawn and never begins, or not affected."""
    host = start(app, pipeline=3)
    for n in range(3000):
        packed = [host.pack_call("echo", json.dumps({"n": n}).encode()) for _ in range(3)]
        host.calls.sendall(b"".join(data for _, data in packed))
        revoked = packed[n % 3][0]
        host.revoke(revoked)
        wire_id, state = host.state()
        assert wire_id == revoked
        for wire_id, answer in host.answers(3).items():
            if wire_id == revoked and state == frames.WITHDRAWN:
                assert answer.error_kind == "cancelled" and answer.started == 0
            else:
                assert answer.result == {"n": n}, (wire_id, state)


def test_the_loop_waits_until_a_revoke_is_decided():
    """The call begins between the mark of the revoke and the second look at its state: it is not refused."""
    calls, refused = Calls(), []
    loop = threading.Thread(target=lambda: refused.append(calls.refuses(7)))
    states = iter([frames.WITHDRAWN, frames.RUNNING])

    def state(wire_id):
        if 7 in calls.cancelled:  # the second look
            loop.start()
            loop.join(0.1)  # long enough for an answer of a loop that does not wait
        return next(states)

    assert calls.revoke(7, state) == frames.RUNNING
    loop.join()
    assert refused == [False] and not calls.cancelled


def test_a_handler_that_holds_the_gil_delays_the_answer_to_a_revoke(start, tmp_path):
    """The control thread cannot run meanwhile. The answer is exact nevertheless."""
    host = start(
        """
        import ctypes

        @app.command
        def hold(path: str):
            ctypes.PyDLL(None).system(f"echo in; cat {path}".encode())  # `PyDLL` does not release the GIL

        @app.command
        def say(n: int):
            print("say", n)
            return n
        """,
        pipeline=2,
    )
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    host.send("hold", path=str(gate))
    waiting = host.send("say", n=1)
    assert host.wait_for_line() == "in"
    host.revoke(waiting)
    readable, _, _ = select.select([host.control], [], [], 0.1)  # noqa: TID251 (nothing can arrive, however long it waits)
    assert readable == []
    gate.write_text("")
    wire_id, state = host.state()
    assert wire_id == waiting
    answer = host.answers(2)[waiting]
    if state == frames.WITHDRAWN:
        assert answer.error_kind == "cancelled" and answer.started == 0
    else:
        assert answer.result == 1


def test_cancels_are_kept_for_all_calls_that_may_wait(start):
    """R35: the window is larger than the default number of kept cancels; none of the cancelled calls runs."""
    host = start(WAITS, concurrency=4, pipeline=500)
    blocking = host.send("polite")
    assert host.wait_for_line() == "in"
    packed = [host.pack_call("quick") for _ in range(1500)]
    for wire_id, _ in packed:
        host.cancel(wire_id)
        assert host.state() == (wire_id, frames.WITHDRAWN)
    host.cancel(blocking)
    host.calls.sendall(b"".join(data for _, data in packed))
    answers = host.answers(1501)
    assert answers.pop(blocking).result == "stopped"
    assert {answer.error_kind for answer in answers.values()} == {"cancelled"}


def test_a_shutdown_does_not_interrupt_c_code_of_the_running_call(start):
    """A signal would end its system call early: `usleep` in the handler would report an error."""
    host = start(
        """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)

        @app.command
        def sleep() -> list:
            print("sleeping", flush=True)
            return [libc.usleep(700_000), ctypes.get_errno()]
        """
    )
    wire_id = host.send("sleep")
    assert host.wait_for_line() == "sleeping"
    host.shutdown()
    answer = host.answer()
    assert (answer.wire_id, answer.result) == (wire_id, [0, 0])
    assert host.wait_for_exit()[0] == 0
