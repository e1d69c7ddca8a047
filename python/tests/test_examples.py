"""The example workers of `examples/workers`."""

import importlib.util
import json
import shutil
import signal

import pytest

from herder import frames
from herder.testing import CallError, Client
from host import SOURCE, FakeHost
from test_golden import TO_WORKER

WORKERS = SOURCE.parent.parent / "examples" / "workers"


def load_example(name):
    """Load the application of an example."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", WORKERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


@pytest.fixture
def client(request):
    """A client of the example that the test selects."""
    with Client(load_example(request.param)) as client:
        yield client


def example(name):
    return pytest.mark.parametrize("client", [name], indirect=True)


@example("sentiment")
def test_sentiment(client):
    found = client.call_batch("classify", [{"text": "a good book"}, {"text": ""}, {"text": "Poor and dull"}])
    assert [round(each, 2) for each in (found[0], found[2])] == [0.33, -0.67]
    assert found[1].code == "empty"
    assert client.call("classify", text="fine") == 1


@example("carts")
def test_carts(client, capsys):
    assert client.call("add", item="tea", session="ann") == {"items": ["tea"], "total_cents": 450}
    assert client.call("add", item="rye", session="ann") == {"items": ["tea", "rye"], "total_cents": 770}
    assert client.call("add", item="egg", session="bob") == {"items": ["egg"], "total_cents": 35}
    assert client.call("receipt", session="ann") == ["     tea   4.50", "     rye   3.20"]
    assert client.call("restock", item="tea", seconds=0) == "tea is back"
    with pytest.raises(CallError) as no:
        client.call("add", item="gold", session="ann")
    assert (no.value.kind, no.value.code) == ("rejected", "unknown_item")
    with pytest.raises(CallError) as bug:
        client.call("price", item="gold")
    assert (bug.value.kind, bug.value.type) == ("exception", "KeyError")
    client.end_session("ann", "expired")
    assert capsys.readouterr().out == "ann expired ['tea', 'rye']\n"
    assert client.call("receipt", session="ann") == []


@example("notebook")
def test_notebook(client, capsys):
    def run(code, session="ann"):
        return client.call("run", code=code, session=session)

    assert run("x = 20\nprint('hi')") == {"output": "hi\n", "repr": None}
    assert run("x + 1") == {"output": "", "repr": "21"}
    assert run("def double():\n    return 2 * x\ndouble()") == {"output": "", "repr": "40"}
    assert run("") == {"output": "", "repr": None}
    assert client.call("names", session="ann") == ["double", "x"]
    assert client.call("names", session="bob") == []
    for code, kind, name in [("x +", "rejected", None), ("1 / 0", "exception", "ZeroDivisionError")]:
        with pytest.raises(CallError) as error:
            run(code)
        assert (error.value.kind, error.value.type) == (kind, name)
    assert run("x", session="ann")["repr"] == "20", "an error leaves the namespace as it was"
    client.end_session("ann")
    assert client.call("names", session="ann") == []


def test_dspy_worker(capsys):
    """The commands of DSPex's bridge on real dspy, each session with its own model and programs."""
    pytest.importorskip("dspy", reason="dspy_worker.py needs dspy: `just dspy` installs it and runs this test")
    signature = {"inputs": [{"name": "question"}], "outputs": [{"name": "answer", "description": "in words"}]}
    with Client(load_example("dspy_worker")) as client:

        def refused(command, session="ann", **arguments):
            with pytest.raises(CallError) as error:
                client.call(command, session=session, **arguments)
            return error.value

        assert refused("execute_program", program_id="qa", inputs={}).code == "unknown_program"
        created = client.call("create_program", id="qa", signature=signature, session="ann")
        assert (created["id"], created["execution_count"], created["last_executed"]) == ("qa", 0, None)
        assert refused("create_program", id="qa", signature=signature).code == "program_exists"
        invalid = refused("create_program", id="x", signature={"inputs": [], "outputs": []})
        assert invalid.errors[0]["loc"] == ["signature"]
        inputs = {"question": "2 + 2?"}
        assert refused("execute_program", program_id="qa", inputs=inputs).code == "no_lm"
        for session, text in [("ann", "four"), ("bob", "vier")]:
            client.call("configure_lm", model="dummy", answers=[{"answer": text}] * 2, session=session)
        client.call("create_program", id="qa", signature=signature, session="bob")
        assert refused("execute_program", program_id="qa", inputs={"x": "1"}).code == "wrong_inputs"
        for session, text in [("ann", "four"), ("bob", "vier"), ("ann", "four")]:
            answer = client.call("execute_program", program_id="qa", inputs=inputs, session=session)
            assert answer == {"program_id": "qa", "outputs": {"answer": text}}
        why = {"model": "dummy", "answers": [{"reasoning": "one by one", "answer": "5"}]}
        client.call("configure_lm", **why, session="ann")
        client.call("create_program", id="why", signature=signature, program_type="chain_of_thought", session="ann")
        thought = client.call("execute_program", program_id="why", inputs=inputs, session="ann")["outputs"]
        assert thought == {"reasoning": "one by one", "answer": "5"}
        listed = client.call("list_programs", session="ann")
        assert [(each["id"], each["execution_count"]) for each in listed["programs"]] == [("qa", 2), ("why", 1)]
        stats = client.call("get_stats", session="ann")
        assert (stats["programs_count"], stats["executions"], stats["lm_configured"]) == (2, 3, True)
        assert client.call("delete_program", program_id="qa", session="ann")["status"] == "deleted"
        assert client.call("cleanup", session="ann") == {"status": "cleaned", "programs_removed": 1}
        assert client.call("list_programs", session="ann")["total_count"] == 0
        assert client.call("list_programs", session="bob")["total_count"] == 1
        client.end_session("bob")
        assert capsys.readouterr().out.endswith("bob ended ['qa']\n")


