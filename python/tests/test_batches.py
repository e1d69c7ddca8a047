"""Commands with `@app.batch`: one invocation of a handler runs several calls, each of which gets its own answer."""

import dataclasses
import json
import signal
import struct
import textwrap

import pytest

import herder
from herder import frames
from herder.testing import CallError, Client
from host import FakeHost, write_app

APP = """
import gc
from dataclasses import dataclass

entered = []

@dataclass
class Item:
    x: int
    fails: bool = False

@app.on_session_start
def begin(session):
    if session.id == "bad":
        raise KeyError("no such session")
    session.state["began"] = True

def answers(items):
    calls = herder.current_call().calls
    entered.append([call.id for call in calls])
    return [
        herder.Rejected("no", code="no") if item.fails
        else [item.x, call.session and call.session.state["began"], call.headers.get("x")]
        for item, call in zip(items, calls, strict=True)
    ]

@app.batch
def plain(items: list[Item]) -> list[list]:
    return answers(items)

@app.batch
async def later(items: list[Item]) -> list[list]:
    await asyncio.sleep(0)
    return answers(items)

@app.batch(run_sync="thread")
def threaded(items: list[Item]) -> list[list]:
    assert threading.current_thread() is not threading.main_thread()
    return answers(items)

@app.batch(max_batch_size=8, max_wait=0.5)
def broken(items):
    how = items[0]["how"]
    if how == "raise":
        raise ValueError("all")
    return {"short": [1], "long": [1] * 9, "object": {}}[how]

@app.batch
def block(items):
    try:
        os.write(1, b"blocks\\n")
        time.sleep(60)
    finally:
        os.write(1, f"cancelled: {herder.current_call().cancelled}\\n".encode())

@app.batch
async def wait(items):
    try:
        os.write(1, b"waits\\n")
        await asyncio.sleep(60)
    finally:
        os.write(1, f"cancelled: {herder.current_call().cancelled}\\n".encode())

@app.batch
async def until(items):
    os.write(1, b"until\\n")
    while not items[0]["path"] or not os.path.exists(items[0]["path"]):
        await asyncio.sleep(0.001)
    return [call.cancelled for call in herder.current_call().calls]

@app.command
def log():
    return entered

@app.command
def kept():
    return sum(type(each).__name__ == "BatchItem" for each in gc.get_objects())
"""


def send_batch(host, command, *items, sessions=()):
    """Send calls with these arguments as one batch; return their wire ids."""
    sessions = [*sessions, *(None for _ in items)]
    calls = [
        host.pack_call(command, item if isinstance(item, bytes) else json.dumps(item).encode(), session=session)
        for item, session in zip(items, sessions, strict=False)
    ]
    wire_ids = [wire_id for wire_id, _ in calls]
    head = frames.frame(frames.BATCH, 0, struct.pack(f"<{len(wire_ids)}Q", *wire_ids))
    host.calls.sendall(head + b"".join(data for _, data in calls))
    return wire_ids


@pytest.mark.parametrize("command", ["plain", "later", "threaded"])
def test_each_call_of_a_batch_gets_its_own_answer(start, command):
    host = start(APP)
    items = [{"x": 1}, {"x": "no"}, {"x": 3, "fails": True}, b"[", {"x": 5}, {"x": 6}]
    host.send_headers(host.next_id + 1, x="h")
    wire_ids = send_batch(host, command, *items, sessions=[None, None, None, None, "ann", "bad"])
    answers = host.answers(len(items))
    found = [answers[wire_id] for wire_id in wire_ids]
    assert (found[0].result, found[4].result) == ([1, None, "h"], [5, True, None])
    assert [each.error_kind for each in (found[1], found[2], found[3], found[5])] == [
        "bad_arguments",
        "rejected",
        "malformed",
        "exception",
    ]
    assert found[1].error["errors"] == [{"loc": ["x"], "msg": "Input should be a valid integer", "type": "int_type"}]
    assert (found[1].started, found[3].started) == (0, 0)
    assert found[0].started == found[2].started > 0
    assert host.call("log").result == [[wire_ids[0], wire_ids[2], wire_ids[4]]]


@pytest.mark.parametrize("command", ["plain", "later", "threaded"])
def test_an_answered_batch_keeps_no_arguments(start, command):
    host = start(APP)
    host.answers(len(send_batch(host, command, {"x": 1}, {"x": 2})))
    host.call("log")
    assert host.call("kept").result == 0


def test_a_single_call_is_a_batch_of_one(start):
    host = start(APP)
    assert host.call("plain", x=1).result == [1, None, None]
    assert host.call("later", x=1, session="ann").result == [1, True, None]
    assert host.call("plain", x="no").error_kind == "bad_arguments"
    assert host.call("plain", x=1, fails=True).error["code"] == "no"


