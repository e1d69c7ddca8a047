"""`notebook.run`: runs code in the namespace of a session."""

import pytest

import herder
from herder import notebook, testing
from herder.call import calls, now


@pytest.fixture
def run(start):
    host = start("herder.notebook:app")
    return lambda code, session="ann", **arguments: (
        host.call("notebook.run", code=code, session=session, **arguments).result
    )


def test_state_output_and_value(run):
    assert run("x = 20\nprint('hi')") == {"output": "hi\n", "value": None, "kind": "json"}
    assert run("x + 1") == {"output": "", "value": 21, "kind": "json"}
    assert run("{'a': [x]}") == {"output": "", "value": {"a": [20]}, "kind": "json"}
    assert run("import sys; print('e', file=sys.stderr); {1}") == {"output": "e\n", "value": "{1}", "kind": "repr"}
    assert run("x", session="bob")["error"]["type"] == "NameError"


def test_a_repr_is_distinguished_from_a_string(run):
    """The result has the kind of its value."""
    assert run("{1, 2}") == {"output": "", "value": "{1, 2}", "kind": "repr"}
    assert run("'{1, 2}'") == {"output": "", "value": "{1, 2}", "kind": "json"}
    assert run("float('nan')")["kind"] == "repr"


def test_json_values_are_complete_or_an_error(start):
    """An image as base64 is useless without its end."""
    host = start("herder.notebook:app", max_frame=1 << 20)
    answer = host.call("notebook.run", code="'A' * 900_000", session="ann").result
    assert answer == {"output": "", "value": "A" * 900_000, "kind": "json"}
    assert host.call("notebook.run", code="'A' * (1 << 20)", session="ann").error_kind == "too_large"
    assert host.call("notebook.run", code="1", session="ann").result["value"] == 1


def test_a_long_repr_says_how_much_is_missing(run):
    full = repr({"x" * 10**6})
    answer = run("{'x' * 10**6}")
    assert answer["kind"] == "repr" and full.startswith(answer["value"])
    assert answer["truncated"] == len(full) - len(answer["value"]) > 900_000
    wide = run("{'\N{SNOWMAN}' * 10**5}")  # three bytes each
    assert wide["truncated"] == len(("\N{SNOWMAN}" * 10**5 + "{''}").encode()) - len(wide["value"].encode())
    assert "truncated" not in run("{1}")


def test_lone_surrogates_are_escaped(run):
    """In the output, in an exception and in a repr."""
    answer = run("class C:\n    def __repr__(self): return 'r\\ud800'\nprint('o\\ud800')\nC()")
    assert answer == {"output": "o\\ud800\n", "value": "r\\ud800", "kind": "repr"}
    assert run("raise ValueError('e\\ud800')")["error"]["message"] == "e\\ud800"


ENDLESS = "import sys\nprint('so far')\nwhile True: pass"


@pytest.mark.parametrize("extra", ["", "@app.command\nasync def other(): pass\n"], ids=["sync", "async"])
def test_a_cell_that_exceeds_its_limit_returns_its_output(start, extra):
    """With `timeout`, in both kinds of worker. The session keeps its namespace."""
    host = start(f"from herder import notebook\nnotebook.register(app)\n{extra}")
    answer = host.call("notebook.run", code=f"x = 1\n{ENDLESS}", timeout=0.05, session="ann").result
    assert answer["output"] == "so far\n" and answer["value"] is None
    assert (
        answer["error"]["type"] == "Timeout"
        and answer["error"]["message"] == "the cell exceeded its time limit of 0.05 s"
    )
    traceback = answer["error"]["traceback"]
    assert "    while True: pass\n" in traceback and "loop.py" not in traceback
    assert traceback.endswith("herder.errors.Interrupted\n")
    after = host.call("notebook.run", code="print('b'); x", timeout=60, session="ann").result
    assert after == {"output": "b\n", "value": 1, "kind": "json"}


def test_a_cell_ends_before_its_call_does(start):
    """Without `timeout` too: the answer arrives before the deadline, so the caller gets the output."""
    host = start("herder.notebook:app")
    deadline = now() + 200_000_000
    answer = host.call("notebook.run", code=ENDLESS, session="ann", deadline=deadline)
    assert answer.result["error"]["type"] == "Timeout" and answer.result["output"] == "so far\n"


def test_a_repr_that_exceeds_the_limit_is_interrupted(run):
    endless = "class C:\n    def __repr__(self):\n        while True: pass\nprint('so far')\nC()"
    answer = run(endless, timeout=0.05)
    assert (answer["output"], answer["error"]["type"], answer["kind"]) == ("so far\n", "Timeout", "json")


def test_a_cell_that_catches_the_interrupt_returns_its_value(run):
    """The answer is complete."""
    code = "import time\ntry: time.sleep(1000)\nexcept BaseException as error: caught = type(error).__name__\ncaught"
    assert run(code, timeout=0.05) == {"output": "", "value": "Interrupted", "kind": "json"}


def test_a_limit_at_the_end_of_a_cell_does_not_interrupt_its_answer(monkeypatch):
    """No cancel remains after the cell has ended, whichever of the two threads was first."""
    monkeypatch.setattr(calls, "running", 7)
    late = notebook.CellTimer(1)
    late.__exit__()
    late.finished.acquire()  # the thread has stopped waiting but has not checked `ended`
    late.watch(0)
    assert not late.reached and 7 not in calls.cancelled
    early = notebook.CellTimer(1)
    early.reached = True
    calls.cancel(7, True)
    early.__exit__()
    assert 7 not in calls.cancelled


@pytest.mark.parametrize("timeout", [0, -1])
def test_an_invalid_timeout_is_refused(start, timeout):
    host = start("herder.notebook:app")
    answer = host.call("notebook.run", code="1", timeout=timeout, session="ann")
    assert (answer.error_kind, answer.error["code"]) == ("rejected", "timeout")


def test_without_a_worker_there_is_no_limit():
    """SIGUSR2 would end the process of the tests."""
    app = herder.App()
    notebook.register(app)
    with testing.Client(app) as client:
        answer = client.call("notebook.run", code="1 + 1", timeout=0.000001, session="ann")
    assert answer == {"output": "", "value": 2, "kind": "json"}


def test_errors_of_the_code_are_results(run):
    run("def f():\n    return 1 / 0")
    error = run("print('before')\nf()")
    assert error["output"] == "before\n" and error["value"] is None
    assert error["error"]["type"] == "ZeroDivisionError"
    assert "return 1 / 0" in error["error"]["traceback"] and "notebook.py" not in error["error"]["traceback"]
    assert run("1 +")["error"]["type"] == "SyntaxError"
    assert run("import sys; sys.exit(2)")["error"]["type"] == "SystemExit"
    assert run("1")["value"] == 1


def test_output_is_bounded(run):
    answer = run("print('x' * 10**6)\n'y'")
    assert len(answer["output"]) < 70_000 and "more characters" in answer["output"] and answer["value"] == "y"


def test_a_cell_can_be_interrupted(start):
    host = start("herder.notebook:app")
    wire_id = host.send("notebook.run", code="import os\nos.write(1, b'in\\n')\nwhile True: pass", session="ann")
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().error_kind == "cancelled"
    assert host.call("notebook.run", code="print(1)", session="ann").result["output"] == "1\n"


def test_the_demo_has_notebook_run_only_if_allowed(start):
    host = start("herder.demo:app", env={"HERDER_ALLOW_CODE": "1"})
    assert host.call("notebook.run", code="1 + 1", session="ann").result["value"] == 2
    assert host.call("notebook.run", code="1").error_kind == "bad_arguments"