def test_digits():
    pytest.importorskip("sklearn", reason="digits.py needs numpy and scikit-learn")
    with Client(load_example("digits")) as client:
        assert client.call("accuracy") > 0.95
        images = [client.call("example", number=number) for number in range(40)]
        answers = [client.call("classify", pixels=image["pixels"]) for image in images]
        right = sum(answer["digit"] == image["digit"] for answer, image in zip(answers, images, strict=True))
        assert right >= 36 and all(0.1 <= answer["sure"] <= 1 for answer in answers)
        with pytest.raises(CallError, match="64 pixels") as no:
            client.call("classify", pixels=[0, 1])
        assert (no.value.kind, no.value.code) == ("rejected", "shape")


def test_digits_names_the_missing_packages(tmp_path):
    """Works also if scikit-learn is installed: a package that cannot be imported shadows it."""
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("raise ImportError('not here')")
    environment = {"PYTHONPATH": f"{tmp_path}:{SOURCE}"}
    with FakeHost(f"{WORKERS / 'digits.py'}:app", env=environment) as host:
        host.frame(frames.HELLO)
        error = json.loads(host.frame(frames.ERROR)[3][frames.STAMPS_SIZE :])
        status, _, _ = host.wait_for_exit()
    assert error["kind"] == "start_failed" and status != 0
    assert "needs numpy and scikit-learn" in error["message"] and "pip install" in error["message"]


