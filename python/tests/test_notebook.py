"""`notebook.run`: a session is a namespace."""

import pytest


@pytest.fixture
def run(start):
    host = start("herder.notebook:app")
    return lambda code, session="ann": host.call("notebook.run", code=code, session=session).result


def test_state_output_and_value(run):
    assert run("x = 20\nprint('hi')") == {"output": "hi\n", "value": None}
    assert run("x + 1") == {"output": "", "value": 21}
    assert run("{'a': [x]}") == {"output": "", "value": {"a": [20]}}
    assert run("import sys; print('e', file=sys.stderr); {1}") == {"output": "e\n", "value": "{1}"}
    assert run("x", session="bob")["error"]["type"] == "NameError"


def test_errors_are_answers(run):
    run("def f():\n    return 1 / 0")
    error = run("print('before')\nf()")
    assert error["output"] == "before\n" and error["value"] is None
    assert error["error"]["type"] == "ZeroDivisionError"
    assert "return 1 / 0" in error["error"]["traceback"] and "notebook.py" not in error["error"]["traceback"]
    assert run("1 +")["error"]["type"] == "SyntaxError"
    assert run("import sys; sys.exit(2)")["error"]["type"] == "SystemExit"
    assert run("1")["value"] == 1


def test_output_and_values_are_bounded(run):
    answer = run("print('x' * 10**6)\n'y' * 10**6")
    assert len(answer["output"]) < 70_000 and "more characters" in answer["output"]
    assert len(answer["value"]) < 70_000


def test_it_can_be_interrupted(start):
    host = start("herder.notebook:app")
    wire_id = host.send("notebook.run", code="import os\nos.write(1, b'in\\n')\nwhile True: pass", session="ann")
    assert host.wait_for_line() == "in"
    host.cancel(wire_id, interrupt=True)
    assert host.answer().refused == "cancelled"
    assert host.call("notebook.run", code="print(1)", session="ann").result["output"] == "1\n"


def test_the_demo_serves_it_only_when_allowed(start):
    host = start("herder.demo:app", env={"HERDER_ALLOW_CODE": "1"})
    assert host.call("notebook.run", code="1 + 1", session="ann").result["value"] == 2
    assert host.call("notebook.run", code="1").refused == "bad_arguments"
