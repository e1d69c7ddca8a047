"""A worker process: its results, each kind of error, sessions, and its exit."""

import json
import os
import signal
import subprocess
import sys

import pytest

from herder import frames
from host import SOURCE, FakeHost

BASIC = """
@app.command
def add(a: int, b: int = 2) -> int:
    return a + b

@app.command(name="maths.half", idempotent=True)
def half(x: float): return x / 2

@app.command
def types(b: bool = False, l: list[int] = [], d: dict = {}, o: "int | None" = None): return True

@app.command
def any(**values): return values

@app.command
def items(n: int):
    for i in range(n):
        yield i

@app.command
def rejects(): raise herder.Rejected("no such item", code="unknown_item")

@app.command
def raises(how: str):
    raise {"key": KeyError("k"), "exit": SystemExit(3), "ctrl-c": KeyboardInterrupt(), "deep": RecursionError("x")}[how]

@app.command
def returns(what: str):
    cycle = []
    cycle.append(cycle)
    nan = float("nan")
    return {"nan": nan, "object": object(), "cycle": cycle, "half": "\\ud800", "big": "x" * (2 << 20)}[what]

@app.command
def who(call: herder.Call):
    current = herder.current_call()
    return [call.id, current.id, call.deadline, current.deadline, call.cancelled]

@app.command
def remember(key: str, session: herder.Session):
    session.state[key] = True
    return sorted(session.state)

@app.on_session_end
def ended(session: herder.Session, reason: str):
    print("end", session.id, reason, sorted(session.state))
    if session.id == "bad": raise ValueError("in the hook")

@app.command
def prints(): print("hello"); os.write(1, b"raw\\n"); os.system("echo child"); return "printed"
"""


@pytest.fixture
def basic(start):
    return start(BASIC, max_frame=1 << 20)


def test_hello_and_ready_have_their_fields(start):
    host = start(BASIC, concurrency=4, pipeline=2)
    assert host.hello["protocol"] == 1 and host.hello["pid"] == host.process.pid and host.hello["control"] is True
    assert host.hello["window"] == 8
    assert host.hello["stack_signal"] == signal.SIGUSR1
    assert host.ready_message["window"] == 2  # with sync handlers only: `pipeline`
    assert host.ready_message["in_order"] == 1 and "in_order" not in host.hello
    half = next(each for each in host.ready_message["commands"] if each["name"] == "maths.half")
    assert half["idempotent"] is True and half["parameters"]["required"] == ["x"]


def test_each_kind_of_command_returns_its_result(basic):
    answer = basic.call("add", a=1, b=3)
    assert answer.result == 4 and 0 < answer.started <= answer.ended
    assert basic.call("add", a=1).result == 3
    assert basic.call("maths.half", x=3).result == 1.5
    assert basic.call("any", x=1, y={"z": [None]}).result == {"x": 1, "y": {"z": [None]}}
    assert basic.call("items", n=3).result == [0, 1, 2]
    assert basic.call("any", b' { "\xc3\xa4" : "\\u00e4" } ').result == {"ä": "ä"}