@pytest.fixture
def echo():
    """The example worker in JavaScript."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("echo.mjs needs Node.js")
    with FakeHost(None, command=[node, str(WORKERS / "echo.mjs")], concurrency=2, pipeline=3) as host:
        yield host.ready()


def test_echo_reports_its_commands(echo):
    """R44: this worker uses nothing but docs/protocol.md."""
    assert (echo.hello["protocol"], echo.hello["window"]) == (1, 6)
    assert [each["name"] for each in echo.ready_message["commands"]] == ["echo", "count", "sleep", "fail", "reject"]


def test_echo_answers(echo):
    """R44, R41: results, and each kind of error."""
    answer = echo.call("echo", x="ü" * 100_000)
    assert answer.result == {"x": "ü" * 100_000} and 0 < answer.started <= answer.ended
    rejected = {"kind": "rejected", "message": "this command always rejects its call", "code": "demo"}
    assert echo.call("reject").error == rejected
    bug = echo.call("fail").error
    assert (bug["kind"], bug["type"]) == ("exception", "RangeError") and "echo.mjs" in bug["traceback"]
    assert echo.call("toString").error_kind == "unknown_command"
    assert echo.call("echo", b"{").error_kind == "malformed"
    assert echo.call("count").error_kind == "bad_arguments"


def test_echo_keeps_sessions_apart(echo):
    """R44, R22: state belongs to a session and epoch, and is dropped at its end."""
    counts = [echo.call("count", session=name, epoch=epoch).result for name, epoch in [("a", 1), ("a", 1), ("b", 1)]]
    assert counts == [1, 2, 1] and echo.call("count", session="a", epoch=2).result == 1
    echo.end_session("a")
    assert echo.call("count", session="a").result == 1 and echo.call("count", session="a", epoch=2).result == 2


def test_echo_answers_pings_and_cancels_while_a_call_runs(echo):
    """R44, R26, R35, R42."""
    slow = echo.send("sleep", ms=10**8)
    echo.ping()
    assert echo.call("echo", x=1).result == {"x": 1}, "calls overlap"
    echo.cancel(slow)
    echo.cancel(10**6)
    cancelled = echo.answer()
    assert (cancelled.wire_id, cancelled.error_kind) == (slow, "cancelled")


def test_echo_does_not_stop_a_revoked_call(echo):
    """R44, R35: each call begins when it is read. A revoke has no effect then."""
    slow = echo.send("sleep", ms=10**8)
    echo.call("echo", x=1)
    echo.revoke(slow)
    assert echo.state() == (slow, frames.RUNNING)
    echo.cancel(slow)
    assert echo.state() == (slow, frames.RUNNING)
    assert echo.answer().error_kind == "cancelled"


def test_echo_finishes_its_calls_before_it_ends(echo):
    """R44, R30: shutdown is sent on both descriptors, on the calls descriptor after the last call."""
    slow = echo.send("sleep", ms=50)
    echo.shutdown()
    echo.calls.sendall(frames.frame(frames.SHUTDOWN))
    assert echo.answer().wire_id == slow
    assert echo.wait_for_exit()[0] == 0


def test_echo_ends_on_sigterm_only_after_shutdown(echo):
    """R44, R30: a service manager may send SIGTERM and SIGINT to every process; pending calls must finish."""
    for number in (signal.SIGTERM, signal.SIGINT):
        echo.kill(number)
        assert echo.call("echo", x=1).result == {"x": 1}
    echo.send("sleep", ms=10**8)
    echo.shutdown()
    echo.ping()  # the shutdown is read by then
    echo.kill(signal.SIGTERM)
    assert echo.wait_for_exit()[0] == -signal.SIGTERM


def test_echo_ends_with_its_host(echo):
    echo.send("sleep", ms=10**8)
    echo.calls.close()
    assert echo.wait_for_exit()[0] == 0


@pytest.mark.parametrize("_way,data,_fields", TO_WORKER["ignored"])
def test_echo_ignores_optional_frames(echo, _way, data, _fields):
    echo.calls.sendall(data)
    assert echo.call("echo", x=1).result == {"x": 1}


ALWAYS = {"reserved_bytes", "oversize", "unknown_kind"}  # the violations that every worker must detect
MALFORMED = [case for case in TO_WORKER["malformed"] if case.values[2]["error"] in ALWAYS and "hello" not in case.id]


@pytest.mark.parametrize("_way,data,fields", MALFORMED)
def test_echo_names_the_protocol_violation(echo, _way, data, fields):
    echo.calls.sendall(data)
    status, _, err = echo.wait_for_exit()
    assert status == 1 and fields["error"] in err


@example("orders")
def test_orders(client, capsys):
    assert [client.call("order", item=each) for each in ("tea", "rye")] == [1, 2]
    client.close()
    assert capsys.readouterr().out == "2 orders were taken\nthe database is closed\n"
