"""`@app.health`: the function that the host has run."""

import pytest

import herder
from herder import frames

APP = """
import contextvars
calls = contextvars.ContextVar("calls", default=0)

@app.health
def health():
    calls.set(calls.get() + 1)
    assert calls.get() == 1, "the context of the last run"
    how = app.state.how
    if how == "raises": raise ConnectionError("no database")
    if how == "exits": raise SystemExit("bye")
    if how == "sleeps": time.sleep(1000)
    return {"false": False, "none": None, "zero": 0}.get(how, True)

@app.on_start
def start(): app.state.how = "none"

@app.command
def set(how): app.state.how = how

@app.command
def slow(): print("slow"); time.sleep(0.2); app.state.how = "slow"
"""
ASYNC = APP.replace("def ", "async def ").replace("time.sleep", "await asyncio.sleep")
MIXED = APP + "\n@app.command\nasync def makes_it_asyncio(): pass\n"
APPS = pytest.mark.parametrize("app", [APP, ASYNC, MIXED], ids=["sync", "asyncio", "sync-in-asyncio"])


def check(host, nonce=7, limit=60_000):
    """Send a check; return the reason."""
    host.calls.sendall(frames.frame(frames.HEALTH_CHECK, nonce, frames.MILLISECONDS.pack(limit)))
    _, _, answered, body = host.frame(frames.HEALTH)
    assert answered == nonce
    return body.decode()


@APPS
def test_a_check_answers_with_the_reason(start, app):
    host = start(app)
    assert host.ready_message["health"] is True
    reasons = {
        "none": "",
        "zero": "",
        "false": "the health function returned False",
        "raises": "ConnectionError: no database",
        "exits": "SystemExit: bye",
        "true": "",
    }
    for how, reason in reasons.items():
        assert host.call("set", how=how).result is None
        assert check(host) == reason
    host.shutdown()
    status, _, err = host.wait_for_exit()
    assert status == 0 and "the health function raised an exception" in err and "ConnectionError" in err


@APPS
def test_a_function_that_exceeds_its_limit_is_interrupted(start, app):
    host = start(app)
    host.call("set", how="sleeps")
    assert check(host, limit=300) == "the health function did not end within 0.3 s"
    host.call("set", how="none")
    assert check(host) == ""


def test_a_check_waits_for_the_call_before_it(start):
    """In a worker with sync handlers only. The call behind it waits for the check."""
    host = start(APP, pipeline=2)
    host.send("slow")
    assert host.wait_for_line() == "slow"
    host.calls.sendall(frames.frame(frames.HEALTH_CHECK, 1, frames.MILLISECONDS.pack(60_000)))
    last = host.send("set", how="none")
    assert [host.frame()[0] for _ in range(2)] == [frames.RESULT, frames.HEALTH]
    assert host.answer().wire_id == last


def test_an_async_check_delays_no_call(start):
    host = start(ASYNC, concurrency=2)
    host.call("set", how="sleeps")
    host.calls.sendall(frames.frame(frames.HEALTH_CHECK, 1, frames.MILLISECONDS.pack(60_000)))
    assert host.call("set", how="none").result is None


def test_an_app_without_the_function_offers_no_checks(start):
    assert "health" not in start("@app.command\ndef f(): pass\n").ready_message


def test_a_second_function_is_refused():
    app = herder.App()

    def check(): ...

    app.health(check)
    with pytest.raises(ValueError, match=r"already has a health function: .*check \(.*test_health.py:\d+\)"):
        app.health(lambda: True)
