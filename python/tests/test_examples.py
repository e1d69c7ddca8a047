"""The workers of `examples/workers`, each called as its comments say."""

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


def app_of(name):
    """The application of an example, loaded anew."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", WORKERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


@pytest.fixture
def client(request):
    """A client of the example that the test names."""
    with Client(app_of(request.param)) as client:
        yield client


def example(name):
    return pytest.mark.parametrize("client", [name], indirect=True)


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


def test_digits():
    pytest.importorskip("sklearn", reason="digits.py needs numpy and scikit-learn")
    with Client(app_of("digits")) as client:
        assert client.call("accuracy") > 0.95
        images = [client.call("example", number=number) for number in range(40)]
        answers = [client.call("classify", pixels=image["pixels"]) for image in images]
        right = sum(answer["digit"] == image["digit"] for answer, image in zip(answers, images, strict=True))
        assert right >= 36 and all(0.1 <= answer["sure"] <= 1 for answer in answers)
        with pytest.raises(CallError, match="64 pixels") as no:
            client.call("classify", pixels=[0, 1])
        assert (no.value.kind, no.value.code) == ("rejected", "shape")


def test_digits_says_what_it_needs(tmp_path):
    """Also where scikit-learn is installed: a folder of this name in front of it is as good as none."""
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("raise ImportError('not here')")
    environment = {"PYTHONPATH": f"{tmp_path}:{SOURCE}"}
    with FakeHost(f"{WORKERS / 'digits.py'}:app", env=environment) as host:
        host.frame(frames.HELLO)
        error = json.loads(host.frame(frames.ERROR)[3][frames.STAMPS_SIZE :])
        status, _, _ = host.finish()
    assert error["kind"] == "start_failed" and status != 0
    assert "needs numpy and scikit-learn" in error["message"] and "pip install" in error["message"]


@pytest.fixture
def echo():
    """The worker in JavaScript."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("echo.mjs needs Node.js")
    with FakeHost(None, command=[node, str(WORKERS / "echo.mjs")], concurrency=2, pipeline=3) as host:
        yield host.ready()


def test_echo_says_what_it_can(echo):
    """R44: a worker that knows docs/protocol.md and nothing else."""
    assert (echo.hello["protocol"], echo.hello["window"]) == (1, 6)
    assert [each["name"] for each in echo.table["commands"]] == ["echo", "count", "sleep", "fail", "reject"]


def test_echo_answers(echo):
    """R44, R41: each error has its kind."""
    answer = echo.call("echo", x="ü" * 100_000)
    assert answer.result == {"x": "ü" * 100_000} and 0 < answer.started <= answer.ended
    assert echo.call("reject").error == {"kind": "rejected", "message": "this command always rejects its call", "code": "demo"}
    bug = echo.call("fail").error
    assert (bug["kind"], bug["type"]) == ("exception", "RangeError") and "echo.mjs" in bug["traceback"]
    assert echo.call("toString").refused == "unknown_command"
    assert echo.call("echo", b"{").refused == "malformed"
    assert echo.call("count").refused == "bad_arguments"


def test_echo_keeps_sessions_apart(echo):
    """R44, R22: state is keyed by session and epoch, and forgotten at its end."""
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
    assert (cancelled.wire_id, cancelled.refused) == (slow, "cancelled")


def test_echo_finishes_its_calls_before_it_ends(echo):
    """R44, R30: shutdown stands on both descriptors; the calls' is behind the last call."""
    slow = echo.send("sleep", ms=50)
    echo.shutdown()
    echo.calls.sendall(frames.frame(frames.SHUTDOWN))
    assert echo.answer().wire_id == slow
    assert echo.finish()[0] == 0


def test_echo_ends_on_sigterm_after_shutdown_alone(echo):
    """R44, R30: SIGTERM and SIGINT may come to every process of a service; calls in flight are finished."""
    for number in (signal.SIGTERM, signal.SIGINT):
        echo.kill(number)
        assert echo.call("echo", x=1).result == {"x": 1}
    echo.send("sleep", ms=10**8)
    echo.shutdown()
    echo.ping()  # it has been read
    echo.kill(signal.SIGTERM)
    assert echo.finish()[0] == -signal.SIGTERM


def test_echo_ends_with_its_host(echo):
    echo.send("sleep", ms=10**8)
    echo.calls.close()
    assert echo.finish()[0] == 0


@pytest.mark.parametrize("_way,data,_fields", TO_WORKER["ignored"])
def test_echo_passes_over(echo, _way, data, _fields):
    echo.calls.sendall(data)
    assert echo.call("echo", x=1).result == {"x": 1}


ALWAYS = {"reserved_bytes", "oversize", "unknown_kind"}  # what every worker looks for
MALFORMED = [case for case in TO_WORKER["malformed"] if case.values[2]["error"] in ALWAYS and "hello" not in case.id]


@pytest.mark.parametrize("_way,data,fields", MALFORMED)
def test_echo_names_what_is_not_the_protocol(echo, _way, data, fields):
    echo.calls.sendall(data)
    status, _, err = echo.finish()
    assert status == 1 and fields["error"] in err