@pytest.mark.parametrize(
    "command,payload,kind,parts",
    [
        ("nope", b"{}", "unknown_command", ["'nope'", "add", "maths.half"]),
        ("add", b"{}", "bad_arguments", ["missing", "'a'", "b (optional)"]),
        ("add", b'{"a":1,"c":2}', "bad_arguments", ["unexpected", "'c'", "a, b (optional)"]),
        ("add", b'{"a":"1"}', "bad_arguments", ["add: a: Input should be a valid integer"]),
        ("add", b'{"a":true}', "bad_arguments", ["add: a: Input should be a valid integer"]),
        ("add", b'{"a":1.5}', "bad_arguments", ["add: a: Input should be a valid integer"]),
        ("maths.half", b'{"x":null}', "bad_arguments", ["x: Input should be a valid number"]),
        ("types", b'{"l":{}}', "bad_arguments", ["l: Input should be a valid list"]),
        ("types", b'{"d":[]}', "bad_arguments", ["d: Input should be a valid dictionary"]),
        ("types", b'{"o":"x"}', "bad_arguments", ["o: Input should be a valid integer"]),
        ("types", b'{"b":0}', "bad_arguments", ["b: Input should be a valid boolean"]),
        ("remember", b'{"key":"k"}', "bad_arguments", ["Herder-Session"]),
        ("remember", b'{"key":"k","session":"x"}', "bad_arguments", ["unexpected", "'session'"]),
        ("add", b'{"a":1', "malformed", ["JSON"]),
        ("add", b'{"a":NaN}', "malformed", ["NaN"]),
        ("add", b"[1]", "malformed", ["object", "array"]),
        ("add", b"\xff", "malformed", ["JSON"]),
        ("add", b"", "malformed", ["JSON"]),
        ("any", b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed", ["deep"]),
        ("rejects", b"{}", "rejected", ["no such item"]),
        ("raises", b'{"how":"key"}', "exception", ["'k'"]),
        ("raises", b'{"how":"exit"}', "exception", ["3"]),
        ("raises", b'{"how":"ctrl-c"}', "exception", []),
        ("raises", b'{"how":"deep"}', "exception", []),
        ("returns", b'{"what":"nan"}', "unencodable", ["JSON"]),
        ("returns", b'{"what":"object"}', "unencodable", ["result", "object", "@app.encoder"]),
        ("returns", b'{"what":"cycle"}', "unencodable", ["ircular"]),
        ("returns", b'{"what":"half"}', "unencodable", ["surrogate"]),
        ("returns", b'{"what":"big"}', "too_large", ["max_frame", str(1 << 20)]),
    ],
)
def test_each_kind_of_error(basic, command, payload, kind, parts):
    """The caller gets one clear error, and the worker keeps running."""
    answer = basic.call(command, payload)
    assert answer.error_kind == kind, answer.error
    for part in parts:
        assert part in answer.error["message"]
    ran = kind in ("rejected", "exception", "unencodable", "too_large")
    assert (answer.started > 0, answer.ended > 0) == (ran, ran)
    assert basic.call("add", a=1).result == 3


def test_exceptions_come_with_the_traceback_of_the_application_only(basic):
    error = basic.call("raises", how="exit").error
    assert error["type"] == "SystemExit"
    assert "in raises" in error["traceback"] and "herder/loop.py" not in error["traceback"]
    assert basic.call("rejects").error["code"] == "unknown_item"


def test_the_call_has_its_id_and_deadline(basic):
    wire_id = basic.send("who")
    assert basic.answer().result == [wire_id, wire_id, None, None, False]
    import time

    soon = basic.call("who", deadline=time.clock_gettime_ns(time.CLOCK_MONOTONIC) + 10**12).result
    assert 0 < soon[2] <= 1000 and 0 < soon[3] <= 1000


def test_frames_are_read_in_pieces_of_any_size(start):
    """Frames in arbitrary pieces, many in one write, and one larger than a read."""
    host = start("herder.demo:app", pipeline=100)
    packed = [
        host.pack_call("echo", json.dumps({"n": n, "text": "x" * (n * 997 % 70_000)}).encode()) for n in range(100)
    ]
    data = b"".join(frame for _, frame in packed)
    import threading

    sender = threading.Thread(
        target=lambda: [host.calls.sendall(data[at : at + 7919]) for at in range(0, len(data), 7919)]
    )
    sender.start()
    assert [host.answer().result["n"] for _ in packed] == list(range(100))
    sender.join()
    big = "y" * (5 << 20)
    sender = threading.Thread(target=host.send, args=("echo",), kwargs={"text": big})
    sender.start()
    assert host.answer().result == {"text": big}
    sender.join()


def test_a_slow_handler_does_not_delay_finished_answers(start):
    host = start(
        """
        @app.command
        def quick(): return 1
        @app.command
        def slow():
            print("slow")
            sys.stdin.close()
            time.sleep(1000)
        """,
        pipeline=3,
    )
    _, first = host.pack_call("quick")
    _, second = host.pack_call("slow")
    host.calls.sendall(first + second)
    assert host.answer().result == 1


def test_the_optional_flag_changes_nothing_on_a_known_kind(start):
    """R41."""
    host = start("herder.demo:app")
    wire_id, data = host.pack_call("echo", b'{"x":1}', flags=frames.OPTIONAL)
    host.calls.sendall(data)
    answer = host.answer()
    assert (answer.wire_id, answer.result) == (wire_id, {"x": 1})
    host.calls.sendall(frames.frame(frames.SHUTDOWN, flags=frames.OPTIONAL))
    assert host.wait_for_exit()[0] == 0


def test_session_state_belongs_to_a_session_and_epoch(basic):
    """R22: the hook runs once for each ended session, in order."""
    assert basic.call("remember", key="a", session="ann").result == ["a"]
    assert basic.call("remember", key="b", session="ann").result == ["a", "b"]
    assert basic.call("remember", key="x", session="bob").result == ["x"]
    assert basic.call("remember", key="c", session="ann", epoch=2).result == ["c"]
    late = basic.call("remember", key="d", session="ann", epoch=1)
    assert late.error_kind == "exception" and late.error["type"] == "SessionStateUnavailable"
    basic.send("remember", key="e", session="ann", epoch=2)
    basic.end_session("ann", 2, reason=2)
    basic.send("remember", key="f", session="ann", epoch=3)
    assert basic.answer().result == ["c", "e"]
    assert basic.answer().result == ["f"]
    assert basic.wait_for_line() == "end ann expired ['c', 'e']"
    basic.end_session("bad")
    basic.calls.sendall(frames.frame(frames.SHUTDOWN))
    status, out, err = basic.wait_for_exit()
    assert (status, out) == (0, "end bad ended []\n") and "in the hook" in err


def test_session_state_of_a_basic_pool_says_which_key_to_set(start):
    host = start(BASIC, session_state="set worker_type")
    answer = host.call("remember", key="a", session="ann")
    assert answer.error["type"] == "SessionStateUnavailable" and answer.error["message"] == "set worker_type"


def test_prints_never_reach_the_frames(basic):
    """R40."""
    assert basic.call("prints").result == "printed"
    assert [basic.wait_for_line() for _ in range(3)] == ["hello", "raw", "child"]


def test_the_demo_commands(start):
    host = start("herder.demo:app")
    assert host.call("sleep", ms=1).result is None
    assert host.call("burn", ms=1).result > 0
    assert [host.call("count", session="ann").result for _ in range(3)] == [1, 2, 3]
    assert host.call("fail").error_kind == "exception"
    assert host.call("reject").error_kind == "rejected"
    assert host.call("pid").result == host.process.pid
    assert host.call("notebook.run", code="1").error_kind == "unknown_command"
    host.send("exit", code=7)
    assert host.wait_for_exit()[0] == 7


@pytest.mark.parametrize("way", ["calls", "control"])
def test_a_shutdown_answers_the_received_calls(start, way):
    host = start("herder.demo:app", pipeline=20)
    first = host.send("sleep", ms=50)
    sent = [first] + [host.send("echo", n=n) for n in range(10)]
    stream = host.calls if way == "calls" else host.control
    stream.sendall(frames.frame(frames.SHUTDOWN))
    assert sorted(host.answers(11)) == sent
    assert host.wait_for_exit()[0] == 0


@pytest.mark.parametrize("way", ["calls", "control"])
def test_a_shutdown_ends_an_idle_worker(start, way):
    host = start("herder.demo:app")
    stream = host.calls if way == "calls" else host.control
    stream.sendall(frames.frame(frames.SHUTDOWN))
    assert host.wait_for_exit()[0] == 0


def test_every_call_sent_before_a_shutdown_is_answered(start):
    """R36: calls and a shutdown are sent on two descriptors, so they may be read in any order."""
    for round in range(30):
        host = start("herder.demo:app", pipeline=50)
        for _ in range(round):
            host.call("pid")
        sent = [host.send("echo", n=n) for n in range(20)]
        host.shutdown()
        assert sorted(host.answers(20)) == sent
        assert host.wait_for_exit()[0] == 0


def test_a_worker_works_without_a_control_descriptor(start):
    host = start("herder.demo:app", control=False)
    assert host.hello["control"] is False
    assert host.call("echo", x=1).result == {"x": 1}
    host.calls.close()
    assert host.wait_for_exit()[0] == 0


@pytest.mark.parametrize("busy", ["while True: pass", "time.sleep(1000)", "sum(range(10**4)) and time.sleep(1000)"])
def test_the_process_ends_with_the_host_while_busy(start, busy):
    host = start(f"@app.command\ndef work():\n    print('busy')\n    {busy}\n")
    host.send("work")
    assert host.wait_for_line() == "busy"
    host.control.close()
    assert host.wait_for_exit()[0] == 0


def test_the_process_ends_when_the_calls_descriptor_is_closed(start):
    host = start("herder.demo:app")
    host.calls.close()
    assert host.wait_for_exit()[0] == 0


def test_sigusr1_prints_the_stack(start):
    host = start("@app.command\ndef stuck():\n    print('in')\n    time.sleep(1000)\n")
    host.send("stuck")
    assert host.wait_for_line() == "in"
    host.kill(signal.SIGUSR1)
    lines = iter(host.process.stderr.readline, b"")
    assert any(b"in stuck" in line for line in lines)


def test_r26_the_stack_is_printed_while_c_code_holds_the_gil(start):
    """A real deadlock, in which no Python code runs. The app has replaced `sys.stderr`, which has no effect."""
    host = start(
        """
import ctypes, io

@app.command
def stuck():
    print("in")
    sys.stderr = io.StringIO()
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2): ctypes.PyDLL(None).pthread_mutex_lock(mutex)
"""
    )
    host.send("stuck")
    assert host.wait_for_line() == "in"
    host.kill(host.hello["stack_signal"])
    lines = iter(host.process.stderr.readline, b"")
    assert any(b"in stuck" in line for line in lines)
    host.kill(signal.SIGKILL)


def test_a_fork_does_not_hold_the_descriptors(start):
    """A fork that outlives the worker neither hides the worker's death nor writes frames."""
    host = start(
        """
        @app.command
        def fork():
            child = os.fork()
            if not child:
                time.sleep(1000)
                os._exit(0)
            return child

        @app.command
        def fork_and_return():
            return os.fork()
        """
    )
    child = host.call("fork").result
    try:
        assert host.call("fork_and_return").result > 0
        host.kill()
        with pytest.raises((EOFError, ConnectionResetError)):
            host.frame()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_fork_is_recognized_whatever_exception_its_hooks_get():
    """An exception of another thread that arrives during the fork must not make the child a second worker."""
    code = """if True:
        import ctypes, os
        from _thread import get_ident
        from functools import partial
        from herder import worker

        worker._protect_descriptors([])
        thread, error = ctypes.c_ulong(get_ident()), ctypes.py_object(KeyboardInterrupt)
        os.register_at_fork(before=partial(ctypes.pythonapi.PyThreadState_SetAsyncExc, thread, error))
        parent, child = os.getpid(), 0
        try:
            child = os.fork()
        except KeyboardInterrupt:
            pass
        if os.getpid() != parent:
            os._exit(worker.calls.forked)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 1 and not worker.calls.forked
    """
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)})