@pytest.mark.parametrize(
    "how,expected",
    [
        ("raise", "all"),
        ("short", "broken returned 1 results for a batch of 2 calls; expected a list with one"),
        ("long", "broken returned 9 results for a batch of 2 calls; expected a list with one"),
        ("object", "broken returned an object of type dict for a batch of 2 calls; expected a list"),
    ],
)
def test_each_caller_is_told_what_is_wrong_with_the_whole_batch(start, how, expected):
    host = start(APP)
    wire_ids = send_batch(host, "broken", {"how": how}, {})
    answers = host.answers(2)
    assert all(answers[wire_id].error["message"].startswith(expected) for wire_id in wire_ids)
    assert host.call("plain", x=1).result == [1, None, None], "the worker goes on"


def test_ready_states_the_limits_and_describes_one_item(start):
    commands = {command["name"]: command for command in start(APP).ready_message["commands"]}
    assert commands["plain"]["batch"] == {"max_batch_size": 32, "max_wait_us": 2000}
    assert commands["broken"]["batch"] == {"max_batch_size": 8, "max_wait_us": 500_000}
    assert "batch" not in commands["log"]
    assert commands["plain"]["parameters"]["properties"]["x"] == {"type": "integer"}
    assert commands["plain"]["parameters"]["required"] == ["x"]
    assert commands["plain"]["result"] == {"type": "array"}
    assert commands["broken"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize("command,line", [("block", "blocks"), ("wait", "waits")])
def test_a_batch_is_interrupted_once_for_all_of_its_calls(start, command, line):
    """The host interrupts any of the calls, after all of them were cancelled."""
    host = start(APP)
    first, second, third = send_batch(host, command, {}, {}, {})
    assert host.wait_for_line() == line
    for wire_id in (first, third, second):
        host.cancel(wire_id)
        assert host.state() == (wire_id, frames.RUNNING)
    host.cancel(second, interrupt=True)
    answers = host.answers(3)
    assert [answers[wire_id].error_kind for wire_id in (first, second, third)] == ["cancelled"] * 3
    assert host.wait_for_line() == "cancelled: True"
    assert host.call("plain", x=1).result == [1, None, None]


def test_one_cancelled_call_does_not_disturb_the_others(start, tmp_path):
    host = start(APP)
    gate = tmp_path / "gate"
    first, second = send_batch(host, "until", {"path": str(gate)}, {"path": ""})
    assert host.wait_for_line() == "until"
    host.cancel(second)
    assert host.state() == (second, frames.RUNNING)
    gate.touch()
    answers = host.answers(2)
    assert (answers[first].result, answers[second].result) == (False, True)


def test_calls_that_are_cancelled_before_the_batch_begins_do_not_run(start, tmp_path):
    """A batch takes one place of `concurrency`, so the second batch waits for the first one."""
    host = start(APP, concurrency=1, pipeline=2)
    gate = tmp_path / "gate"
    running = send_batch(host, "until", {"path": str(gate)}, {"path": ""})
    assert host.wait_for_line() == "until"
    waiting = send_batch(host, "plain", {"x": 1}, {"x": 2}, {"x": 3})
    gone = send_batch(host, "plain", {"x": 4}, {"x": 5})
    for wire_id in (waiting[1], *gone):
        host.cancel(wire_id)
        assert host.state() == (wire_id, frames.WITHDRAWN)
    gate.touch()
    answers = host.answers(7)
    assert all(answers[wire_id].result is False for wire_id in running)
    assert [answers[wire_id].result[0] for wire_id in (waiting[0], waiting[2])] == [1, 3]
    assert all(answers[wire_id].error_kind == "cancelled" for wire_id in (waiting[1], *gone))
    assert host.call("log").result == [[waiting[0], waiting[2]]]


def test_batches_run_side_by_side_up_to_the_concurrency(start, tmp_path):
    host = start(APP, concurrency=2)
    gates = [tmp_path / name for name in "ab"]
    batches = [send_batch(host, "until", {"path": str(gate)}, {"path": ""}) for gate in gates]
    assert [host.wait_for_line() for _ in gates] == ["until"] * 2
    for gate, wire_ids in zip(reversed(gates), reversed(batches), strict=True):
        gate.touch()
        assert set(host.answers(2)) == set(wire_ids)


def test_the_calls_of_a_command_are_counted_once_for_all_of_its_waiting_calls(start, tmp_path):
    app = """
    import herder.aio_batches
    counts = {"next_waiting": 0, "count_begun": 0}

    def counted(name, method):
        def call(*arguments):
            counts[name] += 1
            return method(*arguments)
        return call

    for name in counts:
        setattr(herder.aio_batches.BatchRunner, name, counted(name, getattr(herder.aio_batches.BatchRunner, name)))

    @app.batch(max_batch_size=64, concurrency=1)
    async def until(items):
        while not os.path.exists(items[0]["path"]):
            await asyncio.sleep(0.001)
        return [0] * len(items)

    @app.command
    async def counted_calls():
        return counts
    """
    gate = tmp_path / "gate"
    host = start(textwrap.dedent(app), concurrency=3)
    send_batch(host, "until", *[{"path": str(gate)}] * 2)
    send_batch(host, "until", *[{"path": str(gate)}] * 64)
    counts = host.call("counted_calls").result
    assert 0 < counts["count_begun"] <= counts["next_waiting"]
    gate.touch()
    assert len(host.answers(66)) == 66


def test_a_batch_that_is_not_offered_is_refused(start):
    for app in ("@app.command\ndef f(): pass", "@app.command\nasync def f(): pass"):
        host = start(app)
        send_batch(host, "f", {}, {})
        status, _, error = host.wait_for_exit()
        assert status == 1
        assert "protocol error from the host (out_of_order)" in error


def test_a_call_between_the_calls_of_a_batch_is_refused(start):
    host = start(APP)
    host.calls.sendall(frames.frame(frames.BATCH, 0, struct.pack("<2Q", 1, 3)))
    host.send("plain", x=1)
    host.send("plain", x=2)
    assert host.wait_for_exit()[0] == 1


REFUSED = [
    ("def f(items: list[int]): pass", "its type must be an object"),
    ("def f(items: dict): pass", "must be annotated as a list of the items"),
    ("def f(): pass", "takes exactly one parameter, the list of the items"),
    ("def f(items: list, call: herder.Call): pass", "takes exactly one parameter"),
    ("def f(items: list):\n    yield 1", "a generator cannot run batches"),
    ("def f(items: list, x=herder.Depends(print)): pass", "can have no herder.Depends"),
]


@pytest.mark.parametrize("handler,expected", REFUSED)
def test_a_handler_that_cannot_run_batches_is_refused(tmp_path, handler, expected):
    with FakeHost(write_app(tmp_path, f"@app.batch\n{handler}")) as host:
        assert expected in host.start_error()["message"]


@pytest.mark.parametrize("options", [{"max_batch_size": 0}, {"max_wait": "2 parsecs"}, {"max_wait": 61}])
def test_an_invalid_limit_is_refused(options):
    with pytest.raises(ValueError, match="is invalid; expected"):
        herder.App().batch(**options)


def test_a_name_in_the_place_of_the_function_is_refused():
    with pytest.raises(TypeError, match="write name='double'"):
        herder.App().batch("double")


def test_the_client_of_tests_runs_batches():
    app = herder.App()

    @app.batch
    async def double(items: list[dict]) -> list:
        return [2 * item["x"] if item["x"] else herder.Rejected("zero", code="zero") for item in items]

    with Client(app) as client:
        assert client.call("double", x=2) == 4
        found = client.call_batch("double", [{"x": 1}, {"x": 0}, {"x": 3}])
        assert (found[0], found[2]) == (2, 6)
        assert isinstance(found[1], CallError)
        assert found[1].code == "zero"
        with pytest.raises(CallError, match="zero"):
            client.call("double", x=0)


def test_a_worker_that_dies_in_a_batch_has_answered_none_of_its_calls(start):
    host = start(APP)
    send_batch(host, "block", {}, {})
    assert host.wait_for_line() == "blocks"
    host.kill(signal.SIGKILL)
    with pytest.raises(EOFError):
        host.answer()


def test_arrays_keep_their_type_and_shape():
    np = pytest.importorskip("numpy")
    from numpy.typing import NDArray

    item = dataclasses.make_dataclass("Item", [("x", NDArray[np.float32]), ("y", bytes, b"")])
    app = herder.App()

    def total(items):
        return [[each.x.tolist(), len(each.y)] for each in items]

    total.__annotations__ = {"items": list[item]}
    app.batch(max_batch_size=4, max_wait="2ms")(total)
    assert Client(app).call("total", x=np.ones((2, 1), ">f4"), y=b"ab") == [[[1.0], [1.0]], 2]

    def named(items):
        return [each["x"].tolist() for each in items]

    named.__annotations__ = {"items": list[dict[str, NDArray[np.float32]]]}
    app.batch(max_batch_size=4, max_wait="2ms")(named)
    assert Client(app).call("named", x=np.ones((2, 1), ">f4")) == [[1.0], [1.0]]