def test_descriptors_are_not_inherited(start):
    host = start(
        """
        import subprocess
        @app.command
        def sockets():
            done = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE)
            return done.stdout.decode()
        """
    )
    listed = host.call("sockets").result
    assert "pipe" in listed and "socket" not in listed


ANY = "@app.command\ndef any(): pass\n"


@pytest.mark.parametrize(
    "text,type,message",
    [
        ("import nothing_of_this_name", "ModuleNotFoundError", "nothing_of_this_name"),
        ("1 +", "SyntaxError", ""),
        ("sys.exit(3)", "SystemExit", "3"),
        (f"{ANY}@app.on_start\ndef load(): raise OSError('no model')", "OSError", "no model"),
        (f"{ANY}@app.on_start\nasync def load(): raise OSError('no model')", "OSError", "no model"),
        (f"{ANY}@app.on_start\ndef load(): return asyncio.sleep(0)", "TypeError", "awaitable"),
        ("@app.command\ndef f(a, /): pass", "TypeError", "positional"),
        ("@app.command\ndef f(): pass\n@app.command(name='f')\ndef g(): pass", "ValueError", "already"),
        ("app = 1", None, "not a herder.App"),
        ("del app", None, "no 'app'"),
    ],
)
def test_a_failed_start_reports_the_reason(start, text, type, message):
    host = start(text, wait=False)
    host.frame(frames.HELLO)
    kind, _, wire_id, body = host.frame()
    error = json.loads(body[16:])
    assert (kind, wire_id, body[:16], error["kind"]) == (frames.ERROR, 0, bytes(16), "start_failed")
    assert error.get("type") == type and message in error["message"]
    assert ("traceback" in error) == (type is not None)
    assert "load.py" not in error.get("traceback", "")
    status, out, err = host.wait_for_exit()
    assert (status, out, err) == (1, "", ""), "only the host logs it"


@pytest.mark.parametrize(
    "target,message",
    [
        ("nothing_of_this_name:app", "module 'nothing_of_this_name' not found"),
        ("nothing.py:app", "file 'nothing.py' does not exist"),
        ("no_colon", "module:app"),
        ("herder.demo:nope", "found: app"),
    ],
)
def test_an_invalid_target_is_explained(target, message):
    with FakeHost(target) as host:
        host.frame(frames.HELLO)
        assert message in json.loads(host.frame(frames.ERROR)[3][16:])["message"]
        assert host.wait_for_exit()[0] == 1


@pytest.mark.parametrize("command", ["x", "x" * 0xFFFF])
def test_a_session_id_that_is_too_long_violates_the_protocol(start, command):
    """Also behind the longest command, where a view of the frame ends."""
    host = start(BASIC)
    host.send(command, session="s" * 300)
    status, _, error = host.wait_for_exit()
    assert status == 1 and "(invalid_session)" in error


def test_another_protocol_version_is_refused():
    with FakeHost("herder.demo:app", protocol=2) as host:
        error = json.loads(host.frame(frames.ERROR)[3][16:])
        assert "protocol version 2" in error["message"] and "uses version 1" in error["message"]
        assert host.wait_for_exit()[0] == 1


def test_without_a_host_it_prints_how_to_start_a_server():
    done = subprocess.run(
        [sys.executable, "-m", "herder", "carts.py:app"],
        env={**os.environ, "PYTHONPATH": str(__import__("host").SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "herder serve carts.py:app" in done.stderr


def test_a_file_can_import_the_modules_beside_it(tmp_path, start):
    """The file's folder is on `sys.path`, and a file with the name of a library module breaks nothing."""
    (tmp_path / "prices.py").write_text("TEA = 450\n")
    (tmp_path / "json.py").write_text(
        "import herder, prices\napp = herder.App()\n@app.command\ndef tea(): return prices.TEA\n"
    )
    assert start(f"{tmp_path}/json.py:app").call("tea").result == 450


def test_annotations_may_be_strings(start, tmp_path):
    """`from __future__ import annotations`, also with names for type checkers only."""
    (tmp_path / "late.py").write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING, Optional\n"
        "import herder\n"
        "if TYPE_CHECKING:\n    from herder import Session\n"
        "app = herder.App()\n"
        "@app.command\n"
        "def f(n: Optional[int], session: Session, call: herder.Call): return [n, session.id]\n"
    )
    host = start(f"{tmp_path}/late.py:app")
    assert host.call("f", n=None, session="ann").result == [None, "ann"]
    assert host.call("f", n="x", session="ann").error_kind == "bad_arguments"


@pytest.mark.parametrize("way", ["def", "async def"])
def test_an_idle_worker_keeps_no_large_frame(start, way):
    """Neither the arguments nor the result of its last call."""
    host = start(
        f"""
        @app.command
        {way} size(text: str) -> int: return len(text)
        @app.command
        {way} text(size: int) -> str: return "x" * size
        """
    )

    def resident():
        with open(f"/proc/{host.process.pid}/statm") as file:
            return int(file.read().split()[1]) * 4096

    large, before = 40 << 20, resident()
    assert host.call("size", text="x" * large).result == large
    assert host.call("size", text="x").result == 1
    assert resident() - before < large // 2
    assert len(host.call("text", size=large).result) == large
    assert host.call("size", text="x").result == 1
    assert resident() - before < large // 2
